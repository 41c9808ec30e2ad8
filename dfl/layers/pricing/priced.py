"""`AbstractPricedLayer`: what the layers that choose person by person share, and their scores."""

from abc import abstractmethod

import torch
from torch import Tensor

from dfl.checks import check_choice
from dfl.layers.base import AbstractLayer, BudgetLike, SoftAllocation
from dfl.layers.pricing.options import Price
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
    ) -> SoftAllocation:
        """Return shares and multiplier; see the interface."""
        multiplier = self.price.find(revenue, cost, budget, observed)
        return SoftAllocation(self.shares(revenue, cost, multiplier), multiplier)

    @abstractmethod
    def shares(self, revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
        """Return the shares at a multiplier ``(...)``. Shape ``(..., N, M)``, as both inputs."""


def check_decided(price: Price) -> None:
    """Refuse a price that the shares meet; raise `InvalidValueError`."""
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
    """Return the hard choice at a multiplier as shares ``(..., N, M)``; ties as in `decide`."""
    choice = decide(revenue, cost, multiplier).unsqueeze(-1)
    return torch.zeros_like(revenue).scatter_(-1, choice, 1)
