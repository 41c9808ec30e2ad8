"""`DualFiniteDifference`: the hard choice's value at given prices, by differences (DIFD)."""

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from dfl.layers.base import AbstractLayer
from dfl.layers.finite_difference import FiniteDifference
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.dual_policy import DualPolicy
from dfl.losses.estimators.policy_value import Estimator

__all__ = ["DualFiniteDifference"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class DualFiniteDifference(AbstractDecisionLoss):
    """Minus the estimated value of the hard choice at given prices of money.

    `DualPolicy` on the layer `FiniteDifference`: its value is that of the decisions themselves,
    its gradient a finite difference over the smallest step that changes each.

    Args:
        layer: makes the allocation.
        multipliers: as in `DualPolicy`.
        estimator: as in `DualPolicy`.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        arXiv:2510.19517, DIFD (horvitz-thompson, exact margins, absolute scale). Deviations:
        the defaults; margins have a floor.
    """

    layer: AbstractLayer = field(default_factory=lambda: FiniteDifference(multiplier=0.0))
    multipliers: tuple[float, ...] = (0.1, 0.5, 1.0)
    estimator: Estimator = "self-normalised"

    def __post_init__(self) -> None:
        """Check the options."""
        self._dual()

    @property
    def needs_baseline(self) -> bool:
        """True for the doubly robust estimator."""
        return self._dual().needs_baseline

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: float | Tensor
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head; see the interface."""
        return self._dual()(revenue, cost, batch, budget)

    def _dual(self) -> DualPolicy:
        return DualPolicy(layer=self.layer, multipliers=self.multipliers, estimator=self.estimator)
