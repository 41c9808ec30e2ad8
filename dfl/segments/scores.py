"""Doubly robust scores of people, and what a policy earns by them."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.models import Prediction
from dfl.problem import AllocationProblem
from dfl.solvers.greedy_dual import GreedyDual

__all__ = ["Scores"]


@final
@dataclass(frozen=True, eq=False)
class Scores:
    """Revenue and cost of each person under each treatment, right on average; float64.

    Args:
        revenue: in currency, shape ``(N, M)``.
        cost: likewise; single scores may be negative.
    """

    revenue: Tensor
    cost: Tensor

    @staticmethod
    def of(rows: UpliftData, predicted: Prediction) -> "Scores":
        """Return ``f_j(x_i) + 1[t_i = j] (y_i - f_j(x_i)) / p_ij``.

        Args:
            rows: randomised rows that the predictions did not learn from.
            predicted: of these rows.

        Raises:
            InvalidValueError: as `UpliftData.weight`.
        """
        weight = rows.weight.double()
        own = rows.treatment[:, None]

        def scored(guess: Tensor, outcome: Tensor) -> Tensor:
            guess = guess.double()
            residual = weight[:, None] * (outcome.double()[:, None] - guess.gather(1, own))
            return guess.scatter_add(1, own, residual)

        return Scores(scored(predicted.revenue, rows.revenue), scored(predicted.cost, rows.cost))

    @property
    def arm_costs(self) -> Tensor:
        """Mean cost of each treatment given to everyone, in currency, shape ``(M,)``."""
        return self.cost.mean(dim=0)

    def value(self, predicted: Prediction, budget: float) -> float:
        """Return what an allocation by predictions earns per head, at what the budget may buy.

        ``mean(revenue) - multiplier (mean(cost) - budget)``: what the allocation really costs
        above or below the budget is settled at its own price of money.

        Args:
            predicted: of these people, by whatever did not learn from them.
            budget: in currency per head.
        """
        floor = float(predicted.cost.amin(dim=1).sum(dtype=torch.float64))
        total = max(budget * len(self.revenue), floor)
        found = GreedyDual("torch").solve(
            AllocationProblem(predicted.revenue.double(), predicted.cost.double(), total)
        )
        own = found.choice[:, None]
        earned, spent = (float(one.gather(1, own).mean()) for one in (self.revenue, self.cost))
        return earned - float(found.multiplier) * (spent - budget)
