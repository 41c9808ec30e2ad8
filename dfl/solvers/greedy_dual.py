"""`GreedyDual`: exact LP optimum of the multiple-choice knapsack, then greedy fill."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.budget_path import BudgetPath
from dfl.problem import Allocation, AllocationProblem
from dfl.solvers.base import AbstractSolver
from dfl.solvers.hull import hull_steps
from dfl.solvers.one_budget import require_one_budget, require_predicted_cost

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

    Source:
        Sinha and Zoltners (1979), doi:10.1287/opre.27.3.503; Dyer (1984),
        doi:10.1007/BF02591729. Deviation: all steps are sorted instead of searched for the
        median, which gives the whole `BudgetPath`.
    """

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
        return self.path(problem).at(float(problem.budgets[0]))

    @torch.no_grad()
    def path(self, problem: AllocationProblem) -> BudgetPath:
        """Return the optimum for every budget; that of ``problem`` plays no part.

        Args:
            problem: one budget, met by predicted costs.

        Returns:
            A `BudgetPath` whose ``at(problem.budget)`` equals ``solve(problem)``.

        Raises:
            UnsupportedProblemError: if there are several budgets or observed costs.
        """
        require_one_budget("greedy-dual", problem)
        require_predicted_cost("greedy-dual", problem)
        steps = hull_steps(problem.revenue, problem.cost).sorted()
        return BudgetPath(
            multipliers=torch.cat([steps.multiplier, steps.multiplier.new_zeros(1)]),
            costs=_running_total(problem.cost, steps.base, steps.added_cost),
            revenues=_running_total(problem.revenue, steps.base, steps.added_revenue),
            base=steps.base,
            row=steps.row,
            previous=steps.previous,
            treatment=steps.treatment,
            added_cost=steps.added_cost,
            added_revenue=steps.added_revenue,
        )


def _running_total(amount: Tensor, base: Tensor, added: Tensor) -> Tensor:
    """Return the total at ``base`` and after each step. Shape ``(S + 1,)``, float64."""
    start = amount.gather(1, base[:, None]).sum(dtype=torch.float64).reshape(1)
    return torch.cat([start, start + added.cumsum(dim=0)])
