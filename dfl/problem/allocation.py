"""`Allocation`: the answer to a problem."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

__all__ = ["Allocation", "Split"]


@final
@dataclass(frozen=True)
class Split:
    """The one fractional person of the linear-programming optimum.

    Args:
        row: the person.
        low: cheaper treatment.
        high: dearer treatment.
        share: weight on ``high``, in (0, 1); the rest is on ``low``.
    """

    row: int
    low: int
    high: int
    share: float


@final
@dataclass(frozen=True, eq=False)
class Allocation:
    """A feasible choice for everyone, with a certificate of how good it is.

    Args:
        choice: treatment of each person, int64, on the problem's device. Shape ``(N,)``.
        multiplier: money's shadow price: revenue gained by one more unit of budget, >= 0.
            float64, shape ``()`` or ``(K,)``.
        revenue: total revenue of ``choice``, in currency. float64, shape ``()``.
        cost: total cost of ``choice``, in currency, within the budget. float64, shape
            ``()`` or ``(K,)``. With observed costs: the estimated observed spend.
        upper_bound: no allocation within the budget earns more (dual value), in currency;
            infinity where the solver has no bound. float64, shape ``()``.
        split: the fractional person of the LP optimum, where the solver finds one.
    """

    choice: Tensor
    multiplier: Tensor
    revenue: Tensor
    cost: Tensor
    upper_bound: Tensor
    split: Split | None = None

    @property
    def gap(self) -> float:
        """Relative distance to the upper bound, ``(upper_bound - revenue) / |upper_bound|``.

        Infinity where the solver has no bound.
        """
        difference = float(self.upper_bound - self.revenue)
        if math.isinf(difference):
            return difference
        return difference / max(abs(float(self.upper_bound)), torch.finfo(torch.float64).tiny)
