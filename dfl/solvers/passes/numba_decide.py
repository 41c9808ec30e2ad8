"""The decision of numba: by scores where these are certain, by tournaments elsewhere.

Whose best score leads by more than rounding would win every match. Eight neighbours, one of whom
has no such lead, hold their tournaments side by side; those whose rows cannot be loaded eight at a
time, and everyone above `MOST_ARMS` treatments, one after another.
"""

# mypy: disable-error-code="untyped-decorator,call-arg"

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from dfl.scale.cached import cached_njit
from dfl.solvers.passes.numba_eights import (
    LANES,
    MOST_ARMS,
    match_eight,
    out_of_reach,
    weigh_eight,
)

__all__ = ["decide"]

_compiled = cached_njit(nogil=True, error_model="numpy")
_U = np.uint64
_ROUNDINGS = 8  # twice what two scores, their bar and a quotient of differences need
Array = npt.NDArray[Any]


def decide(revenue: Array, cost: Array, m: int, price: Any, choice: Array) -> None:
    """Choose the winner of a tournament among each person's treatments; see `tournament` of torch.

    Args:
        revenue: flat, N rows of m treatments.
        cost: of the same kind.
        m: treatments.
        price: of money, of the same kind.
        choice: written here. Shape ``(N,)``.
    """
    unit = _unit(revenue.dtype)
    sized = price + unit[1] / unit[0]  # quotients below the smallest number are rounded, too
    scored = m <= MOST_ARMS and sized < unit[2]
    known = choice.shape[0] - out_of_reach(m, revenue.dtype) if scored else 0
    _decide(revenue, cost, m, (0,) * min(m, MOST_ARMS), price, sized, unit, known, choice)


@cache
def _unit(dtype: Any) -> tuple[Any, Any, Any]:
    """Return what `weigh_eight` takes for rounding: relative, absolute; and up to which size."""
    kind = np.finfo(dtype)
    one = np.dtype(dtype).type
    return one(_ROUNDINGS * kind.eps), one(kind.tiny), one(kind.max / 4)


@_compiled
def _decide(
    revenue: Array, cost: Array, m: int, arms: Any, price: Any, sized: Any, unit: Any,
    known: int, choice: Array,
) -> None:  # fmt: skip
    """Decide for eight people after eight, and for the last ones."""
    quick = _U(max(known, 0) // LANES * LANES)
    for i in range(_U(0), quick, _U(LANES)):
        first = i * _U(len(arms))
        if weigh_eight(revenue, cost, arms, first, price, sized, unit, choice, i):
            match_eight(revenue, cost, arms, first, price, choice, i)
    for i in range(quick, _U(choice.shape[0])):
        choice[i] = _winner(revenue, cost, i * _U(m), m, price)


@_compiled
def _winner(revenue: Array, cost: Array, first: Any, m: int, price: Any) -> Any:
    """Let each treatment of a person meet the best one before it."""
    best_revenue, best_cost, best = revenue[first], cost[first], 0
    for j in range(1, m):
        this_revenue, this_cost = revenue[first + _U(j)], cost[first + _U(j)]
        revenue_gain, cost_gain = this_revenue - best_revenue, this_cost - best_cost
        if cost_gain == 0:
            wins = revenue_gain > 0
        else:
            slope = revenue_gain / cost_gain
            wins = slope > price if cost_gain > 0 else slope <= price
        if wins:
            best_revenue, best_cost, best = this_revenue, this_cost, j
    return best
