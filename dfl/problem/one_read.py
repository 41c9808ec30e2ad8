"""Checks of large amounts on the CPU: everything that must hold, in one read of both inputs."""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numpy as np
import numpy.typing as npt

from dfl.scale.cached import cached_njit

__all__ = ["all_sound"]

# Finite floats, their signs taken off, are less than infinity when their bits are read as whole
# numbers, NaN is more; a negative number's bits, sign left on, are more than any of these. Whole
# numbers have a maximum that runs on vectors, of their own width: numba's `max` and `&` widen them.
_compiled = cached_njit(nogil=True)
_U = np.uint64
_TILE = 4096  # numbers, so that the first column is added up while its rows are in cache
Array = npt.NDArray[Any]


def all_sound(revenue: Array, cost: Array) -> tuple[bool, float]:
    """Say whether all revenue is finite and all costs are finite and >= 0.

    Args:
        revenue: float32 or float64, contiguous. Shape ``(N, M)``, N and M >= 1.
        cost: of the same kind and shape.

    Returns:
        Whether they are, a cost of -0.0 counting as negative; and the total cost of the first
        treatment, in float64.
    """
    whole = np.dtype(f"u{revenue.itemsize}").type
    infinite = np.array(np.inf, revenue.dtype).view(whole)[()]
    unsigned = whole(~(whole(1) << whole(8 * revenue.itemsize - 1)))
    flat = revenue.reshape(-1).view(whole), cost.reshape(-1).view(whole)
    largest, dearest, first = _scan(*flat, cost, unsigned)
    return bool(largest < infinite and dearest < infinite), float(first)


@_compiled
def _scan(revenue: Array, cost: Array, rows: Array, unsigned: Any) -> Any:
    """Return the largest bits of each, and the total of the first column."""
    whole = revenue.dtype.type
    largest = dearest = whole(0)
    first, treatments = 0.0, rows.shape[1]
    tile = max(_TILE // treatments, 1)
    for start in range(0, rows.shape[0], tile):
        end = min(start + tile, rows.shape[0])
        earned = revenue[start * treatments : end * treatments]
        paid = cost[start * treatments : end * treatments]
        for k in range(_U(0), _U(earned.shape[0])):
            one, other = whole(earned[k] & unsigned), paid[k]
            largest = one if one > largest else largest
            dearest = other if other > dearest else dearest
        first += _total(rows[start:end, 0])
    return largest, dearest, first


@_compiled
def _total(column: Array) -> Any:
    """Add up in four sums side by side: one alone would wait for each addition to end."""
    one = two = three = four = 0.0
    for i in range(_U(0), _U(column.shape[0] // 4)):
        one += column[_U(4) * i]
        two += column[_U(4) * i + _U(1)]
        three += column[_U(4) * i + _U(2)]
        four += column[_U(4) * i + _U(3)]
    for i in range(column.shape[0] // 4 * 4, column.shape[0]):
        one += column[i]
    return one + two + three + four
