"""Arrays of one number per row, part by part, in memory or on disk."""

import math
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dfl.errors import WriteError
from dfl.scale.chunks import Chunks

__all__ = ["PARTS", "Empty", "no_room", "on_disk", "some_rows"]

PARTS = Chunks(1 << 14)  # rows; a few columns of them stay in the processor's cache

Empty: TypeAlias = Callable[..., Any]
"""Makes an array of a shape and, if given, a dtype: `numpy.empty` or `on_disk`."""


def on_disk(shape: int | tuple[int, ...], dtype: Any = np.float64) -> Any:
    """Return an array that lies in a temporary file and goes with the last look at it.

    The file has no name, so that nothing is left after a kill; its room is taken at once. What of
    it is in memory is the system's cache, which shrinks where memory is scarce. ``TMPDIR`` names
    the folder.

    Args:
        shape: of the array.
        dtype: of its numbers.

    Raises:
        WriteError: if there is no room for it.
    """
    numbers = math.prod(np.atleast_1d(shape).tolist())
    if not numbers:
        return np.empty(shape, dtype)
    size = numbers * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile() as file:
            if sys.platform == "linux":
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.asarray(np.memmap(file, dtype, mode="r+", shape=shape))
    except OSError as error:
        raise WriteError(no_room(size, error)) from error


def no_room(size: int, error: OSError) -> str:
    """Say that a temporary file could not be written.

    Args:
        size: bytes that it was to take.
        error: what the system said.
    """
    return (
        f"could not keep {size:,} bytes in a temporary file in {tempfile.gettempdir()}: "
        f"{error.strerror or error}. Make room, or name another folder by TMPDIR."
    )


def some_rows(rows: int, most: int) -> NDArray[np.int64]:
    """Return places of about ``most`` rows, one of every run of neighbours; all if no more.

    Which one of a run is drawn, under a fixed seed: rows may come in turns, such as an arm each.

    Args:
        rows: number of rows.
        most: how many are wanted; up to twice as many are returned.
    """
    step = max(rows // most, 1)
    first = np.arange(0, rows - step + 1, step)
    return first + np.random.default_rng(rows).integers(step, size=len(first))
