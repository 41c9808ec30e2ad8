"""The decision of numba above eight treatments: one treatment after another, over a tile of people.

A loop over so many treatments is no longer unrolled, and without that no vectors are made of the
loop over people. So people are taken in tiles that stay in cache; each treatment's column of a
tile is laid out in one piece and compared with the best of those before it.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numpy as np
import numpy.typing as npt

from dfl.scale.cached import cached_njit

__all__ = ["decide_wide"]

_compiled = cached_njit(nogil=True, error_model="numpy")
_U = np.uint64
_TILE_BYTES, _LEAST_TILE = 1 << 14, 128
Array = npt.NDArray[Any]


@_compiled
def decide_wide(revenue: Array, cost: Array, m: int, price: Any, choice: Array) -> None:
    """Hold a tournament among the treatments of each person; see `tournament` of torch."""
    tile = max(_TILE_BYTES // (m * revenue.itemsize), _LEAST_TILE)
    state = np.empty((4, tile), revenue.dtype)
    best = np.empty(tile, np.int32)
    for start in range(0, choice.shape[0], tile):
        end = min(start + tile, choice.shape[0])
        rows = revenue[start * m : end * m], cost[start * m : end * m]
        best_revenue, best_cost = state[0, : end - start], state[1, : end - start]
        this_revenue, this_cost = state[2, : end - start], state[3, : end - start]
        _column(rows[0], m, 0, best_revenue)
        _column(rows[1], m, 0, best_cost)
        best[:] = 0
        for j in range(1, m):
            _column(rows[0], m, j, this_revenue)
            _column(rows[1], m, j, this_cost)
            _meet(this_revenue, this_cost, price, j, best_revenue, best_cost, best)
        for i in range(_U(0), _U(end - start)):
            choice[start + i] = best[i]


@_compiled
def _column(amounts: Array, m: int, j: int, column: Array) -> None:
    """Lay one treatment of all rows out in one piece."""
    for i in range(_U(0), _U(column.shape[0])):
        column[i] = amounts[i * _U(m) + _U(j)]


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
