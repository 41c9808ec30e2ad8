"""The decision of numba from eight treatments on: sixteen people at a time on vectors.

Whose best score leads by more than rounding is decided by it. All others, and everyone above
`MOST_ARMS` treatments, hold a tournament: one treatment after another, its column of the rows laid
out in one piece and compared with the best of those before it.
"""

# mypy: disable-error-code="untyped-decorator,call-arg"

from typing import Any

import numpy as np
import numpy.typing as npt

from dfl.scale.cached import cached_njit
from dfl.solvers.passes.numba_near import (
    LANES,
    MOST_ARMS,
    in_reach,
    lowest,
    mark_near,
    unit_of,
    words,
)

__all__ = ["decide_wide"]

_compiled = cached_njit(nogil=True, error_model="numpy")
_U = np.uint64
_TILE_BYTES, _LEAST_TILE = 1 << 14, 128
_ROUNDINGS = 32  # some five times what two scores and a quotient need
Array = npt.NDArray[Any]


def decide_wide(revenue: Array, cost: Array, m: int, price: Any, choice: Array) -> None:
    """Choose the winner of a tournament among each person's treatments; see `tournament` of torch.

    Args:
        revenue: flat, N rows of m treatments.
        cost: of the same kind.
        m: treatments.
        price: of money, of the same kind.
        choice: written here. Shape ``(N,)``.
    """
    unit = unit_of(revenue.dtype, _ROUNDINGS)
    sized = price + unit[1] / unit[0]  # quotients below the smallest number are rounded, too
    known = in_reach(m, choice.shape[0]) if sized < unit[2] else 0
    tile = max(_TILE_BYTES // (m * revenue.itemsize), _LEAST_TILE)
    arms = (0,) * min(m, MOST_ARMS)
    _decide(revenue, cost, m, arms, price, sized, unit, known, words(m, tile), choice)


@_compiled
def _decide(
    revenue: Array, cost: Array, m: int, arms: Any, price: Any, sized: Any, unit: Any,
    known: int, near: Array, choice: Array,
) -> None:  # fmt: skip
    """Decide tile by tile, and look again at who is not certain while the rows are in cache."""
    tile = near.shape[0]
    state, best = np.empty((4, tile), revenue.dtype), np.empty(tile, np.int32)
    again = np.empty(tile, np.uint64)
    for start in range(0, choice.shape[0], tile):
        end = min(start + tile, choice.shape[0])
        rows = revenue[start * m : end * m], cost[start * m : end * m]
        quick = max(min(end, known) - start, 0) // LANES * LANES
        for i in range(_U(0), _U(quick), _U(LANES)):
            first = i * _U(len(arms))
            mark_near(*rows, arms, first, price, price, sized, unit, near, near, i)
        near[quick:] = 3  # two treatments: not known
        count = _U(0)
        for i in range(_U(0), _U(end - start)):
            choice[_U(start) + i] = lowest(near[i])
            again[count] = i
            count += _U((near[i] & (near[i] - 1)) != 0)
        if count > 0:
            _tournament(rows, m, price, again[:count], state, best, choice[start:end])


@_compiled
def _tournament(
    rows: Any, m: int, price: Any, who: Array, state: Array, best: Array, choice: Array
) -> None:
    """Let each treatment of some rows meet the best one before it."""
    count = who.shape[0]
    best_revenue, best_cost = state[0, :count], state[1, :count]
    this_revenue, this_cost = state[2, :count], state[3, :count]
    _column(rows[0], m, 0, who, best_revenue)
    _column(rows[1], m, 0, who, best_cost)
    best[:] = 0
    for j in range(1, m):
        _column(rows[0], m, j, who, this_revenue)
        _column(rows[1], m, j, who, this_cost)
        _meet(this_revenue, this_cost, price, j, best_revenue, best_cost, best)
    for i in range(_U(0), _U(count)):
        choice[who[i]] = best[i]


@_compiled
def _column(amounts: Array, m: int, j: int, who: Array, column: Array) -> None:
    """Lay one treatment of some rows out in one piece."""
    for i in range(_U(0), _U(column.shape[0])):
        column[i] = amounts[who[i] * _U(m) + _U(j)]


@_compiled
def _meet(
    this_revenue: Array, this_cost: Array, price: Any, j: int,
    best_revenue: Array, best_cost: Array, best: Array,
) -> None:  # fmt: skip
    """Let a treatment meet the best one before it."""
    for i in range(_U(0), _U(this_revenue.shape[0])):
        revenue_gain = this_revenue[i] - best_revenue[i]
        cost_gain = this_cost[i] - best_cost[i]
        slope = revenue_gain / cost_gain
        dearer = (cost_gain > 0) & (slope > price)
        cheaper = (cost_gain < 0) & (slope <= price)
        wins = dearer | cheaper | ((cost_gain == 0) & (revenue_gain > 0))
        best_revenue[i] = this_revenue[i] if wins else best_revenue[i]
        best_cost[i] = this_cost[i] if wins else best_cost[i]
        best[i] = np.int32(j) if wins else best[i]
