"""`AbstractPricedLayer`: what the layers that choose person by person share, and their scores."""

from abc import abstractmethod

import torch
from torch import Tensor

from dfl.checks import check_choice
from dfl.errors import InvalidValueError
from dfl.layers.base import AbstractLayer, BudgetLike, SoftAllocation
from dfl.layers.pricing.options import Price, check_values
from dfl.layers.pricing.problems import finite, ready
from dfl.problem import ObservedCost
from dfl.solvers.passes.decide import decide

__all__ = ["AbstractPricedLayer", "check_decided", "decide_one_hot", "priced_revenue", "scores"]


class AbstractPricedLayer(AbstractLayer):
    """A layer whose rows choose for themselves at a price of money, held constant in gradients.

    Args:
        price: of money, fixed or met by the hard decision.

    Raises:
        InvalidValueError: if the price is to be met by the shares.
    """

    price: Price

    def __init__(self, price: Price) -> None:
        super().__init__()
        check_decided(price)
        self.price = price

    def forward(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: BudgetLike,
        observed: ObservedCost | None = None,
        allowed: Tensor | None = None,
    ) -> SoftAllocation:
        """Return shares and multiplier; see the interface."""
        revenue, cost = ready(revenue, cost, allowed)
        masked = allowed is not None
        multiplier = self.price.find(revenue, cost, budget, observed, masked=masked)
        shares = self.shares(revenue, cost, multiplier)
        if allowed is not None:
            shares = shares.masked_fill(~allowed, 0)
        return SoftAllocation(shares, multiplier)

    @abstractmethod
    def shares(self, revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
        """Return the shares at a multiplier ``(...)``. Shape ``(..., N, M)``, as both inputs.

        Revenue is minus infinity where a treatment is not allowed.
        """


def check_decided(price: Price) -> None:
    """Refuse what is no price, or one that the shares meet; raise `InvalidValueError`."""
    check_values(price=price)
    check_choice("price.met_by", price.met_by, ("decision",))


def scores(revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
    """Return ``revenue - multiplier * cost``. Shape ``(..., N, M)``, multiplier ``(...)``."""
    return revenue - multiplier[..., None, None] * cost


def priced_revenue(revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
    """Return ``revenue``, with the derivative of ``revenue - multiplier * cost``.

    So that a decision is made from revenue and cost themselves, with their exact ties, while
    its gradient reaches both.
    """
    return revenue - multiplier[..., None, None] * (cost - cost.detach())


def decide_one_hot(revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
    """Return the hard choice at a multiplier as shares ``(..., N, M)``; ties as in `decide`.

    Raises:
        InvalidValueError: if a prediction is NaN or infinite, but for a revenue of minus infinity,
            which is never chosen.
    """
    if revenue.numel():
        least, most = revenue.aminmax()
        if not (float(most) < torch.inf and bool(cost.isfinite().all())):
            raise InvalidValueError(
                "revenue and cost must be finite, got NaN or infinity; look at what the model "
                "predicts."
            )
        if float(least) == -torch.inf:
            revenue, cost = finite(revenue, cost)
    choice = decide(revenue, cost, multiplier).unsqueeze(-1)
    return torch.zeros_like(revenue).scatter_(-1, choice, 1)
