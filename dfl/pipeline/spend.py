"""`spend_ratio`: what an allocation by predicted costs really spends."""

from typing import Any

from dfl.budget import Budget
from dfl.data import UpliftData
from dfl.errors import InfeasibleProblemError, UnsupportedProblemError
from dfl.methods import Prediction
from dfl.problem import AllocationProblem
from dfl.solvers import AbstractSolver
from dfl.stats import interval_factor

__all__ = ["spend_ratio"]


def spend_ratio(
    rows: UpliftData, predicted: Prediction, solver: AbstractSolver, budget: Budget, level: float
) -> dict[str, Any] | None:
    """Compare observed with predicted cost of an allocation, on randomised rows.

    The solver spends the budget by predicted costs. On the rows that happened to receive the
    treatment chosen for them, weighted by ``1 / propensity``, observed cost is divided by
    predicted cost. Choosing by predicted costs prefers people whose cost is predicted too
    low, so the ratio tends to lie above 1 even where predictions are right on average.

    Args:
        rows: randomised rows that no part of the model saw.
        predicted: revenue and cost of these rows.
        solver: allocates.
        budget: money.
        level: of the interval.

    Returns:
        ``value`` (1: as predicted; 1.05: 5 % more), ``standard_error``, ``low``, ``high``;
        None where there is no such allocation, it costs nothing, or nobody received what was
        chosen.
    """
    total = budget.total_of(predicted.cost)
    try:
        choice = solver.solve(AllocationProblem(predicted.revenue, predicted.cost, total)).choice
    except (InfeasibleProblemError, UnsupportedProblemError):
        return None
    weight = rows.weight.double() * (rows.treatment == choice)
    planned = weight * predicted.cost.gather(1, choice[:, None])[:, 0].double()
    spent = weight * rows.cost.double()
    if not float(planned.sum()) > 0:
        return None
    ratio = float(spent.sum() / planned.sum())
    error = float((spent - ratio * planned).square().sum().sqrt() / planned.sum())
    reach = interval_factor(level) * error
    return {
        "value": ratio,
        "standard_error": error,
        "low": max(ratio - reach, 0.0),
        "high": ratio + reach,
    }
