"""Types of the plain arrays inside the metrics."""

from typing import TypeAlias

import numpy as np

__all__ = ["Counts", "Flags", "Integers", "Numbers"]

# One bootstrap draw at a time in numpy, on one thread: with arrays that fit the cache this is
# quicker than batched torch, and far quicker where other work shares the cores.
Numbers: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Integers: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Counts: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.int16]]
Flags: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
