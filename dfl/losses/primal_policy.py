"""`PrimalPolicy`: the value of the softened allocation at the budget (PPL)."""

from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor

from dfl.layers.base import AbstractLayer
from dfl.layers.pricing.pricing import check_option
from dfl.layers.softmax import Softmax
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.estimators.policy_value import (
    ESTIMATORS,
    Estimator,
    check_every_treatment_seen,
    policy_value,
    received_value,
)

__all__ = ["Objective", "PrimalPolicy"]

Objective = Literal["revenue", "revenue-minus-cost"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PrimalPolicy(AbstractDecisionLoss):
    """Minus the estimated value of the allocation that a layer makes within the budget.

    ``loss = - V(z)``, ``z = layer(revenue, cost, budget)``, ``V`` the policy value on logged
    rows. With ``objective="revenue"`` the outcome is the revenue; a loss on revenue alone
    says nothing about overspending and can teach a network to invert its costs. With
    ``"revenue-minus-cost"`` the outcome is ``revenue - multiplier * cost``, the Lagrangian
    at the layer's own multiplier, which charges for the money.

    Args:
        layer: makes the soft allocation and tells its multiplier.
        estimator: of the policy value, see `policy_value`.
        objective: the outcome that is valued.

    Raises:
        InvalidValueError: if an option is not one of its words.

    Source:
        arXiv:2510.19517, PPL (``horvitz-thompson``, ``revenue``, softmax at the multiplier
        found on the batch). With a fixed multiplier and ``revenue-minus-cost``:
        arXiv:2407.13664, equation 7, divided by N. Deviation: the defaults, which train
        more stably.
    """

    layer: AbstractLayer = field(default_factory=Softmax)
    estimator: Estimator = "self-normalised"
    objective: Objective = "revenue-minus-cost"

    def __post_init__(self) -> None:
        """Check the options."""
        check_option("estimator", self.estimator, ESTIMATORS)
        check_option("objective", self.objective, ("revenue", "revenue-minus-cost"))

    @property
    def needs_baseline(self) -> bool:
        """True for the doubly robust estimator."""
        return self.estimator == "doubly-robust"

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: float | Tensor
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head; see the interface."""
        check_every_treatment_seen(batch.treatment, revenue.shape[-1], revenue.shape[:-1])
        if self.estimator == "doubly-robust":
            shares, multiplier = self.layer(revenue, cost, budget, batch.observed_cost)
            return -policy_value(shares, batch, self._price(multiplier), self.estimator)
        received, multiplier = self._received(revenue, cost, batch, budget)
        outcome = batch.revenue
        if self.objective == "revenue-minus-cost":
            outcome = outcome - self._price(multiplier)[..., None] * batch.cost
        return -received_value(received, outcome, batch.weight, self.estimator)

    def _price(self, multiplier: Tensor) -> Tensor:
        """Return what a unit of money is charged."""
        if self.objective == "revenue":
            return torch.zeros_like(multiplier)
        # A price, not a decision: the loss must not gain by talking money cheap.
        return multiplier.detach()

    def _received(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the shares of the treatments received, and the multiplier."""
        observed = batch.observed_cost
        if isinstance(self.layer, Softmax):  # need not make the shares of the others
            return self.layer.received(revenue, cost, budget, observed)
        shares, multiplier = self.layer(revenue, cost, budget, observed)
        return shares.gather(-1, batch.treatment.unsqueeze(-1)).squeeze(-1), multiplier
