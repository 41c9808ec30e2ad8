"""`SegmentPlan`: which treatment each segment gets, at every budget of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_count, check_number, check_part
from dfl.errors import InvalidValueError
from dfl.problem import ScenarioProblem
from dfl.seeds import stream
from dfl.segments.table import SegmentTable
from dfl.segments.uncertainty import Uncertainty
from dfl.solvers.stochastic import Stochastic

__all__ = ["Planning", "SegmentPlan"]


@final
@dataclass(frozen=True, eq=False)
class SegmentPlan:
    """A treatment for each segment at each of B budgets, rising; amounts in currency per head.

    Args:
        budgets: float64. Shape ``(B,)``.
        choice: treatment of each segment at each budget, int64. Shape ``(B, K)``.
        revenue: expected, float64. Shape ``(B,)``.
        cost: expected, float64. Shape ``(B,)``.
        violation: share of the scenarios whose cost exceeds the budget. Shape ``(B,)``.

    Raises:
        InvalidValueError: if the budgets do not rise.
    """

    budgets: Tensor
    choice: Tensor
    revenue: Tensor
    cost: Tensor
    violation: Tensor

    def __post_init__(self) -> None:
        """Check that larger budgets come later."""
        if not bool((self.budgets[1:] > self.budgets[:-1]).all()):
            raise InvalidValueError(f"budgets must rise, got {self.budgets.tolist()}.")

    def level(self, budget: float) -> int:
        """Return the place of the largest budget that is no larger.

        Raises:
            InvalidValueError: if it is below all of them, or no number.
        """
        check_number("budget", budget, finite=False)
        found = int((self.budgets <= budget * (1 + 1e-9)).sum()) - 1
        if found < 0:
            raise InvalidValueError(
                f"budget must be at least the plan's smallest, {float(self.budgets[0]):g} per "
                f"head, got {budget:g}."
            )
        return found


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Planning:
    """How treatments are chosen for segments.

    Args:
        solver: with the formulation.
        uncertainty: of the table, the traffic and the redemption.
        scenarios: that the choice is made by, >= 1.
        nested: whether no segment gets a cheaper treatment at a larger budget.

    Raises:
        InvalidValueError: if a number is out of range, or a part is none.
    """

    solver: Stochastic = field(default_factory=Stochastic)
    uncertainty: Uncertainty = field(default_factory=Uncertainty)
    scenarios: int = 100
    nested: bool = False

    def __post_init__(self) -> None:
        """Check parts and numbers."""
        check_part("solver", self.solver, Stochastic, "Stochastic()")
        check_part("uncertainty", self.uncertainty, Uncertainty, "Uncertainty()")
        check_count("scenarios", self.scenarios, at_least=1)

    def plan(self, table: SegmentTable, budgets: Sequence[float], *, seed: int) -> SegmentPlan:
        """Choose at every budget; see `Stochastic.solve_budgets`.

        Args:
            table: per head.
            budgets: in currency per head, rising.
            seed: of the scenarios.

        Raises:
            InvalidValueError: as there.
            InfeasibleBudgetError: as there.
            NotConvergedError: as there.
        """
        problem = self._drawn(table, seed)
        found = self.solver.solve_budgets(problem, budgets, nested=self.nested)
        weight = problem.weight
        return SegmentPlan(
            torch.tensor(list(budgets), dtype=torch.float64),
            torch.stack([one.choice for one in found]),
            torch.stack([one.revenue @ weight for one in found]),
            torch.stack([one.cost @ weight for one in found]),
            torch.tensor([one.violation for one in found], dtype=torch.float64),
        )

    def grid(self, table: SegmentTable, levels: int, *, seed: int) -> tuple[float, ...]:
        """Return evenly spaced budgets, all of which allow a choice in every scenario of a plan.

        The smallest is what the cheapest choice costs in its dearest scenario, 0 where it is free.
        The largest is what the dearest choice is expected to cost, by the table or on average over
        the scenarios, whichever is more, or as much above the smallest as that is above the
        cheapest one.

        Args:
            table: per head.
            levels: number of budgets, >= 2.
            seed: of the scenarios.

        Raises:
            InvalidValueError: if ``levels`` is below 2, or all choices cost the same.
        """
        check_count("levels", levels, at_least=2)
        low, high = (float(table.share @ end) for end in (table.cost.amin(1), table.cost.amax(1)))
        check_number("the cost of the dearest choice less the cheapest", high - low, above=0)
        problem = self._drawn(table, seed)
        mean_cost = problem.mean_cost
        _, cost = problem.totals(mean_cost.argmin(dim=1))
        first = float(cost.max())
        last = max(high, float(mean_cost.amax(dim=1).sum()), first + high - low)
        return tuple(torch.linspace(first, last, levels, dtype=torch.float64).tolist())

    def _drawn(self, table: SegmentTable, seed: int) -> ScenarioProblem:
        generator = stream(seed, "scenarios of a plan")
        return self.uncertainty.draw(table, 1.0, 0.0, self.scenarios, generator)
