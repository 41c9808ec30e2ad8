"""`Today`: what the logged policy earns and costs, read off the observational rows."""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from dfl.data import UpliftData
from dfl.metrics import Estimate
from dfl.stats import interval_factor, two_sided_p_value

__all__ = ["Today", "mean_error"]


@final
@dataclass(frozen=True, eq=False)
class Today:
    """Mean revenue and cost of logged rows: what doing as today earns, per head.

    It holds for the test rows as far as the logged people are like them.

    Args:
        rows: number of logged rows.
        cost: in currency.
        revenue: in currency.
        error: standard error of the revenue; rows of a group count together.
    """

    rows: int
    cost: float
    revenue: float
    error: float

    @staticmethod
    def of(obs: UpliftData) -> "Today":
        """Take the means of observational rows."""
        revenue = obs.revenue.double()
        error = mean_error(revenue, obs.groups)
        return Today(len(obs), float(obs.cost.double().mean()), float(revenue.mean()), error)

    def against(self, budget: float, ours: Estimate, level: float) -> dict[str, Any]:
        """Return what a model earns more for the same money; the rows are others, so errors add.

        Args:
            budget: per head at which the model was measured.
            ours: its revenue per head there, on the test rows.
            level: of the intervals.
        """
        difference = ours.value - self.revenue
        error = math.hypot(ours.standard_error, self.error)
        return {
            "rows": self.rows,
            "cost": self.cost,
            "revenue": _interval(self.revenue, self.error, level),
            "budget": budget,
            "value": _interval(ours.value, ours.standard_error, level),
            "difference": _interval(difference, error, level)
            | {"p_value": two_sided_p_value(difference / error) if error else 1.0},
        }


def mean_error(values: Tensor, groups: Tensor | None) -> float:
    """Return the standard error of a mean; rows of a group may depend on each other.

    Args:
        values: of the rows. Shape ``(N,)``.
        groups: of each row, or None where all rows are independent. Shape ``(N,)``.
    """
    away = values - values.mean()
    if groups is not None:
        group = torch.unique(groups, return_inverse=True)[1]
        away = away.new_zeros(int(group.max()) + 1).index_add(0, group, away)
    return float(away.square().sum().sqrt()) / len(values)


def _interval(value: float, error: float, level: float) -> dict[str, float]:
    reach = interval_factor(level) * error
    return {
        "value": value,
        "standard_error": error,
        "low": value - reach,
        "high": value + reach,
    }
