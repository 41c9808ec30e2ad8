"""What an allocation by predicted costs really spends, and the margin that keeps to a budget."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, final

from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_number
from dfl.data import UpliftData
from dfl.errors import (
    InfeasibleBudgetError,
    InfeasibleProblemError,
    InvalidValueError,
    UnsupportedProblemError,
)
from dfl.methods import Prediction
from dfl.pipeline.today import mean_error
from dfl.problem import AllocationProblem
from dfl.solvers import AbstractSolver
from dfl.stats import interval_factor

__all__ = ["Margin", "arm_cost_ratios", "margin_of", "spend_ratio"]

_FEW = 30  # rows below which a ratio's error is not known


@final
@dataclass(frozen=True)
class Margin:
    """The share of a budget that may be allocated by predicted costs.

    Args:
        level: confidence that the expected true spend is within the whole budget, one-sided.
        measured_at: budget at which the run measured the ratio, in currency per head.
        value: true over predicted cost of an allocation there.
        standard_error: of it.
        high: upper end of the ratio: ``value + z standard_error``, ``z`` the normal quantile
            of ``level``.
        share: ``1 / high``, at most 1.
    """

    level: float
    measured_at: float
    value: float
    standard_error: float
    high: float
    share: float

    def within(self, total: float, least: float) -> float:
        """Return the money that is left, which must reach for everyone.

        Args:
            total: money, in currency.
            least: what the cheapest treatment for everyone is predicted to cost.

        Raises:
            InfeasibleBudgetError: if all of the money would reach, and what is left does not.
        """
        money = total * self.share
        if money < least <= total:
            raise InfeasibleBudgetError(
                f"budget {total:.6g} leaves {money:.6g} by the margin, less than the cheapest "
                f"treatment for everyone is predicted to cost, {least:.6g}; raise the budget to "
                f"{least / self.share:.6g} or lower the margin's confidence."
            )
        return money


def margin_of(metrics: Mapping[str, Any], per_head: float, level: float) -> Margin:
    """Return the margin by what a run measured at the budget nearest to this one.

    Args:
        metrics: content of the run's ``metrics.json``.
        per_head: budget, in currency.
        level: in [0.5, 1).

    Raises:
        InvalidValueError: if the level is out of range, or the run knows no such ratio.
    """
    check_number("margin", level, at_least=0.5, below=1)
    spend = metrics.get("spend") or {}
    known = [
        (one["per_head"], spend[one["given"]])
        for one in metrics.get("budgets", ())
        if spend.get(one["given"])
    ]
    if not known:
        raise InvalidValueError(
            "margin needs what an allocation by predicted costs really spent on the run's test "
            "rows, which this run has not measured: an earlier version made it, its allocations "
            f"cost nothing, or fewer than {_FEW} rows received what was chosen. Take a smaller "
            "budget instead, or run again with more test rows."
        )
    nearest, found = min(known, key=lambda one: abs(one[0] - per_head))
    value, error = found["value"], found["standard_error"]
    high = value + NormalDist().inv_cdf(level) * error
    return Margin(level, nearest, value, error, high, 1 / max(high, 1.0))


def arm_cost_ratios(rows: UpliftData, predicted: Prediction, level: float) -> list[Any]:
    """Compare observed with predicted mean cost, treatment by treatment, on randomised rows.

    Args:
        rows: randomised rows that no part of the model saw.
        predicted: costs of these rows.
        level: of the intervals.

    Returns:
        For each treatment what `spend_ratio` returns for an allocation; None where the
        treatment is predicted to cost nothing or was received by too few rows.
    """
    arms = range(predicted.cost.shape[1])
    return [
        _ratio(rows, rows.treatment == arm, predicted.cost[:, arm].double(), level) for arm in arms
    ]


def spend_ratio(
    rows: UpliftData, predicted: Prediction, solver: AbstractSolver, budget: Budget, level: float
) -> dict[str, Any] | None:
    """Compare observed with predicted cost of an allocation, on randomised rows.

    The solver spends the budget by predicted costs. On the rows that happened to receive the
    treatment chosen for them, weighted by ``1 / propensity``, observed cost is divided by
    predicted cost. Choosing by predicted costs prefers people whose cost is predicted too
    low, so the ratio tends to lie above 1 even where predictions are right on average. Rows of a
    group may depend on each other: the error adds up groups.

    Args:
        rows: randomised rows that no part of the model saw.
        predicted: revenue and cost of these rows.
        solver: allocates.
        budget: money.
        level: of the interval.

    Returns:
        ``value`` (1: as predicted; 1.05: 5 % more), ``standard_error``, ``low``, ``high``;
        None where there is no such allocation, it costs nothing, or fewer than 30 rows
        received what was chosen.
    """
    total = budget.total_of(predicted.cost)
    try:
        choice = solver.solve(AllocationProblem(predicted.revenue, predicted.cost, total)).choice
    except (InfeasibleProblemError, UnsupportedProblemError):
        return None
    planned = predicted.cost.gather(1, choice[:, None])[:, 0].double()
    return _ratio(rows, rows.treatment == choice, planned, level)


def _ratio(
    rows: UpliftData, received: Tensor, predicted: Tensor, level: float
) -> dict[str, Any] | None:
    """Divide observed by predicted cost of the rows that received what is asked about."""
    weight = rows.weight.double() * received
    planned, spent = weight * predicted, weight * rows.cost.double()
    if int(received.sum()) < _FEW or not float(planned.sum()) > 0:
        return None
    ratio = float(spent.sum() / planned.sum())
    error = mean_error(spent - ratio * planned, rows.groups) / float(planned.mean())
    reach = interval_factor(level) * error
    return {
        "value": ratio,
        "standard_error": error,
        "low": max(ratio - reach, 0.0),
        "high": ratio + reach,
    }
