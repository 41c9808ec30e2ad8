"""Prices of an allocation problem's constraints, and the allocation they led to."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError, ShapeError
from dfl.problem import Allocation
from dfl.solvers.prices.lagrangian import Lagrangian

__all__ = ["DualPrices", "PricedAllocation"]


@final
@dataclass(frozen=True, eq=False)
class DualPrices:
    """What one more unit of each constraint would earn, in currency.

    Args:
        budget: price of money, revenue per unit of each budget, >= 0. float64, ``(K,)``.
        capacity: price of a place on each treatment, in currency, >= 0. float64, ``(M,)``.
        min_return: price of the least return, no unit, >= 0. float64, shape ``()``.
    """

    budget: Tensor
    capacity: Tensor
    min_return: Tensor

    @classmethod
    def of(cls, prices: Tensor, budgets: int) -> "DualPrices":
        """Read prices in the order of a `Lagrangian`'s constraints, shape ``(K + M + 1,)``."""
        return cls(prices[:budgets], prices[budgets:-1], prices[-1])

    def vector(self, lagrangian: Lagrangian) -> Tensor:
        """Put the prices in the order of the constraints, 0 where there is no constraint.

        Returns:
            float64 on the CPU, shape ``(K + M + 1,)``.

        Raises:
            ShapeError: if there are other numbers of budgets or treatments.
            InvalidValueError: if a price is negative or not finite.
        """
        parts = [self.budget, self.capacity, self.min_return]
        shapes = [tuple(part.shape) for part in parts]
        treatments, budgets = lagrangian.revenue.shape[1], lagrangian.cost.shape[2]
        if shapes != [(budgets,), (treatments,), ()]:
            raise ShapeError(
                f"start must have prices of shapes ({budgets},), ({treatments},) and (), got "
                f"{shapes}; start from the prices of a problem with the same constraints."
            )
        prices = torch.cat([part.detach().cpu().double().reshape(-1) for part in parts])
        if not bool(((prices >= 0) & prices.isfinite()).all()):
            raise InvalidValueError(f"start must be >= 0 and finite, got {prices.tolist()}.")
        return torch.where(lagrangian.limit.isfinite(), prices, 0)


@final
@dataclass(frozen=True, eq=False)
class PricedAllocation:
    """An allocation with the prices that led to it.

    Args:
        allocation: the answer.
        prices: start the next solve of a similar problem from these.
        iterations: evaluations of the dual on all people: passes over the data.
        sample_iterations: evaluations on samples before them, to find where to start.
        converged: ``upper_bound`` is within ``rtol`` of the LP optimum.
    """

    allocation: Allocation
    prices: DualPrices
    iterations: int
    sample_iterations: int
    converged: bool
