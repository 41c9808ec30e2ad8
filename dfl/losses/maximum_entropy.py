"""`MaximumEntropy`: the dual value of the choice with a bonus for entropy (MER)."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from dfl.layers.pricing.pricing import Scale
from dfl.layers.softmax import Softmax
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.dual_policy import DualPolicy
from dfl.losses.estimators.policy_value import Estimator

__all__ = ["MaximumEntropy"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class MaximumEntropy(AbstractDecisionLoss):
    """Minus the estimated value of the entropy-regularised choice at given prices.

    ``max_z sum_ij (revenue_ij - m cost_ij) z_ij - tau sum_ij z_ij ln z_ij`` over the simplex has
    the optimum ``z_i = softmax((revenue_i - m cost_i) / tau)``: `DualPolicy` with a softmax whose
    temperature is the weight of the entropy.

    Args:
        temperature: weight tau of the entropy, > 0, in units of the scale.
        scale: ``"relative"`` to the spread of the scores, or ``"absolute"`` in currency.
        multipliers: as in `DualPolicy`.
        estimator: as in `DualPolicy`.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Zhou et al. (2024), arXiv:2407.13664, DFCL-MER (absolute scale, horvitz-thompson).
    """

    temperature: float = 1.0
    scale: Scale = "relative"
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
        softmax = Softmax(temperature=self.temperature, scale=self.scale, multiplier=0.0)
        return DualPolicy(layer=softmax, multipliers=self.multipliers, estimator=self.estimator)
