"""`PrimalFiniteDifference`: the hard allocation's value at the budget, by differences (PIFD)."""

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from dfl.layers.base import AbstractLayer
from dfl.layers.finite_difference import FiniteDifference
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.estimators.policy_value import Estimator
from dfl.losses.primal_policy import Objective, PrimalPolicy

__all__ = ["PrimalFiniteDifference"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PrimalFiniteDifference(AbstractDecisionLoss):
    """Minus the estimated value of the hard allocation within the budget.

    `PrimalPolicy` on the layer `FiniteDifference`: its value is that of the decisions
    themselves, its gradient a finite difference over the smallest step that changes each.

    Args:
        layer: makes the allocation.
        estimator: as in `PrimalPolicy`.
        objective: as in `PrimalPolicy`.

    Raises:
        InvalidValueError: if an option is not one of its words.

    Source:
        arXiv:2510.19517, PIFD (horvitz-thompson, revenue, exact margins, absolute scale).
        Deviations: the defaults; margins have a floor.
    """

    layer: AbstractLayer = field(default_factory=FiniteDifference)
    estimator: Estimator = "self-normalised"
    objective: Objective = "revenue-minus-cost"

    def __post_init__(self) -> None:
        """Check the options."""
        self._primal()

    @property
    def needs_baseline(self) -> bool:
        """True for the doubly robust estimator."""
        return self._primal().needs_baseline

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: float | Tensor
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head; see the interface."""
        return self._primal()(revenue, cost, batch, budget)

    def _primal(self) -> PrimalPolicy:
        return PrimalPolicy(layer=self.layer, estimator=self.estimator, objective=self.objective)
