"""The sift of numba: in the inputs' own precision where that is certain, in float64 elsewhere.

At prices that the inputs' precision holds, a score is rounded once, and of two that differ the
larger one truly is; so the bracket is widened to such prices. Whose best is tied at one of its ends
is looked at again, alone.
"""

# mypy: disable-error-code="untyped-decorator,call-arg"

from typing import Any

import numpy as np
import numpy.typing as npt

from dfl.scale.cached import cached_njit
from dfl.solvers.passes.numba_eights import (
    LANES,
    MOST_ARMS,
    copy_row,
    lowest,
    out_of_reach,
    sift_eight,
)

__all__ = ["sift"]

_compiled = cached_njit(nogil=True, error_model="numpy")
_U = np.uint64
_EVERYONE = _U((1 << LANES) - 1)
Array = npt.NDArray[Any]


def sift(
    revenue: Array, cost: Array, m: int, low: float, high: float, choice: Array,
    others: Array, others_revenue: Array, others_cost: Array,
) -> tuple[int, float, float]:  # fmt: skip
    """Compare everyone's best treatment at two prices; copy the rows of those who move.

    Args:
        revenue: flat, N rows of m treatments.
        cost: of the same kind.
        m: treatments; above 64, everyone is compared one by one.
        low: lower price.
        high: higher price.
        choice: best treatment at ``high``, written here. Shape ``(N,)``.
        others: people who move there, or within a rounding beyond the two prices, written here.
            Shape ``(D,)``.
        others_revenue: their rows. Flat, of ``(D, m)``.
        others_cost: their rows. Flat, of ``(D, m)``.

    Returns:
        How many move, D + 1 where there are more than D; cost and revenue of all who do not.
    """
    known, around = 0, _around(low, high, revenue.dtype)
    if m <= MOST_ARMS and around[1] < np.inf:
        low, high = around
        known = choice.shape[0] - out_of_reach(m, revenue.dtype)
    found, kept_cost, kept_revenue = _sift(
        revenue, cost, m, (0,) * min(m, MOST_ARMS), float(low), float(high), known, choice, others,
        others_revenue, others_cost,
    )  # fmt: skip
    return found, kept_cost, kept_revenue


def _around(low: float, high: float, dtype: Any) -> tuple[float, float]:
    """Return the nearest numbers of a dtype that are not above ``low``, and not below ``high``."""
    with np.errstate(over="ignore"):
        below, above = np.array([low, high]).astype(dtype)
    if float(below) > low:
        below = np.nextafter(below, -above)
    if float(above) < high:
        above = np.nextafter(above, dtype.type(np.inf))
    return float(below), float(above)


@_compiled
def _sift(
    revenue: Array, cost: Array, m: int, arms: Any, low: float, high: float, known: int,
    choice: Array, others: Array, others_revenue: Array, others_cost: Array,
) -> Any:  # fmt: skip
    """Sift eight people after eight, copying the rows of those who move."""
    low_price, high_price = revenue.dtype.type(low), revenue.dtype.type(high)
    totals = np.zeros(2 * LANES)
    found, kept_cost, kept_revenue = 0, 0.0, 0.0
    quick = _U(max(known, 0) // LANES * LANES)
    for i in range(_U(0), _U(choice.shape[0]), _U(LANES)):
        bits = _EVERYONE
        if i < quick:
            first = i * _U(len(arms))
            bits = sift_eight(revenue, cost, arms, first, low_price, high_price, choice, i, totals)
        tied = bits & _EVERYONE
        left = tied | bits >> _U(LANES)
        while left:
            who = i + lowest(left)
            left &= left - _U(1)
            first = who * _U(m)
            if tied >> (who - i) & _U(1):
                if who >= choice.shape[0]:
                    break
                best, moves = _exact(revenue, cost, first, m, low, high)
                choice[who] = best
                if not moves:
                    kept_cost += cost[first + _U(best)]
                    kept_revenue += revenue[first + _U(best)]
                    continue
            if found == others.shape[0]:
                return found + 1, kept_cost, kept_revenue
            others[found] = who
            to = _U(found) * _U(m)
            copy_row(revenue, first, others_revenue, to, arms)
            copy_row(cost, first, others_cost, to, arms)
            for j in range(_U(len(arms)), _U(m)):
                others_revenue[to + j], others_cost[to + j] = revenue[first + j], cost[first + j]
            found += 1
    return found, kept_cost + totals[:LANES].sum(), kept_revenue + totals[LANES:].sum()


@_compiled
def _exact(revenue: Array, cost: Array, first: Any, m: int, low: float, high: float) -> Any:
    """Find one person's best treatment at ``high``, and whether another is better at ``low``."""
    best, at_high, at_low, most_at_low = 0, -np.inf, -np.inf, -np.inf
    for j in range(m):
        this_revenue = np.float64(revenue[first + _U(j)])
        this_cost = np.float64(cost[first + _U(j)])
        this_at_high, this_at_low = this_revenue - high * this_cost, this_revenue - low * this_cost
        wins = this_at_high > at_high
        best = j if wins else best
        at_high = this_at_high if wins else at_high
        at_low = this_at_low if wins else at_low
        most_at_low = this_at_low if this_at_low > most_at_low else most_at_low
    return best, most_at_low > at_low
