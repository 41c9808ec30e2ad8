"""HiGHS's branch and bound on a sparse model, its answers checked and cut off where they cheat."""

import math
import time
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, final

import numpy as np
import scipy  # its parts load on use
from scipy.sparse import csr_array, diags_array

from dfl.errors import InfeasibleProblemError
from dfl.solvers.sparse.quiet import unprinted
from dfl.solvers.sparse.rounding import fill_up, first_best, repair_columns
from dfl.solvers.sparse.sparse_model import NOTHING, Floats, Ints, SparseModel, infeasible

__all__ = ["Cut", "Incumbent", "branch_and_bound"]

_UNITS = 1000.0
"""What is left of a resource, in the units of the search: its tolerance of 1e-6 is then 1e-9."""

_LARGEST_GAIN = 1e4
"""Largest revenue in the units of the search: its absolute gap of 1e-6 is then 1e-10."""

Cut: TypeAlias = tuple[Floats, int]
"""Columns, 1 where they count, and how many of them may be taken."""

_MOST_CUTS = 200
_LIMIT_REACHED, _INFEASIBLE = 1, 2  # scipy's status


@final
@dataclass(frozen=True, eq=False)
class Incumbent:
    """The best choice so far, and what is proven of it.

    Args:
        taken: everyone's column, None where there is no feasible choice yet. Shape ``(N,)``.
        bound: no choice earns more, in currency.
    """

    taken: Ints | None
    bound: float

    def revenue(self, model: SparseModel) -> float:
        """Return what the choice earns, minus infinity without one."""
        return -math.inf if self.taken is None else float(model.revenue[self.taken].sum())

    def better(self, model: SparseModel, other: Ints | None) -> "Incumbent":
        """Return the better of two choices, with the same bound."""
        rival = replace(self, taken=other)
        return rival if rival.revenue(model) > self.revenue(model) else self


def branch_and_bound(
    model: SparseModel,
    start: Incumbent,
    prices: Floats,
    *,
    relative_gap: float,
    time_limit: float | None,
) -> Incumbent:
    """Improve on a choice until it is proven best, near enough, or time is up.

    HiGHS may be over a limit by its tolerance. Such an answer breaks a cover: people whose
    uses alone are too much, of whom one must use less. That inequality is added, and the
    search goes on.

    Args:
        model: without columns that break a limit alone.
        start: a choice, if any, and a valid bound.
        prices: of the resources, for repairs. Shape ``(R,)``.
        relative_gap: enough when bound less revenue is at most that part of the bound.
        time_limit: seconds, None for no limit.

    Returns:
        A feasible choice, None where none was found, and the proven bound.

    Raises:
        InfeasibleProblemError: if HiGHS proves that there is no choice.
    """
    end = math.inf if time_limit is None else time.monotonic() + time_limit
    cuts: list[Cut] = []
    best = start
    while len(cuts) <= _MOST_CUTS and end > time.monotonic():
        result, bound = _highs(model, best, cuts, relative_gap, end - time.monotonic())
        if result.status == _INFEASIBLE and best.taken is None:
            raise InfeasibleProblemError(
                infeasible("HiGHS proves that no whole allocation can meet them")
            )
        best = replace(best, bound=min(best.bound, bound))
        if result.x is None:
            break
        found = first_best(model, result.x)
        broken = np.flatnonzero(model.used(found) > model.limit)
        if not broken.size:
            return best.better(model, found)
        repaired = repair_columns(model, found)
        best = best.better(model, None if repaired is None else fill_up(model, repaired, prices))
        if result.status == _LIMIT_REACHED:
            break
        cuts.append(_cover(model, found, int(broken[0])))
    return best


def _highs(
    model: SparseModel,
    best: Incumbent,
    cuts: list[Cut],
    relative_gap: float,
    seconds: float,
) -> tuple[Any, float]:
    """Run HiGHS once; return its result and the proven bound on the revenue."""
    people, columns = model.first.size, model.person.size
    base = -model.best(-model.revenue)
    gain = model.revenue - base[model.person]
    unit = (gain.max() or 1.0) / _LARGEST_GAIN
    rows = np.flatnonzero(model.limit > NOTHING)  # the others are kept by covers
    use = csr_array(diags_array(_UNITS / model.limit[rows]) @ model.use[rows])
    share = csr_array((np.ones(columns), (model.person, np.arange(columns))))
    constraints = [scipy.optimize.LinearConstraint(share, np.ones(people), np.ones(people))]
    if rows.size:
        constraints.append(
            scipy.optimize.LinearConstraint(use, -np.inf, np.full(rows.size, _UNITS))
        )
    if cuts:
        members = csr_array(np.stack([columns for columns, _ in cuts]))
        most = np.array([count for _, count in cuts])
        constraints.append(scipy.optimize.LinearConstraint(members, -np.inf, most))
    options: Any = {"mip_rel_gap": _gap_above(float(base.sum()), model, best, relative_gap)}
    if math.isfinite(seconds):
        options["time_limit"] = seconds
    with unprinted():
        result = scipy.optimize.milp(
            -gain / unit,
            integrality=np.ones(columns, dtype=np.int64),
            bounds=scipy.optimize.Bounds(0, 1),
            constraints=constraints,
            options=options,
        )
    proven = result.mip_dual_bound
    if proven is None or not math.isfinite(proven):
        return result, math.inf
    return result, float(base.sum() - unit * proven)


def _gap_above(base: float, model: SparseModel, best: Incumbent, relative_gap: float) -> float:
    """Return the gap relative to the revenue above ``base``, which is what HiGHS sees."""
    revenue = best.revenue(model) if best.taken is not None else base
    smaller = min(abs(revenue), abs(best.bound)) if revenue * best.bound > 0 else 0.0
    return relative_gap * smaller / max(best.bound - base, np.finfo(float).tiny)


def _cover(model: SparseModel, found: Ints, row: int) -> Cut:
    """Return columns of which few enough may be taken, and how many that is."""
    use = model.use_of(row)
    order = np.argsort(-use[found], kind="stable")
    members = int((np.cumsum(use[found][order]) <= model.limit[row]).sum()) + 1
    least = np.full(model.first.shape, np.inf)
    least[order[:members]] = use[found][order[:members]]
    return (use >= least[model.person]).astype(np.float64), members - 1
