"""`DualBisection`: bisect the price of money until the spend meets the budget."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from dfl.checks import check_choice
from dfl.errors import InfeasibleBudgetError
from dfl.problem import BUDGET_SLACK, Allocation, AllocationProblem, ObservedCost
from dfl.scale import gathered, over_ranks, over_rows, rows_apart
from dfl.solvers.base import AbstractSolver, require_one_budget, without_banned
from dfl.solvers.passes import cheapest
from dfl.solvers.passes.decide import decide
from dfl.solvers.passes.hull import hull_steps
from dfl.solvers.passes.match_intervals import match_intervals
from dfl.solvers.prices.crossing import last_within
from dfl.solvers.prices.shared_crossing import smallest_within_shared

__all__ = ["DualBisection"]


@final
@dataclass(frozen=True, eq=False)
class DualBisection(AbstractSolver):
    """Bisects the multiplier, everyone choosing ``argmax_j revenue_j - multiplier * cost_j``.

    Of predicted costs, ``spend(high) <= budget < spend(low)`` throughout, up to rounding
    (`BUDGET_SLACK`); the choice at ``high`` is returned. Nothing fills up what is left, so the
    gap is that of the LP optimum rounded down, where all people tied at the critical multiplier
    stay below it.

    **Predicted costs** (no ``problem.observed``): spend is the cost of the choice;
    ``upper_bound`` is the dual value at the multiplier found, which is the LP optimum.

    **Observed costs**: spend is ``sum_i weight_i * cost_i * 1[treatment_i = choice_i]``,
    noisy and not monotone in the multiplier; the smallest one whose spend is within the budget
    is taken, as in evaluation (`dfl.solvers.prices.crossing`). ``Allocation.cost`` is that
    spend, ``revenue`` the predicted revenue of the choice, and ``upper_bound`` is infinity:
    predicted revenue has no dual bound under an observed budget.

    Args:
        on_infeasible: what to do with observed costs where every multiplier spends more than
            the budget. ``"raise"``: raise. ``"least-spend"``: return the top of the bracket,
            everyone on the cheapest treatment, which spends least in expectation, with its
            observed spend in ``cost``, above the budget. Meant for training, where one noisy
            batch must not stop the run; such an allocation is not feasible.

    Raises:
        InvalidValueError: if ``on_infeasible`` is neither of the two.

    Source:
        arXiv:2510.19517, Algorithm 2 (predicted costs) and Algorithm 6 (observed costs).
        Deviations: the bracket reaches up to the largest ``(revenue_j - revenue_base) /
        (cost_j - cost_base)`` over the person's cheapest treatment ``base``, where everyone
        provably chooses ``base``; the paper's ``max revenue / cost`` can be too low when the
        cheapest treatment has a cost, or a revenue below 0, and is infinite at cost 0. The
        bisection halves the sorted list of multipliers at which the spend can change instead
        of the number itself: the same end without a tolerance, exact after ``log2`` of the
        list's length, whatever the magnitudes. Spend is evaluated from hull steps or match
        intervals, found once, not by an argmax per step.
    """

    on_infeasible: Literal["raise", "least-spend"] = "raise"

    def __post_init__(self) -> None:
        """Check the option."""
        check_choice("on_infeasible", self.on_infeasible, ("raise", "least-spend"))

    @torch.no_grad()
    def solve(self, problem: AllocationProblem) -> Allocation:
        """Return everyone's choice at the smallest multiplier found to meet the budget.

        Args:
            problem: one budget, met by predicted or by observed costs.

        Returns:
            An `Allocation`, see the class; multiplier 0 where the budget does not bind.

        Raises:
            UnsupportedProblemError: if there are several budgets.
            InfeasibleBudgetError: if the observed spend is above the budget at every
                multiplier, unless ``on_infeasible="least-spend"``.
        """
        require_one_budget("dual-bisection", problem)
        problem = without_banned(problem)
        budget = float(problem.budgets[0])
        if problem.observed is None:
            return _solve_predicted(problem, budget)
        return self._solve_observed(problem, problem.observed, budget)

    def _solve_observed(
        self, problem: AllocationProblem, observed: ObservedCost, budget: float
    ) -> Allocation:
        revenue, cost = problem.revenue.double(), problem.cost.double()
        low, high = match_intervals(revenue, cost, observed.treatment)
        amount = observed.weight.double() * observed.cost.double()
        smallest = smallest_within_shared if rows_apart() else _smallest_within
        multiplier = smallest(low, high, amount, budget)
        if multiplier is None:
            multiplier, choice = self._top_of_bracket(problem, observed.treatment, amount, budget)
        else:
            inside = (low <= multiplier) & (multiplier < high)
            choice = _decide_on_logs(revenue, cost, multiplier, observed.treatment, inside)
        spent = over_rows((amount * (choice == observed.treatment)).sum())
        earned = over_rows(revenue.gather(1, choice[:, None]).sum())
        return Allocation(choice, multiplier, earned, spent, torch.full_like(earned, torch.inf))

    def _top_of_bracket(
        self, problem: AllocationProblem, treatment: Tensor, amount: Tensor, budget: float
    ) -> tuple[Tensor, Tensor]:
        """Return the multiplier above which everyone stays at the cheapest, and that choice."""
        revenue, cost = problem.revenue.double(), problem.cost.double()
        choice = cheapest(revenue, cost)
        if self.on_infeasible == "raise":
            spent = float(over_rows((amount * (choice == treatment)).sum()))
            raise InfeasibleBudgetError(
                "budget must be at least the observed spend of the cheapest treatment, estimated "
                f"on these logs at {spent:g}, or of another multiplier, got {budget:g}; raise the "
                "budget, take more rows, or set on_infeasible='least-spend'."
            )
        bounds = match_intervals(revenue, cost, choice)[0]
        top = torch.cat([bounds, bounds.new_zeros(1)]).amax()
        if rows_apart():
            top = torch.stack(gathered(top.cpu())).amax().to(top)
        return top, choice


def _solve_predicted(problem: AllocationProblem, budget: float) -> Allocation:
    steps = hull_steps(problem.revenue, problem.cost)
    cheapest_cost = _total(problem.cost, steps.base)

    def spend(multiplier: Tensor) -> Tensor:
        taken = steps.multiplier > multiplier
        return over_ranks(cheapest_cost + (steps.added_cost * taken).sum())

    multiplier = _bisect(spend, steps.multiplier, budget)
    taken = steps.multiplier > multiplier
    start = _total(problem.revenue, steps.base)
    earned = over_ranks(start + steps.added_revenue[taken].sum())
    spent = spend(multiplier)
    return Allocation(
        choice=steps.choice(multiplier),
        multiplier=multiplier,
        revenue=earned,
        cost=spent,
        upper_bound=earned + multiplier * (budget - spent).clamp_min(0),
    )


def _bisect(spend: Callable[[Tensor], Tensor], breakpoints: Tensor, budget: float) -> Tensor:
    """Return a breakpoint, or 0, whose spend is within the budget and that before it is not.

    Keeps ``spend(high) <= budget < spend(low)``. Returns 0 where it is within the budget, and
    the last breakpoint where even that is not.

    Args:
        spend: spend at a multiplier; constant from each breakpoint up to the next.
        breakpoints: float64, any order, > 0. Shape ``(E,)``.
        budget: what may be spent.
    """
    limit = _limit(budget)
    points = torch.cat([breakpoints.new_zeros(1), breakpoints]).sort().values
    low, high = 0, points.shape[0] - 1
    if spend(points[low]) <= limit:
        return points[low].clone()
    if spend(points[high]) > limit:
        return points[high].clone()
    while high - low > 1:
        middle = (low + high) // 2
        if spend(points[middle]) > limit:
            low = middle
        else:
            high = middle
    return points[high].clone()


def _smallest_within(low: Tensor, high: Tensor, amount: Tensor, budget: float) -> Tensor | None:
    """Return the smallest multiplier at which the observed spend is within the budget.

    Args:
        low: where each person's match with the log begins. Shape ``(N,)``.
        high: where it ends, above ``low`` if there is a match.
        amount: what the person adds to the spend there, >= 0.
        budget: what may be spent.

    Returns:
        Shape ``()``, or None where every multiplier spends more.
    """
    matched = (low < high) & (high > 0)
    low, high, amount = low[matched], high[matched], amount[matched]
    falling, order = torch.cat([high, low]).sort(descending=True, stable=True)
    spent = torch.cat([amount.new_zeros(1), torch.cat([amount, -amount])[order].cumsum(0)])
    points = torch.cat([falling[falling.isfinite()], low.new_zeros(1)])
    above = falling.shape[0] - torch.searchsorted(falling.flip(0), points, right=True)
    spend = spent[above]
    within = int(last_within(spend, spend.new_tensor([budget])))
    return points[within] if within >= 0 else None


def _decide_on_logs(
    revenue: Tensor, cost: Tensor, multiplier: Tensor, treatment: Tensor, inside: Tensor
) -> Tensor:
    """Decide so that the choice equals the received treatment exactly where ``inside``.

    `decide` does so by itself, except where three treatments are tied but for rounding: each
    beats the next in a circle, and it may find a match that the intervals did not count. The
    best of that person's other treatments is as good and keeps the spend as it was counted.
    """
    choice = decide(revenue, cost, multiplier)
    clash = (choice == treatment) & ~inside
    if clash.any():
        others = revenue[clash].scatter(1, treatment[clash][:, None], -torch.inf)
        choice[clash] = decide(others, cost[clash], multiplier)
    return choice


def _limit(budget: float) -> float:
    """Return what may be spent: the budget, and what rounding adds to it."""
    return budget * (1 + BUDGET_SLACK)


def _total(amount: Tensor, choice: Tensor) -> Tensor:
    return amount.gather(1, choice[:, None]).sum(dtype=torch.float64)
