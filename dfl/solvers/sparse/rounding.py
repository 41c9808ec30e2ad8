"""From shares of treatments to one treatment each: round, repair, fill up.

Works on the columns of a `SparseModel`; ``taken`` is everyone's column, int64, shape ``(N,)``.
All steps are deterministic, ties going to the earlier column.
"""

from collections.abc import Iterator

import numpy as np

from dfl.solvers.sparse.sparse_model import NOTHING, Bools, Floats, Ints, SparseModel

__all__ = ["WHOLE", "fill_up", "first_best", "repair_columns", "round_whole"]

WHOLE = 1e-6
"""A share this near to 1 is taken for 1."""

_MOST_ROUNDS = 1000
"""Rounds of repair or of filling up; one round moves as many people as it can."""


def round_whole(model: SparseModel, weight: Floats, prices: Floats) -> Ints | None:
    """Return a feasible choice near a solution of the relaxation, or None where none is found.

    People with one treatment keep it; those in between two get the one that uses less. What is
    then over a limit is repaired, and what is left over is spent. At a vertex as few people
    are in between as resources bind, and repair has little to do; where it fails all the same,
    it starts again from everyone's least use.

    Args:
        model: the problem.
        weight: share of each column. Shape ``(V,)``.
        prices: of the resources, for ranking. Shape ``(R,)``.
    """
    most = model.best(weight)[model.person]
    candidate = np.where(most >= 1 - WHOLE, weight == most, weight > WHOLE)
    thrift = -_relative_use(model)
    for start in (np.where(candidate, thrift, -np.inf), thrift):
        taken = repair_columns(model, first_best(model, start))
        if taken is not None:
            return fill_up(model, taken, prices)
    return None


def repair_columns(model: SparseModel, taken: Ints) -> Ints | None:
    """Move people until every limit holds, least revenue per relief first; None if stuck.

    No move takes more of another resource than there is left, so the excess, each resource's
    relative to its largest use, falls with every round.
    """
    for _ in range(_MOST_ROUNDS):
        used = model.used(taken)
        over = np.maximum(used - model.limit, 0)
        if not over.any():
            return taken
        relief = np.zeros(model.revenue.shape)
        possible = np.ones(model.revenue.shape, dtype=bool)
        for row, change in _changes(model, taken):
            if over[row] > 0:
                relief += np.minimum(-change, over[row]) / _largest(model, row)
            else:
                possible &= change <= model.limit[row] - used[row]
        possible &= relief > 1e-12 * relief.max(initial=0)
        if not possible.any():
            return None
        loss = model.revenue[taken][model.person] - model.revenue
        rank = np.full(model.revenue.shape, np.inf)
        rank[possible] = _quotient(loss[possible], relief[possible])
        moves = _one_each(model, rank)
        taken = _moved(model, taken, moves[: _relieving(model, taken, moves, over, used)])
    return None


def fill_up(model: SparseModel, taken: Ints, prices: Floats) -> Ints:
    """Spend what is left on moves that earn more and fit, most revenue per priced use first.

    Args:
        model: the problem.
        taken: a feasible choice.
        prices: of the resources, for ranking. Shape ``(R,)``.
    """
    for _ in range(_MOST_ROUNDS):
        left = model.limit - model.used(taken)
        gain = model.revenue - model.revenue[taken][model.person]
        possible = gain > 0
        priced = np.zeros(model.revenue.shape)
        for row, change in _changes(model, taken):
            possible &= change <= left[row]
            priced += prices[row] * change
        if not possible.any():
            return taken
        rank = np.full(gain.shape, np.inf)
        rank[possible] = _quotient(np.maximum(priced[possible], 0), gain[possible])
        moves = _one_each(model, rank)
        counts = [
            _leading(np.cumsum(change[moves]) <= left[row])
            for row, change in _changes(model, taken)
        ]
        taken = _moved(model, taken, moves[: max(min(counts), 1)])
    return taken


def first_best(model: SparseModel, amount: Floats) -> Ints:
    """Return each person's first column of largest amount. Shape ``(V,)`` to ``(N,)``."""
    best = np.flatnonzero(amount == model.best(amount)[model.person])
    _, earliest = np.unique(model.person[best], return_index=True)
    return best[earliest]


def _relieving(model: SparseModel, taken: Ints, moves: Ints, over: Floats, used: Floats) -> int:
    """Return how many moves to make: up to the first limit that is met, or would be passed."""
    count: int = moves.shape[0]
    for row, change in _changes(model, taken):
        total = np.cumsum(change[moves])
        if over[row] > 0:
            count = min(count, _leading(total > -over[row]) + 1)
        else:
            count = min(count, _leading(total <= model.limit[row] - used[row]))
    return max(count, 1)


def _changes(model: SparseModel, taken: Ints) -> Iterator[tuple[int, Floats]]:
    """Yield, for each resource, how much more each column uses than its person's present one."""
    for row in range(model.left.shape[0]):
        use = model.use_of(row)
        yield row, use - use[taken][model.person]


def _relative_use(model: SparseModel) -> Floats:
    """Return each column's use, of all resources together, relative to what there is."""
    total = np.zeros(model.revenue.shape)
    for row, limit in enumerate(model.limit):
        total += model.use_of(row) / (limit if limit > NOTHING else _largest(model, row))
    return total


def _largest(model: SparseModel, row: int) -> float:
    return float(model.use_of(row).max(initial=0)) or 1.0


def _one_each(model: SparseModel, rank: Floats) -> Ints:
    """Return each person's column of lowest finite rank, lowest first."""
    best = first_best(model, -rank)
    best = best[np.isfinite(rank[best])]
    return best[np.argsort(rank[best], kind="stable")]


def _quotient(above: Floats, below: Floats) -> Floats:
    """Divide by positive numbers; what overflows becomes the largest number."""
    with np.errstate(over="ignore"):
        return np.nan_to_num(above / below)


def _moved(model: SparseModel, taken: Ints, moves: Ints) -> Ints:
    after = taken.copy()
    after[model.person[moves]] = moves
    return after


def _leading(holds: Bools) -> int:
    """Return how many entries hold before the first that does not."""
    return int(holds.shape[0] if holds.all() else holds.argmin())
