"""`quantiles`: exact quantiles of values that are read part by part."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

import numpy as np

from dfl.scale import PARTS, some_rows
from dfl.stats.arrays import Vector

__all__ = ["quantiles"]

Read: TypeAlias = Callable[[Any], Vector]
"""From a slice, or from row numbers, to the values of these rows."""

_ALL = 1 << 16  # values that are sorted at once
_SAMPLE = 20_000
_WIDTH = 4.0  # standard errors on either side of the sample's quantile


def quantiles(read: Read, rows: int, levels: Sequence[float]) -> list[float]:
    """Return what `numpy.quantile` returns of finite values, some per cent of them in memory.

    A sample says between which two values a quantile lies; one pass counts what is below and
    keeps what is between. Where a sample erred, the bracket is widened and passed again.

    Args:
        read: the values.
        rows: number of rows, >= 1.
        levels: of the quantiles, in [0, 1].
    """
    if rows <= _ALL:
        return [float(one) for one in np.quantile(read(slice(0, rows)), levels)]
    sample = np.sort(read(some_rows(rows, _SAMPLE)))
    return [_quantile(read, rows, level, sample) for level in levels]


def _quantile(read: Read, rows: int, level: float, sample: Vector) -> float:
    """Interpolate between the two values next to a place in the order."""
    place = level * (rows - 1)
    first = int(place)
    wanted = (first, min(first + 1, rows - 1))
    width = _WIDTH * float(len(sample) * level * (1 - level)) ** 0.5 + 2
    while True:
        middle = level * (len(sample) - 1)
        low, high = int(middle - width), int(middle + width) + 1
        bracket = _Bracket(
            sample[low] if low >= 0 else -np.inf,
            sample[high] if high < len(sample) else np.inf,
        )
        for part in PARTS.of(rows):
            bracket.add(read(part))
        if bracket.below <= wanted[0] and wanted[1] < bracket.reached:
            break
        width *= 4
    low_value, high_value = bracket.at(wanted)
    # As NumPy interpolates, so that the last digit is the same.
    share, step = place - first, high_value - low_value
    return low_value + step * share if share < 0.5 else high_value - step * (1 - share)


@final
class _Bracket:
    """Values between two bounds, and how many are below or on them.

    Equal values on a bound are counted, not kept: most rows may have them.
    """

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = float(low), float(high)
        self.below = 0
        self._on_low = self._on_high = self._between = 0
        self._kept: list[Vector] = []

    def add(self, values: Vector) -> None:
        self.below += int(np.count_nonzero(values < self._low))
        self._on_low += int(np.count_nonzero(values == self._low))
        if self._high > self._low:
            self._on_high += int(np.count_nonzero(values == self._high))
        kept = values[(values > self._low) & (values < self._high)]
        self._between += len(kept)
        self._kept.append(kept)

    @property
    def reached(self) -> int:
        """Number of values up to the upper bound."""
        return self.below + self._on_low + self._between + self._on_high

    def at(self, places: Sequence[int]) -> list[float]:
        """Return the values at places in the order of all, from 0."""
        inner = np.array(places) - self.below - self._on_low
        kept = np.concatenate(self._kept)
        inside = inner[(inner >= 0) & (inner < len(kept))]
        if len(inside):
            kept = np.partition(kept, inside)
        return [
            self._low if one < 0 else float(kept[one]) if one < len(kept) else self._high
            for one in inner.tolist()
        ]
