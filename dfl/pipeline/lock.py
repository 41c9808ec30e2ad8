"""`locked`: one process at a time works in a run folder."""

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dfl.errors import RunFolderError, WriteError
from dfl.io import UNFINISHED, make_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # said by the platform, not by the type

__all__ = ["LOCK", "locked", "release"]

LOCK = ".lock"


@contextlib.contextmanager
def locked(path: Path | str) -> Iterator[None]:
    """Keep everyone else out of a run folder while the block runs.

    The folder is made where it is missing, and halves of files that a killed process left
    are removed. The operating system frees the lock of a process that dies; where the file
    system knows no such locks, a dead holder is told by its number and start time.

    Raises:
        RunFolderError: if another process works there.
        WriteError: if the folder or its lock could not be made.
    """
    path = Path(path)
    make_folder(path)
    descriptor = _acquire(path / LOCK)
    try:
        try:
            _sweep(path)
            yield
        finally:
            with contextlib.suppress(OSError):
                (path / LOCK).unlink()
    finally:
        os.close(descriptor)


def release(path: Path) -> None:
    """Remove the lock, and the halves of files, that a process left which died at the very end.

    Raises:
        RunFolderError: if it did not die.
        WriteError: if the folder cannot be written.
    """
    if (path / LOCK).exists():
        with locked(path):
            pass


def _acquire(path: Path) -> int:
    """Return the open lock file, held and with this process written in it."""
    try:
        descriptor = _open_held(path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(_me()).encode(), 0)
    except RunFolderError:
        raise
    except OSError as error:
        raise WriteError(
            f"could not lock {path.parent}: {error.strerror}; nothing was written there. It must "
            "be a folder that you may write, on a disk with room."
        ) from error
    return descriptor


def _open_held(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        held = _flock(descriptor)
        if held is None:  # no such locks here: the file itself is the lock
            os.close(descriptor)
            if _alive(_holder(path)):
                raise _in_use(path)
            path.unlink(missing_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if not held:
            os.close(descriptor)
            raise _in_use(path)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # of a file that its last holder has removed since


def _flock(descriptor: int) -> bool | None:
    """Say whether the lock is ours, or None where the file system has none."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES) else None
    return True


def _in_use(path: Path) -> RunFolderError:
    holder = _holder(path)
    who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
    return RunFolderError(
        f"{path.parent} is in use by {who}; wait for it, or choose another folder. If no such "
        f"process is running, delete {path}."
    )


def _me() -> dict[str, Any]:
    pid = os.getpid()
    return {"pid": pid, "host": socket.gethostname(), "started": _started(pid), "at": time.time()}


def _holder(path: Path) -> dict[str, Any] | None:
    """Return who wrote the lock file, or None where nobody can be read in it."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return {"pid": int(holder["pid"]), "host": str(holder["host"]), **holder}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _alive(holder: dict[str, Any] | None) -> bool:
    """Say whether a holder may still be at work; on another machine it always may."""
    if holder is None:
        return False
    if holder["host"] != socket.gethostname():
        return True
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and not ours
        pass
    return bool(holder.get("started") == _started(holder["pid"]))


def _started(pid: int) -> str | None:
    """Return when a process began, by a clock of the machine's own; None where not told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _sweep(path: Path) -> None:
    """Remove halves of files that a killed process left."""
    for folder in (path, path / "plots", path / "checkpoints", *path.glob("predictions/*/*")):
        if folder.is_dir():
            for file in folder.iterdir():
                if UNFINISHED.fullmatch(file.name):
                    file.unlink(missing_ok=True)
