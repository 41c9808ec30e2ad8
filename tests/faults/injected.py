"""Faults at the n-th write in a folder: the process dies there, or the disk is full from there on.

Every write of Python passes an audit hook of the interpreter, so nothing of dfl is replaced.
"""

import errno
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

__all__ = ["Fault", "KilledError", "counting", "full_disk", "killed"]

_REMOVALS = {"os.remove", "os.rmdir", "shutil.rmtree"}
_WRITES = {"os.mkdir", "os.rename", *_REMOVALS}


@final
class KilledError(BaseException):
    """Stands for the death of the process: nothing catches it, and nothing is written after it."""


@final
class Fault:
    """Counts the writes in a folder, and strikes at one of them and all later ones.

    Args:
        folder: where writes count.
        at: number of the write that fails first; None: none does.
        error: makes what is raised.
        spared: events that succeed all the same.
    """

    def __init__(
        self,
        folder: Path,
        at: int | None,
        error: Callable[[], BaseException],
        spared: Collection[str] = (),
    ) -> None:
        self.folder, self.at, self.error = os.fspath(folder), at, error
        self.spared = spared
        self.seen = 0
        self.struck = False

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._counts(event, args):
            return
        self.seen += 1
        if self.at is not None and self.seen > self.at and event not in self.spared:
            self.struck = True
            raise self.error()

    def _counts(self, event: str, args: tuple[Any, ...]) -> bool:
        if event == "open":
            path, mode, flags = args
            written = set(mode) & set("wax+") if mode else flags & (os.O_WRONLY | os.O_RDWR)
            return bool(written) and self._inside(path)
        if event not in _WRITES:
            return False
        relative = event in ("os.remove", "os.rmdir") and args[1] not in (-1, None)  # in an rmtree
        return relative or self._inside(args[0])

    def _inside(self, path: Any) -> bool:
        if isinstance(path, int):
            return False
        found = os.path.abspath(os.fsdecode(path))
        return found == self.folder or found.startswith(self.folder + os.sep)


_active: list[Fault] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _active and (event == "open" or event in _WRITES):
        _active[-1].hear(event, args)


sys.addaudithook(_hook)


@contextmanager
def _striking(fault: Fault) -> Iterator[Fault]:
    _active.append(fault)
    try:
        yield fault
    finally:
        _active.remove(fault)


def counting(folder: Path) -> Any:
    """Count the writes in a folder."""
    return _striking(Fault(folder, None, KilledError))


def killed(folder: Path, at: int) -> Any:
    """Die just before one write."""
    return _striking(Fault(folder, at, KilledError))


def full_disk(folder: Path, at: int) -> Any:
    """Have no room left from one write on."""
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return _striking(Fault(folder, at, lambda: error, _REMOVALS))
