"""`unprinted`: keeps what HiGHS prints out of what a program writes to its output."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["unprinted"]

_OUT, _ERR = 1, 2  # file descriptors
_lock = Lock()
_kept: list[int] = []  # standard output, while it is away
_within = 0  # blocks that are running, in all threads


@contextmanager
def unprinted() -> Iterator[None]:
    """Send what native code prints to standard error while a block runs.

    HiGHS prints a line of its own now and then, and no option of scipy silences it. Among the rows
    of a table or a JSON document on standard output it is one line too many.

    File descriptors belong to the process: what other threads print meanwhile goes to standard
    error, too, and so does what processes print that are started meanwhile. Nothing is done where
    one of the two is closed, or where there is no C library to ask (on Windows).
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _within
    with _lock:
        if not _within and os.name == "posix":
            _flush()
            try:
                _kept.append(os.dup(_OUT))
                os.dup2(_ERR, _OUT)
            except OSError:  # closed
                _restore()
        _within += 1


def _leave() -> None:
    global _within
    with _lock:
        _within -= 1
        if not _within and _kept:
            _flush()
            _restore()


def _restore() -> None:
    """Put standard output back, if it was taken away."""
    while _kept:
        kept = _kept.pop()
        os.dup2(kept, _OUT)
        os.close(kept)


def _flush() -> None:
    """Write what waits in the buffers of Python and of C where it was meant to go."""
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()
    ctypes.CDLL(None).fflush(None)
