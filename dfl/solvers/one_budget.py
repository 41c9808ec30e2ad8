"""Refusals that the solvers of a single budget share."""

from dfl.errors import UnsupportedProblemError
from dfl.problem import AllocationProblem

__all__ = ["require_one_budget", "require_predicted_cost"]


def require_one_budget(solver: str, problem: AllocationProblem) -> None:
    """Refuse a problem with several budgets.

    Args:
        solver: registry name of the solver.
        problem: the problem it was given.

    Raises:
        UnsupportedProblemError: if the cost has an axis of budgets.
    """
    if problem.cost.ndim != 2:
        raise UnsupportedProblemError(
            f"{solver} takes one budget and cost (N, M), got {problem.cost.shape[2]} budget(s) "
            f"and cost {tuple(problem.cost.shape)}; keep the budget that binds, or add the "
            "costs up into one."
        )


def require_predicted_cost(solver: str, problem: AllocationProblem) -> None:
    """Refuse a problem whose budget is met by observed costs.

    Args:
        solver: registry name of the solver.
        problem: the problem it was given.

    Raises:
        UnsupportedProblemError: if the problem has observed costs.
    """
    if problem.observed is not None:
        raise UnsupportedProblemError(
            f"{solver} meets the budget by predicted costs, got observed costs; use "
            "dual-bisection, or leave observed out."
        )
