"""`GreedyDual`: exact LP optimum of the multiple-choice knapsack, then greedy fill."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.budget_path import BudgetPath
from dfl.problem import Allocation, AllocationProblem
from dfl.solvers.base import (
    AbstractSolver,
    require_one_budget,
    require_predicted_cost,
    without_banned,
)
from dfl.solvers.passes import AbstractPasses, Backend, passes_for
from dfl.solvers.passes.narrowing import budget_path, narrow

__all__ = ["GreedyDual"]


@final
@dataclass(frozen=True, eq=False)
class GreedyDual(AbstractSolver):
    """Takes the steps of everyone's upper hull, best revenue per cost first.

    The LP relaxation is solved exactly: all steps above the critical multiplier, and a
    share of the step at it. The integer choice leaves that step out and spends what is left
    on later steps that fit, best first, so revenue is at least that of the rounded-down LP
    optimum. ``upper_bound`` is the LP optimum, equal to the dual value
    ``multiplier * budget + sum_i max_j (revenue_ij - multiplier * cost_ij)``; hence
    ``gap <= largest revenue step / upper_bound``. ``split`` is the fractional person of the
    LP optimum whenever there is one. Arithmetic is float64 whatever the inputs are.

    Above 8,192 people, hulls are built only for those whose treatment a sample of the others
    leaves open, see `narrow`; time is then that of reading the inputs a few times.

    Args:
        backend: what computes, see `passes_for`. LP optimum and multiplier are the same for
            all, up to rounding.

    Raises:
        InvalidValueError: if the back end does not exist, or, when solving, not for the
            problem's device.
        MissingExtraError: if the back end is not installed.

    Source:
        Sinha and Zoltners (1979), doi:10.1287/opre.27.3.503; Dyer (1984),
        doi:10.1007/BF02591729. Deviation: instead of searching for medians of slopes, a
        sample brackets the multiplier, and one pass prunes those whom the bracket settles.
    """

    backend: Backend = "auto"

    def __post_init__(self) -> None:
        """Check that the back end is there."""
        passes_for(self.backend, torch.device("cuda" if self.backend == "triton" else "cpu"))

    @torch.no_grad()
    def solve(self, problem: AllocationProblem) -> Allocation:
        """Return the rounded LP optimum, filled up greedily.

        Args:
            problem: one budget, met by predicted costs.

        Returns:
            An `Allocation` within the budget; multiplier 0 where the budget does not bind.

        Raises:
            UnsupportedProblemError: if there are several budgets or observed costs.
        """
        revenue, cost, passes = self._inputs(problem)
        return narrow(revenue, cost, float(problem.budgets[0]), passes)

    @torch.no_grad()
    def path(self, problem: AllocationProblem) -> BudgetPath:
        """Return the optimum for every budget; that of ``problem`` plays no part.

        Args:
            problem: one budget, met by predicted costs.

        Returns:
            A `BudgetPath`; up to 8,192 people, ``at(problem.budget)`` equals ``solve(problem)``,
            above, all but what is left to fill is the same.

        Raises:
            UnsupportedProblemError: if there are several budgets or observed costs.
        """
        return budget_path(*self._inputs(problem))

    def _inputs(self, problem: AllocationProblem) -> tuple[Tensor, Tensor, AbstractPasses]:
        require_one_budget("greedy-dual", problem)
        require_predicted_cost("greedy-dual", problem)
        problem = without_banned(problem)
        passes = passes_for(self.backend, problem.revenue.device)
        return problem.revenue, problem.cost, passes
