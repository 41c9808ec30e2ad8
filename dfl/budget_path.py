"""`BudgetPath`: the best revenue for every budget at once."""

from bisect import bisect_left
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_count, check_number
from dfl.errors import InfeasibleBudgetError
from dfl.problem import BUDGET_SLACK, Allocation, Split, rounding

__all__ = ["BudgetPath", "HullSteps"]

_FILL_STEPS = 20_000  # what is left of a budget is smaller than one step: few later ones fit
_FILL_ROUNDS = 100  # far above what is met; stops data made to need one round per step


@final
@dataclass(frozen=True, eq=False)
class HullSteps:
    """Every step that a falling multiplier can make worth its money.

    At multiplier ``m`` each person starts at ``base`` and takes the steps whose
    ``multiplier`` is above ``m``. People come in order and each one's steps in order, their
    multipliers never rising; S steps in all.

    Args:
        base: cheapest treatment, the one of largest revenue among equally cheap ones. int64,
            shape ``(N,)``.
        row: the person. int64, shape ``(S,)``, as all that follow.
        previous: treatment before the step. int64.
        treatment: treatment after the step. int64.
        added_cost: extra cost, in currency, > 0. float64.
        added_revenue: extra revenue, in currency, > 0. float64.
        multiplier: ``added_revenue / added_cost``, and never above the person's step
            before, whatever the rounding. float64.
    """

    base: Tensor
    row: Tensor
    previous: Tensor
    treatment: Tensor
    added_cost: Tensor
    added_revenue: Tensor
    multiplier: Tensor

    def choice(self, multiplier: float | Tensor) -> Tensor:
        """Return everyone's treatment at a multiplier. int64, shape ``(N,)``."""
        return self.choice_after(self.multiplier > multiplier)

    def choice_after(self, taken: Tensor) -> Tensor:
        """Return everyone's treatment after some steps. int64, shape ``(N,)``.

        Args:
            taken: the steps taken; with a step, all earlier ones of that person. bool, shape
                ``(S,)``.
        """
        last = taken.clone()
        last[:-1] &= ~(taken[1:] & (self.row[1:] == self.row[:-1]))
        ends = last.nonzero()[:, 0]
        treatment = self.treatment.index_select(0, ends)
        return self.base.index_copy(0, self.row.index_select(0, ends), treatment)


@final
@dataclass(frozen=True, eq=False)
class BudgetPath:
    """Optimal allocations of all budgets: S steps from the cheapest one upwards.

    Each step moves one person to a dearer treatment, and the best steps come first. Point
    ``p`` of the path is reached after ``p`` steps; between two points the curve of the LP
    optimum is the straight line. Tensors lie on one device.

    Args:
        multipliers: what one more unit of budget earns at each point, revenue per unit of
            cost, never rising, 0 at the last point. float64, shape ``(S + 1,)``.
        costs: total cost at each point, in currency, never falling. float64, ``(S + 1,)``.
        revenues: total revenue at each point, in currency, rising. float64, ``(S + 1,)``.
        steps: the steps, person by person.
        order: position in ``steps`` of the path's steps. int64, shape ``(S,)``.
    """

    multipliers: Tensor
    costs: Tensor
    revenues: Tensor
    steps: HullSteps
    order: Tensor

    def at(self, budget: float | Tensor) -> Allocation:
        """Read off the allocation of one budget: a look-up, then the choices written out.

        The point below the budget is optimal for what it costs. What is left of the budget
        goes to the next 20,000 steps, best first; a step that no longer fits is passed over
        together with that person's later steps (at most 100 rounds of passing over).

        Args:
            budget: money for all people together, in currency. A number or shape ``()``.

        Returns:
            An `Allocation` whose cost is within the budget, up to `rounding`.
            ``upper_bound`` is the LP optimum; the gap is at most the largest revenue
            step over it. ``multiplier`` is 0 where the budget does not bind.

        Raises:
            InvalidValueError: if the budget is not one finite number.
            InfeasibleBudgetError: if even the cheapest allocation costs more.
        """
        check_number("budget", budget)
        slack = rounding(budget, self.steps.base.shape[0])
        budget = float(budget)
        point = self._point_below(budget, slack)
        left = max(budget - float(self.costs[point]), 0.0)
        share, split = self._split(point, left)
        fill = self._fill(point, left)
        revenue = self.revenues[point] + self.steps.added_revenue[fill].sum()
        step = self.steps.added_revenue[self.order[point : point + 1]].sum()
        optimum = self.revenues[point] + share * step
        return Allocation(
            choice=self.steps.choice_after(self._taken(point).index_fill(0, fill, True)),
            multiplier=self.multipliers[point].clone(),
            revenue=revenue,
            cost=self.costs[point] + self.steps.added_cost[fill].sum(),
            upper_bound=torch.maximum(optimum, revenue),  # differ by rounding when both are best
            split=split,
        )

    def choice_at(self, point: int) -> Tensor:
        """Return everyone's treatment after so many steps. int64, shape ``(N,)``.

        Raises:
            InvalidValueError: if the point is no whole number from 0 to S.
        """
        check_count("point", point, at_least=0)
        check_number("point", point, at_most=self.order.shape[0])
        return self.steps.choice_after(self._taken(point))

    def _point_below(self, budget: float, slack: float) -> int:
        lowest = float(self.costs[0])
        if lowest > budget * (1 + slack):
            raise InfeasibleBudgetError(
                "budget must be at least the cost of the cheapest choice for everyone, "
                f"{lowest:g}, got {budget:g}; raise the budget."
            )
        limit = max(budget * (1 + BUDGET_SLACK), lowest)
        return int(torch.searchsorted(self.costs, limit, right=True)) - 1

    def _taken(self, point: int) -> Tensor:
        """Return which steps lie before a point. bool, shape ``(S,)``.

        All steps of a larger multiplier do; those of an equal one are looked up.
        """
        multiplier = float(self.multipliers[point])
        taken = self.steps.multiplier > multiplier
        first = bisect_left(range(point), -multiplier, key=lambda p: -float(self.multipliers[p]))
        return taken.index_fill_(0, self.order[first:point], True)

    def _split(self, point: int, left: float) -> tuple[float, Split | None]:
        """Return the share of the next step that the LP optimum takes, and its person."""
        if point == self.order.shape[0]:
            return 0.0, None
        step = int(self.order[point])
        share = min(left / float(self.steps.added_cost[step]), 1.0)
        if not 0 < share < 1:
            return share, None
        low, high = int(self.steps.previous[step]), int(self.steps.treatment[step])
        return share, Split(int(self.steps.row[step]), low, high, share)

    def _fill(self, point: int, left: float) -> Tensor:
        """Return the steps from ``point`` on that fit into ``left``, taken best first.

        What is left only shrinks, so a step dearer than that now is out for good: each round
        drops those steps, then takes the longest run that fits. Positions in ``steps``.
        """
        steps = self.order[point : point + _FILL_STEPS]
        cost = self.steps.added_cost.index_select(0, steps)
        person = self.steps.row.index_select(0, steps)
        waiting = torch.arange(steps.shape[0], device=steps.device)
        stop = torch.full_like(self.steps.base, steps.shape[0])  # first step that each cannot take
        taken = [waiting[:0]]
        for _ in range(_FILL_ROUNDS):
            misfit = waiting[cost[waiting] > left]
            stop.scatter_reduce_(0, person[misfit], misfit, "amin")
            waiting = waiting[waiting < stop[person[waiting]]]
            if not waiting.shape[0]:
                break
            spent = cost[waiting].cumsum(dim=0)
            run = int(torch.searchsorted(spent, left, right=True))
            taken.append(waiting[:run])
            waiting, left = waiting[run:], left - float(spent[run - 1])
        return steps[torch.cat(taken)]
