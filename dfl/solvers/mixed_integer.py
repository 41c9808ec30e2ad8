"""`MixedInteger`: the exact whole-number optimum by HiGHS, for small problems."""

import time
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from dfl.checks import check_number
from dfl.errors import NotConvergedError
from dfl.problem import Allocation, AllocationProblem
from dfl.solvers.base import AbstractSolver, require_predicted_cost
from dfl.solvers.sparse.branch_and_bound import Incumbent, branch_and_bound
from dfl.solvers.sparse.highs import Highs
from dfl.solvers.sparse.relaxation import relax
from dfl.solvers.sparse.rounding import round_whole
from dfl.solvers.sparse.sparse_model import Bools, Floats, SparseModel, sparse_model, written_out

__all__ = ["MixedInteger"]

_TOLERANCE = 1e-9


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class MixedInteger(AbstractSolver):
    """Finds the best whole allocation under all constraints, with a proof.

    The relaxation comes first and is rounded as by `LinearProgram`; where bound and choice
    meet, that is the optimum. Else HiGHS branches and bounds over the choices that could
    still be better: those whose reduced cost, at the prices of the relaxation, is below the
    gap. An answer of HiGHS that is over a limit by its tolerance is cut off and the search
    resumed, so what is returned meets every constraint exactly, up to rounding.

    ``upper_bound`` is HiGHS's proven bound, good to its own tolerances (about 1e-10 of the
    largest step); with the defaults it equals the revenue, up to rounding. ``multiplier``
    holds the budgets' prices in the relaxation, as whole numbers have none.

    Time may grow exponentially with the number of people, most of all where everything earns
    the same per unit of cost: set ``time_limit`` or ``relative_gap`` above a few hundred.

    Args:
        relative_gap: stop when ``(upper_bound - revenue) <= relative_gap * |upper_bound|``,
            >= 0, no unit. 0 for the optimum.
        time_limit: seconds in all, > 0; then the best choice so far comes back with its true
            gap. None for no limit.

    Raises:
        InvalidValueError: if an option is outside its range.

    Source:
        Huangfu and Hall (2018), doi:10.1007/s12532-017-0130-5, for HiGHS; fixing by reduced
        costs as the "pegging test" of Dyer, Kayal and Walker (1984), A branch and bound
        algorithm for solving the multiple-choice knapsack problem.
    """

    relative_gap: float = 0.0
    time_limit: float | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        check_number("relative_gap", self.relative_gap, at_least=0)
        if self.time_limit is not None:
            check_number("time_limit", self.time_limit, above=0, finite=False)

    @torch.no_grad()
    def solve(self, problem: AllocationProblem) -> Allocation:
        """Return the best allocation, or the best found in time.

        Args:
            problem: any number of budgets, met by predicted costs; masks, pins, capacities
                and ``min_return`` are all taken.

        Returns:
            An `Allocation` that meets every constraint.

        Raises:
            UnsupportedProblemError: if there are observed costs.
            InfeasibleProblemError: if no allocation meets the constraints.
            NotConvergedError: if there is no feasible choice yet at the time limit, or HiGHS
                fails.
        """
        require_predicted_cost("mixed-integer", problem)
        start = time.monotonic()
        model = sparse_model(problem)
        relaxed = relax(model, Highs(tolerance=_TOLERANCE, time_limit=self.time_limit))
        taken = round_whole(model, relaxed.weight, relaxed.prices)
        best = Incumbent(taken, relaxed.bound)
        if relaxed.bound - best.revenue(model) > self.relative_gap * abs(relaxed.bound):
            left = None
            if self.time_limit is not None:
                left = self.time_limit - (time.monotonic() - start)
            best = self._search(model, best, relaxed.prices, left)
        if best.taken is None:
            raise NotConvergedError(
                f"HiGHS found no whole allocation with time_limit = {self.time_limit} s; raise "
                "it, or loosen a constraint."
            )
        return written_out(problem, model, best.taken, relaxed.prices, best.bound)

    def _search(
        self, model: SparseModel, best: Incumbent, prices: Floats, time_limit: float | None
    ) -> Incumbent:
        """Branch and bound over the columns that could belong to a better choice."""
        core = np.flatnonzero(_could_be_better(model, best, prices))
        if best.taken is not None:
            core = np.union1d(core, best.taken)
        kept = np.zeros(model.person.shape, dtype=bool)
        kept[core] = True
        start = best if best.taken is None else replace(best, taken=core.searchsorted(best.taken))
        found = branch_and_bound(
            model.only(kept),
            start,
            prices,
            relative_gap=self.relative_gap,
            time_limit=time_limit,
        )
        return found if found.taken is None else replace(found, taken=core[found.taken])


def _could_be_better(model: SparseModel, best: Incumbent, prices: Floats) -> Bools:
    """Return the columns whose reduced cost is within the gap, and that break no limit alone."""
    score = model.score(prices)
    lost = model.best(score)[model.person] - score
    rounding = 1e-9 * (abs(best.bound) + float(np.abs(score).max()))
    room = best.bound - best.revenue(model) + float(prices @ (model.limit - model.left))
    return ~model.closed & (lost <= room + rounding)
