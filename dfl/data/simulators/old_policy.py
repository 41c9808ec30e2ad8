"""`RidgePolicy`: the simple two-stage policy that turns randomised rows into biased ones."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.data.uplift_data import UpliftData
from dfl.scale import STREAMED

__all__ = ["RidgePolicy"]

_BISECTIONS = 60


@final
@dataclass(frozen=True, eq=False)
class RidgePolicy:
    """Chooses ``argmax_j revenue_j(x) - multiplier * cost_j(x)`` by linear predictions.

    Args:
        weights: of revenue (first M columns) and cost (last M), float64. Shape ``(F, 2 M)``.
        offsets: of the same, float64. Shape ``(2 M,)``.
        multiplier: price of money, >= 0.
    """

    weights: Tensor
    offsets: Tensor
    multiplier: float

    @staticmethod
    def fit(data: UpliftData, *, share: float, ridge: float = 0.01) -> "RidgePolicy":
        """Fit one ridge regression per treatment and outcome, then meet a budget.

        Args:
            data: randomised rows.
            share: budget as `Budget` understands ``share``, of the predicted costs of these
                rows, in [0, 1].
            ridge: penalty on weights of standardised features, per row, > 0.

        Raises:
            InvalidValueError: if ``share`` is out of its range.
        """
        budget = Budget(share=share)
        weights, offsets = _regressions(data, ridge)
        revenue, cost = _predicted(data.features, weights, offsets)
        return RidgePolicy(weights, offsets, _multiplier(revenue, cost, budget.total_of(cost)))

    def __call__(self, features: Tensor) -> Tensor:
        """Return the treatment of each person, int64.

        Args:
            features: shape ``(N, F)``.
        """
        return self.scores(features).argmax(dim=1)

    def scores(self, features: Tensor) -> Tensor:
        """Return predicted revenue less the price of predicted cost, float64. Shape ``(N, M)``."""
        revenue, cost = _predicted(features, self.weights, self.offsets)
        return revenue - self.multiplier * cost


def _predicted(features: Tensor, weights: Tensor, offsets: Tensor) -> tuple[Tensor, ...]:
    """Return revenue and cost of each person, each ``(N, M)``.

    In float64: far from 0, in float32, products with the features are rounded by more than tells
    treatments apart.
    """
    parts = [features[rows].double() @ weights for rows in STREAMED.of(len(features))]
    return (torch.cat(parts) + offsets).chunk(2, dim=1)


def _regressions(data: UpliftData, ridge: float) -> tuple[Tensor, Tensor]:
    """Return weights ``(F, 2 M)`` and offsets ``(2 M,)`` for raw features."""
    spread, mean = torch.std_mean(data.features.double(), dim=0, correction=0)
    scale = torch.where(spread > 0, spread, 1.0)
    identity = torch.eye(len(scale), dtype=torch.float64, device=scale.device)
    outcomes = torch.stack([data.revenue, data.cost], dim=1).double()
    solved = []
    for treatment in range(data.treatments):
        rows = data.treatment == treatment
        x = (data.features[rows].double() - mean) / scale
        y_mean, x_mean = outcomes[rows].mean(dim=0), x.mean(dim=0)
        x, y = x - x_mean, outcomes[rows] - y_mean
        factor = torch.linalg.cholesky(x.T @ x + ridge * len(x) * identity)
        slope = torch.cholesky_solve(x.T @ y, factor) / scale[:, None]
        solved.append((slope, y_mean - (mean + x_mean * scale) @ slope))
    slopes = torch.stack([slope for slope, _ in solved], dim=2)  # (F, 2, M)
    offsets = torch.stack([offset for _, offset in solved], dim=1)  # (2, M)
    return slopes.flatten(1), offsets.flatten()


def _multiplier(revenue: Tensor, cost: Tensor, total: float) -> float:
    """Return the least multiplier found at which the predicted spend is within ``total``."""

    def spend(multiplier: float) -> float:
        choice = (revenue - multiplier * cost).argmax(dim=1, keepdim=True)
        return float(cost.gather(1, choice).sum(dtype=torch.float64))

    low, high = 0.0, 1.0
    if spend(low) <= total:
        return low
    for _ in range(_BISECTIONS):
        if spend(high) <= total:
            break
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if spend(middle) <= total else (middle, high)
    return high
