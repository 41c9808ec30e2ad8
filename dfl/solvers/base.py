"""Interface of the solvers, and what those of a single budget share."""

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from dfl.checks import check_part
from dfl.errors import UnsupportedProblemError
from dfl.problem import Allocation, AllocationProblem

__all__ = ["AbstractSolver", "require_one_budget", "require_predicted_cost", "without_banned"]

_PROBLEM = "AllocationProblem(revenue, cost, budget)"
_GENERAL = "cutting-planes, linear-program or mixed-integer"


class AbstractSolver(ABC):
    """Turns a problem into a hard, feasible allocation. No gradients.

    Members are frozen dataclasses without hidden state: the same problem always gives the
    same allocation. Inputs are never changed. Results lie on the problem's device.
    """

    @abstractmethod
    def solve(self, problem: AllocationProblem) -> Allocation:
        """Return a choice for everyone whose cost is within the budget.

        Args:
            problem: a checked problem; N = 0 and M = 1 are allowed.

        Returns:
            A feasible `Allocation`, its multiplier and its upper bound.

        Raises:
            UnsupportedProblemError: if the problem has a feature this solver does not
                handle (several budgets, observed costs, ...); says which solver does.
            InvalidValueError: if something else than a problem came.
            InfeasibleBudgetError: if the budget is met by observed costs and no choice the
                solver considers meets it.
        """


def require_one_budget(solver: str, problem: AllocationProblem) -> None:
    """Refuse a problem that one multiplier, the price of money, does not solve.

    Args:
        solver: registry name of the solver.
        problem: the problem it was given.

    Raises:
        InvalidValueError: if it is no `AllocationProblem`.
        UnsupportedProblemError: if the cost has an axis of budgets, or there are capacities or
            a least return.
    """
    check_part("problem", problem, AllocationProblem, _PROBLEM)
    for name in ("capacity", "min_return"):
        if getattr(problem, name) is not None:
            raise UnsupportedProblemError(
                f"{solver} does not take {name}; use {_GENERAL}, which do, or leave it out."
            )
    if problem.cost.ndim != 2:
        raise UnsupportedProblemError(
            f"{solver} takes one budget and cost (N, M), got {problem.cost.shape[2]} budget(s) "
            f"and cost {tuple(problem.cost.shape)}; use {_GENERAL}, keep the budget that binds, "
            "or add the costs up into one."
        )


def require_predicted_cost(solver: str, problem: AllocationProblem) -> None:
    """Refuse a problem whose budget is met by observed costs.

    Args:
        solver: registry name of the solver.
        problem: the problem it was given.

    Raises:
        InvalidValueError: if it is no `AllocationProblem`.
        UnsupportedProblemError: if the problem has observed costs.
    """
    check_part("problem", problem, AllocationProblem, _PROBLEM)
    if problem.observed is not None:
        raise UnsupportedProblemError(
            f"{solver} meets the budget by predicted costs, got observed costs; use "
            "dual-bisection, or leave observed out."
        )


def without_banned(problem: AllocationProblem) -> AllocationProblem:
    """Return an equal problem in which everything is allowed: what was not is never chosen.

    A treatment that ``problem.choices`` bans gets the largest cost of the person's others and
    a revenue below all of them, so that no price of money makes it worth choosing. With one
    budget and nothing else that binds, the optimum and its dual value stay the same.

    Args:
        problem: one budget, no capacities.
    """
    choices = problem.choices
    if choices is None:
        return problem

    def among(amount: Tensor, other: float) -> Tensor:
        return torch.where(choices, amount, other)

    least = among(problem.revenue, torch.inf).amin(dim=1)
    margin = among(problem.revenue.abs(), 0).amax(dim=1)
    below = least - torch.where(margin > 0, margin, 1)
    dearest = among(problem.cost, 0).amax(dim=1)
    return replace(
        problem,
        revenue=torch.where(choices, problem.revenue, below[:, None]),
        cost=torch.where(choices, problem.cost, dearest[:, None]),
        allowed=None,
        pinned=None,
    )
