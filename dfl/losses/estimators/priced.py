"""`AbstractPricedLoss`: what the losses that decide at a price of money share."""

from abc import abstractmethod
from dataclasses import dataclass, field

from torch import Tensor

from dfl.layers.base import BudgetLike
from dfl.layers.pricing.options import Price
from dfl.layers.pricing.priced import check_decided, scores
from dfl.layers.pricing.problems import ready
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.estimators.policy_value import check_every_treatment_seen

__all__ = ["AbstractPricedLoss"]


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractPricedLoss(AbstractDecisionLoss):
    """A loss of the scores ``revenue - multiplier * cost``, the budget entering by its price.

    Args:
        price: of money; a fixed one costs no solve at all, else it is found on the logs, in `dfcl`
            once per epoch. Held constant in gradients.

    Raises:
        InvalidValueError: if the price is to be met by the shares.
    """

    price: Price = field(default_factory=Price)

    def __post_init__(self) -> None:
        """Check the price."""
        check_decided(self.price)

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: BudgetLike
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head; see the interface."""
        revenue, cost = ready(revenue, cost)
        check_every_treatment_seen(batch, revenue.shape[-1], revenue.shape[:-1])
        multiplier = self.price.find(revenue, cost, budget, batch.observed_cost)
        return self.of_scores(scores(revenue, cost, multiplier), multiplier, batch)

    @abstractmethod
    def of_scores(
        self,
        predicted: Tensor,  # (..., N, M)
        multiplier: Tensor,  # (...)
        batch: LoggedBatch,
    ) -> Tensor:  # (...)
        """Return the loss of predicted scores at a price of money."""
