"""The sift of numba: in the inputs' own precision where that is certain, in float64 elsewhere.

Scores in the inputs' precision are right but for a few roundings. Whose best leads by more than
those, at both ends of the bracket, is settled; all others are looked at again, one by one.
"""

# mypy: disable-error-code="untyped-decorator,call-arg"

from typing import Any

import numpy as np
import numpy.typing as npt

from dfl.scale.cached import cached_njit
from dfl.solvers.passes.numba_near import (
    LANES,
    MOST_ARMS,
    copy_row,
    in_reach,
    lowest,
    mark_near,
    unit_of,
    words,
)

__all__ = ["sift"]

_compiled = cached_njit(nogil=True, error_model="numpy")
_vectors = cached_njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
_U = np.uint64
_FEW = 7  # treatments; the compiler's own vectors are quicker up to here
_TILES = 2048, 512, 128  # rows that stay in cache; few treatments, up to eight, more
_MOVES, _OPEN = np.uint8(1), np.uint8(2)  # what becomes of a person who is not settled, 0
_ROUNDINGS = 8  # what two scores, the prices and a difference need
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
        others: people who move, written here. Shape ``(D,)``.
        others_revenue: their rows. Flat, of ``(D, m)``.
        others_cost: their rows. Flat, of ``(D, m)``.

    Returns:
        How many move, D + 1 where there are more than D; cost and revenue of all who do not.
    """
    unit = unit_of(revenue.dtype, _ROUNDINGS)
    ends = float(low), float(high)
    known = in_reach(m, choice.shape[0]) if abs(ends[1]) < float(unit[2]) else 0
    tile = _TILES[(m > _FEW) + (m > 8)]
    near = words(m, tile), words(m, tile)
    arms = (0,) * min(m, MOST_ARMS)
    few = arms if m <= _FEW else ()
    found, kept_cost, kept_revenue = _sift(
        revenue, cost, m, arms, few, *ends, unit, known, *near, choice, others, others_revenue,
        others_cost,
    )  # fmt: skip
    return found, kept_cost, kept_revenue


@_compiled
def _sift(
    revenue: Array, cost: Array, m: int, arms: Any, few: Any, low: float, high: float, unit: Any,
    known: int, at_low: Array, at_high: Array, choice: Array, others: Array,
    others_revenue: Array, others_cost: Array,
) -> Any:  # fmt: skip
    """Sift tile by tile, copying those who move while their rows are in cache."""
    prices = revenue.dtype.type(low), revenue.dtype.type(high)
    found, kept_cost, kept_revenue = 0, 0.0, 0.0
    tile = at_low.shape[0]
    fate, again = np.empty(tile, np.uint8), np.empty(tile, np.uint64)
    eights = fate.view(np.uint64)
    for start in range(0, choice.shape[0], tile):
        end = min(start + tile, choice.shape[0])
        rows = revenue[start * m : end * m], cost[start * m : end * m]
        here = choice[start:end], fate[: end - start]
        if len(few) > 0:
            tile_cost, tile_revenue = _few(*rows, few, *prices, unit, *here)
        else:
            quick = max(min(end, known) - start, 0) // LANES * LANES
            for i in range(_U(0), _U(quick), _U(LANES)):
                first = i * _U(len(arms))
                mark_near(*rows, arms, first, *prices, prices[1], unit, at_low, at_high, i)
            at_high[quick:] = at_low[quick:] = 3  # two treatments: not known
            tile_cost, tile_revenue = _settle(*rows, m, at_low, at_high, *here)
        kept_cost += tile_cost
        kept_revenue += tile_revenue
        fate[end - start :] = 0
        count = _U(0)
        for eight in range(_U(0), _U(eights.shape[0])):
            left = eights[eight]
            while left:
                again[count] = _U(8) * eight + lowest(left) // _U(8)
                count += _U(1)
                left &= left - _U(1)
        for k in range(count):
            i = again[k]
            first = i * _U(m)
            if fate[i] == _OPEN:
                best, moves = _exact(rows[0], rows[1], first, m, low, high)
                choice[_U(start) + i] = best
                if not moves:
                    kept_cost += rows[1][first + _U(best)]
                    kept_revenue += rows[0][first + _U(best)]
                    continue
            if found == others.shape[0]:
                return found + 1, kept_cost, kept_revenue
            others[found] = start + i
            to = _U(found) * _U(m)
            copy_row(rows[0], first, others_revenue, to, arms)
            copy_row(rows[1], first, others_cost, to, arms)
            for j in range(_U(len(arms)), _U(m)):
                others_revenue[to + j], others_cost[to + j] = rows[0][first + j], rows[1][first + j]
            found += 1
    return found, kept_cost, kept_revenue


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


@_vectors
def _few(
    revenue: Array, cost: Array, arms: Any, low: Any, high: Any, unit: Any,
    choice: Array, fate: Array,
) -> Any:  # fmt: skip
    """Settle who is certain among few treatments; return their cost and revenue."""
    m = len(arms)
    eps, tiny, most = unit
    kept_cost = kept_revenue = 0.0
    for i in range(_U(0), _U(choice.shape[0])):
        first = i * _U(m)
        best_revenue, best_cost, best = revenue[first], cost[first], np.int32(0)
        at_high = best_revenue - high * best_cost
        at_low = best_revenue - low * best_cost
        next_high = next_low = revenue.dtype.type(-np.inf)  # of all but the best at ``high``
        size = abs(best_revenue) + high * abs(best_cost)
        for j in range(1, m):
            this_revenue, this_cost = revenue[first + _U(j)], cost[first + _U(j)]
            this_at_high = this_revenue - high * this_cost
            this_at_low = this_revenue - low * this_cost
            this_size = abs(this_revenue) + high * abs(this_cost)
            size = this_size if this_size > size else size
            wins = this_at_high > at_high
            beaten_high = at_high if wins else this_at_high
            beaten_low = at_low if wins else this_at_low
            next_high = beaten_high if beaten_high > next_high else next_high
            next_low = beaten_low if beaten_low > next_low else next_low
            at_high = this_at_high if wins else at_high
            at_low = this_at_low if wins else at_low
            best_revenue = this_revenue if wins else best_revenue
            best_cost = this_cost if wins else best_cost
            best = np.int32(j) if wins else best
        margin = eps * size + tiny
        certain = (at_high - next_high > margin) & (size < most)
        sure = certain & (at_low - next_low > margin)
        choice[i] = best
        moves = certain & (next_low - at_low > margin)
        fate[i] = np.uint8(0) if sure else (_MOVES if moves else _OPEN)
        kept_cost += np.float64(best_cost) if sure else 0.0
        kept_revenue += np.float64(best_revenue) if sure else 0.0
    return kept_cost, kept_revenue


@_vectors
def _settle(
    revenue: Array, cost: Array, m: int, at_low: Array, at_high: Array, choice: Array, fate: Array
) -> Any:  # fmt: skip
    """Write down who has one treatment at both ends; return their cost and revenue."""
    for i in range(_U(0), _U(choice.shape[0])):
        choice[i] = lowest(at_high[i])
        single = (at_high[i] & (at_high[i] - 1)) == 0
        moves = single & ((at_high[i] & at_low[i]) == 0)
        fate[i] = (
            np.uint8(0) if single & (at_high[i] == at_low[i]) else (_MOVES if moves else _OPEN)
        )
    kept_cost = kept_revenue = 0.0
    for i in range(_U(0), _U(choice.shape[0])):
        mine = i * _U(m) + _U(choice[i])
        kept_cost += np.float64(cost[mine]) if fate[i] == 0 else 0.0
        kept_revenue += np.float64(revenue[mine]) if fate[i] == 0 else 0.0
    return kept_cost, kept_revenue
