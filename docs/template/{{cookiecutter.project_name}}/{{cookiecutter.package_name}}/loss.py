"""`CappedRevenue`: a decision loss in which no purchase counts above a cap."""

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from dfl.checks import check_number
from dfl.layers import AbstractLayer, Softmax
from dfl.layers.base import BudgetLike
from dfl.losses import AbstractDecisionLoss, LoggedBatch

__all__ = ["CappedRevenue"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class CappedRevenue(AbstractDecisionLoss):
    """``-mean_i w_i z_i (min(r_i, cap) - multiplier c_i)``, ``z_i`` the share of what i received.

    Args:
        layer: makes the shares, and tells the price of money.
        cap: in currency, > 0.

    Raises:
        InvalidValueError: if the cap is not positive.
    """

    layer: AbstractLayer = field(default_factory=Softmax)
    cap: float = 50.0

    def __post_init__(self) -> None:
        """Check the cap."""
        check_number("cap", self.cap, above=0)

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: BudgetLike
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head."""
        received, price = self.layer.received(revenue, cost, budget, batch.observed_cost)
        earned = batch.revenue.clamp(max=self.cap) - price[..., None].detach() * batch.cost
        return -(batch.weight * received * earned).mean(dim=-1)
