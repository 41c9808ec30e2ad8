"""`BudgetPath`: the best revenue for every budget at once."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.errors import InfeasibleBudgetError, InvalidValueError
from dfl.problem import BUDGET_SLACK, Allocation, Split

__all__ = ["BudgetPath", "choice_after"]

_FILL_ROUNDS = 100  # far above what is met; stops data made to need one round per step


@final
@dataclass(frozen=True, eq=False)
class BudgetPath:
    """Optimal allocations of all budgets: S steps from the cheapest one upwards.

    Step ``s`` moves one person to a dearer treatment, and the best steps come first. Point
    ``p`` of the path is reached after ``p`` steps; between two points the curve of the LP
    optimum is the straight line. Tensors lie on one device.

    Args:
        multipliers: what one more unit of budget earns at each point, revenue per unit of
            cost, never rising, 0 at the last point. float64, shape ``(S + 1,)``.
        costs: total cost at each point, in currency, never falling. float64, ``(S + 1,)``.
        revenues: total revenue at each point, in currency, rising. float64, ``(S + 1,)``.
        base: treatment of each person at point 0. int64, shape ``(N,)``.
        row: person of each step; a person's steps come in order. int64, shape ``(S,)``.
        previous: treatment before each step. int64, shape ``(S,)``.
        treatment: treatment after each step. int64, shape ``(S,)``.
        added_cost: extra cost of each step, in currency, > 0. float64, shape ``(S,)``.
        added_revenue: extra revenue of each step, in currency, > 0. float64, ``(S,)``.
    """

    multipliers: Tensor
    costs: Tensor
    revenues: Tensor
    base: Tensor
    row: Tensor
    previous: Tensor
    treatment: Tensor
    added_cost: Tensor
    added_revenue: Tensor

    def at(self, budget: float | Tensor) -> Allocation:
        """Read off the allocation of one budget: a look-up, then the choices written out.

        The point below the budget is optimal for what it costs. What is left of the budget
        goes to later steps, best first; a step that no longer fits is passed over together
        with that person's later steps (at most 100 rounds of passing over).

        Args:
            budget: money for all people together, in currency. A number or shape ``()``.

        Returns:
            An `Allocation` whose cost is within the budget, up to rounding (`BUDGET_SLACK`).
            ``upper_bound`` is the LP optimum; the gap is at most the largest revenue
            step over it. ``multiplier`` is 0 where the budget does not bind.

        Raises:
            InvalidValueError: if the budget is not finite.
            InfeasibleBudgetError: if even the cheapest allocation costs more.
        """
        budget = float(budget)
        point = self._point_below(budget)
        left = max(budget - float(self.costs[point]), 0.0)
        share, split = self._split(point, left)
        fill = self._fill(point, left)
        taken = torch.cat([torch.arange(point, device=fill.device), fill])
        revenue = self.revenues[point] + self.added_revenue[fill].sum()
        optimum = self.revenues[point] + share * self.added_revenue[point : point + 1].sum()
        return Allocation(
            choice=choice_after(self.base, self.row, self.treatment, taken),
            multiplier=self.multipliers[point].clone(),
            revenue=revenue,
            cost=self.costs[point] + self.added_cost[fill].sum(),
            upper_bound=torch.maximum(optimum, revenue),  # differ by rounding when both are best
            split=split,
        )

    def _point_below(self, budget: float) -> int:
        if not math.isfinite(budget):
            raise InvalidValueError(f"budget must be finite, got {budget:g}.")
        lowest, limit = float(self.costs[0]), budget * (1 + BUDGET_SLACK)
        if lowest > limit:
            raise InfeasibleBudgetError(
                "budget must be at least the cost of the cheapest choice for everyone, "
                f"{lowest:g}, got {budget:g}; raise the budget."
            )
        return int(torch.searchsorted(self.costs, limit, right=True)) - 1

    def _split(self, point: int, left: float) -> tuple[float, Split | None]:
        """Return the share of the next step that the LP optimum takes, and its person."""
        if point == self.row.shape[0]:
            return 0.0, None
        share = min(left / float(self.added_cost[point]), 1.0)
        if not 0 < share < 1:
            return share, None
        low, high = int(self.previous[point]), int(self.treatment[point])
        return share, Split(int(self.row[point]), low, high, share)

    def _fill(self, point: int, left: float) -> Tensor:
        """Return the steps from ``point`` on that fit into ``left``, taken best first.

        What is left only shrinks, so a step dearer than that now is out for good: each round
        drops those steps, then takes the longest run that fits.
        """
        steps = self.row.shape[0]
        waiting = torch.arange(point, steps, device=self.row.device)
        stop = torch.full_like(self.base, steps)  # first step that each person cannot take
        taken = [waiting[:0]]
        for _ in range(_FILL_ROUNDS):
            misfit = waiting[self.added_cost[waiting] > left]
            stop.scatter_reduce_(0, self.row[misfit], misfit, "amin")
            waiting = waiting[waiting < stop[self.row[waiting]]]
            if not waiting.shape[0]:
                break
            spent = self.added_cost[waiting].cumsum(dim=0)
            run = int(torch.searchsorted(spent, left, right=True))
            taken.append(waiting[:run])
            waiting, left = waiting[run:], left - float(spent[run - 1])
        return torch.cat(taken)


def choice_after(base: Tensor, row: Tensor, treatment: Tensor, taken: Tensor) -> Tensor:
    """Return everyone's treatment after some steps.

    Args:
        base: treatment of each person before all steps. int64, shape ``(N,)``.
        row: person of each step; a person's steps come in order. int64, shape ``(S,)``.
        treatment: treatment after each step. int64, shape ``(S,)``.
        taken: positions of the steps taken; with a step, all earlier ones of that person.
    """
    last = torch.full_like(base, -1).scatter_reduce(0, row[taken], taken, "amax")
    moved = last >= 0
    choice = base.clone()
    choice[moved] = treatment[last[moved]]
    return choice
