"""`PrimalPolicy`: the value of the softened allocation at the budget (PPL)."""

from dataclasses import dataclass, field
from typing import Literal, final

import torch
from torch import Tensor

from dfl.checks import check_choice, check_part
from dfl.layers.base import AbstractLayer, AtPrice, BudgetLike
from dfl.layers.softmax import Softmax
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.estimators.policy_value import (
    VALUE_ESTIMATORS,
    Estimator,
    check_every_treatment_seen,
    policy_value,
    received_value,
)
from dfl.solvers.base import AbstractSolver

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
        estimator: of the policy value, see `policy_value`. With horvitz-thompson the spend that
            meets the budget is estimated so too, else self-normalised arm by arm
            (`ObservedCost.self_normalised`). Horvitz-Thompson is unsafe where batches are small
            or revenue and cost have a large constant part: both then move with the number of
            rows that each treatment happens to have in the batch.
        objective: the outcome that is valued.

    Raises:
        InvalidValueError: if the layer is none, or an option is not one of its words.

    Source:
        arXiv:2510.19517, PPL (``horvitz-thompson``, ``revenue``, softmax at the multiplier
        found on the batch). With a fixed multiplier and ``revenue-minus-cost``:
        arXiv:2407.13664, equation 7, divided by N. Deviation: the defaults, which train
        more stably. PIFD is this loss on the layer `FiniteDifference`, whose value is that of
        the hard decisions themselves (exact margins, absolute scale); our margins have a floor.
    """

    layer: AbstractLayer = field(default_factory=Softmax)
    estimator: Estimator = "self-normalised"
    objective: Objective = "revenue-minus-cost"

    def __post_init__(self) -> None:
        """Check the options."""
        check_part("layer", self.layer, AbstractLayer, "Softmax() or LAYERS.make(name)")
        check_choice("estimator", self.estimator, VALUE_ESTIMATORS)
        check_choice("objective", self.objective, ("revenue", "revenue-minus-cost"))

    @property
    def needs_baseline(self) -> bool:
        """True for the doubly robust estimator."""
        return self.estimator == "doubly-robust"

    @property
    def decides_at_price(self) -> bool:
        """Whether the layer does."""
        return self.layer.decides_at_price

    @property
    def uses_budget(self) -> bool:
        """Whether the layer does."""
        return self.layer.uses_budget

    @property
    def price_solver(self) -> AbstractSolver | None:
        """That of the layer."""
        return self.layer.price_solver

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: BudgetLike
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head; see the interface."""
        check_every_treatment_seen(batch, revenue.shape[-1], revenue.shape[:-1])
        # At a price nobody asks what is spent.
        plain = self.estimator == "horvitz-thompson" or isinstance(budget, AtPrice)
        observed = batch.plain_cost if plain else batch.observed_cost
        if self.estimator == "doubly-robust":
            shares, multiplier = self.layer(revenue, cost, budget, observed)
            return -policy_value(shares, batch, self._price(multiplier), self.estimator)
        received, multiplier = self.layer.received(revenue, cost, budget, observed)
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
