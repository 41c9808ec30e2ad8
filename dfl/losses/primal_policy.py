"""`PrimalPolicy`: the value of the softened allocation at the budget (PPL)."""

from dataclasses import dataclass, field
from typing import Literal, final

from torch import Tensor

from dfl.layers.base import AbstractLayer
from dfl.layers.softmax import Softmax
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.policy_value import Estimator, check_every_treatment_seen, policy_value

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
        estimator: weights of the policy value.
        objective: the outcome that is valued.

    Source:
        arXiv:2510.19517, PPL (``horvitz-thompson``, ``revenue``, softmax at the multiplier
        found on the batch). With a fixed multiplier and ``revenue-minus-cost``:
        arXiv:2407.13664, equation 7, divided by N. Deviation: the defaults, which train
        more stably.
    """

    layer: AbstractLayer = field(default_factory=Softmax)
    estimator: Estimator = "self-normalised"
    objective: Objective = "revenue-minus-cost"

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: float | Tensor
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head; see the interface."""
        check_every_treatment_seen(batch.treatment, revenue.shape[-1], revenue.shape[:-1])
        decision = self.layer(revenue, cost, budget, batch.observed_cost)
        outcome = batch.revenue
        if self.objective == "revenue-minus-cost":
            outcome = outcome - decision.multiplier[..., None] * batch.cost
        return -policy_value(
            decision.shares, batch.treatment, outcome, batch.weight, self.estimator
        )
