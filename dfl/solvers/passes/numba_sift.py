"""The sift of numba: in the inputs' own precision where that is certain, in float64 elsewhere.

Scores in the inputs' precision are right but for a few roundings. Who leads by more than those,
at both ends of the bracket, is settled; all others are looked at again in float64, one by one.
"""

# mypy: disable-error-code="untyped-decorator,misc,import-untyped,call-arg"

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dfl.scale.cached import cached_njit

__all__ = ["sift"]

# Loops over people run on vectors of them: the number of treatments in a loop is the length of a
# tuple and so known to the compiler, positions are unsigned, inputs lie flat, branches are written
# as choices, and sums may be taken in another order. Nothing else is relaxed.
_compiled = cached_njit(nogil=True, error_model="numpy")
_vectors = cached_njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
_U = np.uint64
_BLOCK, _TILE = 2048, 256  # rows that stay in cache, few treatments and many
_MOVES, _OPEN = np.uint8(1), np.uint8(2)  # what becomes of a person who is not settled, 0
_EIGHT = 8  # treatments; the compiler makes no vectors of loops over more
_ALL = (0,) * _EIGHT
_ROUNDING = 8  # of the largest score: what two scores, the prices and a difference need
Array = npt.NDArray[Any]


def sift(
    revenue: Array, cost: Array, m: int, low: float, high: float, choice: Array,
    others: Array, others_revenue: Array, others_cost: Array,
) -> tuple[int, float, float]:  # fmt: skip
    """Compare everyone's best treatment at two prices; copy the rows of those who move.

    Args:
        revenue: flat, N rows of m treatments.
        cost: of the same kind.
        m: treatments.
        low: lower price.
        high: higher price.
        choice: best treatment at ``high``, written here. Shape ``(N,)``.
        others: people who move, written here. Shape ``(D,)``.
        others_revenue: their rows. Shape ``(D, m)``.
        others_cost: their rows. Shape ``(D, m)``.

    Returns:
        How many move, D + 1 where there are more than D; cost and revenue of all who do not.
    """
    kind = np.finfo(revenue.dtype)
    unit = tuple(map(revenue.dtype.type, (_ROUNDING * kind.eps, kind.tiny, kind.max / 4)))
    few, left = ((0,) * m, ()) if m <= _EIGHT else ((), (0,) * (m % _EIGHT))
    found, kept_cost, kept_revenue = _sift(
        revenue, cost, few, left, low, high, unit, choice, others, others_revenue, others_cost
    )
    return found, kept_cost, kept_revenue


@_compiled
def _sift(
    revenue: Array, cost: Array, few: Any, left: Any, low: float, high: float, unit: Any,
    choice: Array, others: Array, others_revenue: Array, others_cost: Array,
) -> Any:  # fmt: skip
    """Sift block by block, copying those who move while their rows are in cache."""
    m = others_revenue.shape[1]
    prices = revenue.dtype.type(low), revenue.dtype.type(high)
    found, kept_cost, kept_revenue = 0, 0.0, 0.0
    block = _TILE if len(few) == 0 else _BLOCK
    fate = np.empty(block, np.uint8)
    words, again = fate.view(np.uint64), np.empty(block, np.uint64)
    state = np.empty((8 + 2 * _EIGHT) * _TILE, revenue.dtype)
    for start in range(0, choice.shape[0], block):
        end = min(start + block, choice.shape[0])
        rows = revenue[start * m : end * m], cost[start * m : end * m]
        here = choice[start:end], fate[: end - start]
        if len(few) == 0:
            block_cost, block_revenue = _many(*rows, m, left, *prices, unit, state, *here)
        else:
            block_cost, block_revenue = _few(*rows, few, *prices, unit, *here)
        kept_cost += block_cost
        kept_revenue += block_revenue
        fate[end - start :] = 0
        count = _U(0)
        for word in range(words.shape[0]):
            if words[word]:
                for i in range(_U(8 * word), _U(8 * word + 8)):
                    again[count] = i
                    count += _U(fate[i] != 0)
        for k in range(count):
            first = again[k] * _U(m)
            if fate[again[k]] == _OPEN:
                best, moves = _exact(*rows, first, m, low, high)
                choice[_U(start) + again[k]] = best
                if not moves:
                    kept_cost += rows[1][first + _U(best)]
                    kept_revenue += rows[0][first + _U(best)]
                    continue
            if found == others.shape[0]:
                return found + 1, kept_cost, kept_revenue
            others[found] = start + again[k]
            for j in range(_U(0), _U(m)):
                others_revenue[found, j] = rows[0][first + j]
                others_cost[found, j] = rows[1][first + j]
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
    """Settle who is certain among up to eight treatments; return their cost and revenue."""
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


@_compiled
def _many(
    revenue: Array, cost: Array, m: int, left: Any, low: Any, high: Any, unit: Any,
    state: Array, choice: Array, fate: Array,
) -> Any:  # fmt: skip
    """Settle who is certain among more: eight treatments of a tile of people at a time."""
    rows = choice.shape[0]
    state[: 4 * _TILE] = -np.inf  # at_high, at_low, next_high, next_low
    state[4 * _TILE : 8 * _TILE] = 0  # best_revenue, best_cost, best, size
    some_revenue = state[8 * _TILE : (8 + _EIGHT) * _TILE]
    some_cost = state[(8 + _EIGHT) * _TILE :]
    for j in range(0, m - _EIGHT + 1, _EIGHT):
        for i in range(_U(0), _U(rows)):
            _copy_eight(revenue, i * _U(m) + _U(j), some_revenue, i * _U(_EIGHT))
            _copy_eight(cost, i * _U(m) + _U(j), some_cost, i * _U(_EIGHT))
        _meet(some_revenue, some_cost, _ALL, j, low, high, state, rows)
    if len(left) > 0:
        for i in range(_U(0), _U(rows)):
            _copy_eight(revenue, i * _U(m) + _U(m - _EIGHT), some_revenue, i * _U(_EIGHT))
            _copy_eight(cost, i * _U(m) + _U(m - _EIGHT), some_cost, i * _U(_EIGHT))
        _meet(some_revenue, some_cost, left, m - len(left), low, high, state, rows)
    kept_cost, kept_revenue = _settle(state, unit, choice, fate)
    return kept_cost, kept_revenue


@_vectors
def _meet(
    revenue: Array, cost: Array, arms: Any, name: int, low: Any, high: Any, state: Array, rows: int
) -> None:
    """Let the last treatments of each row's eight meet the best of those before them.

    The eight states lie one after another in one array, as the compiler makes no vectors of a
    loop that writes to many.
    """
    kind, skipped = state.dtype.type, _U(_EIGHT - len(arms))
    for i in range(_U(0), _U(rows)):
        first = i * _U(_EIGHT) + skipped
        at_high, at_low = state[i], state[i + _U(_TILE)]
        next_high, next_low = state[i + _U(2 * _TILE)], state[i + _U(3 * _TILE)]
        best_revenue, best_cost = state[i + _U(4 * _TILE)], state[i + _U(5 * _TILE)]
        best, size = state[i + _U(6 * _TILE)], state[i + _U(7 * _TILE)]
        for j in range(len(arms)):
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
            best = kind(name) + kind(j) if wins else best
        state[i], state[i + _U(_TILE)] = at_high, at_low
        state[i + _U(2 * _TILE)], state[i + _U(3 * _TILE)] = next_high, next_low
        state[i + _U(4 * _TILE)], state[i + _U(5 * _TILE)] = best_revenue, best_cost
        state[i + _U(6 * _TILE)], state[i + _U(7 * _TILE)] = best, size


@_vectors
def _settle(state: Array, unit: Any, choice: Array, fate: Array) -> Any:
    """Write down who is certain; return their cost and revenue."""
    eps, tiny, most = unit
    kept_cost = kept_revenue = 0.0
    for i in range(_U(0), _U(choice.shape[0])):
        size = state[i + _U(7 * _TILE)]
        margin = eps * size + tiny
        lead_low = state[i + _U(_TILE)] - state[i + _U(3 * _TILE)]
        certain = (state[i] - state[i + _U(2 * _TILE)] > margin) & (size < most)
        sure = certain & (lead_low > margin)
        choice[i] = np.int64(state[i + _U(6 * _TILE)])
        moves = certain & (-lead_low > margin)
        fate[i] = np.uint8(0) if sure else (_MOVES if moves else _OPEN)
        kept_revenue += np.float64(state[i + _U(4 * _TILE)]) if sure else 0.0
        kept_cost += np.float64(state[i + _U(5 * _TILE)]) if sure else 0.0
    return kept_cost, kept_revenue


@intrinsic
def _copy_eight(_: Any, source: Any, at: Any, target: Any, to: Any) -> Any:
    """Copy eight neighbours as one vector: ``target[to : to + 8] = source[at : at + 8]``."""

    def build(context: Any, builder: Any, __: Any, given: Any) -> Any:
        number = context.get_data_type(source.dtype)
        size, eight = context.get_abi_sizeof(number), ir.VectorType(number, _EIGHT).as_pointer()
        ends = []
        for kind, array, place in ((source, *given[:2]), (target, *given[2:])):
            data = context.make_array(kind)(context, builder, array).data
            ends.append(builder.bitcast(builder.gep(data, [place]), eight))
        builder.store(builder.load(ends[0], align=size), ends[1], align=size)
        return context.get_dummy_value()

    return types.void(source, types.uint64, target, types.uint64), build
