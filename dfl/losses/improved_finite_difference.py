"""`ImprovedFiniteDifference`: what one person's change of treatment does to the value (IFD)."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.layers.finite_difference import FiniteDifference, Margins
from dfl.layers.pricing.pricing import Scale, check_option
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.dual_policy import check_multipliers
from dfl.losses.estimators.flip_value import flip_value
from dfl.losses.estimators.policy_value import (
    ESTIMATORS,
    Estimator,
    check_every_treatment_seen,
    policy_value,
)

__all__ = ["ImprovedFiniteDifference"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class ImprovedFiniteDifference(AbstractDecisionLoss):
    """Minus the estimated value of the hard choice, by the smallest step into or out of the log.

    At each price m of money, ``V_m`` is the policy value of everyone's best treatment. A person
    whose choice is the treatment received can leave the matched rows by one step of size ``p``
    towards the nearest other treatment; another can join them by one step. With ``D`` what
    that does to ``V_m``, exactly for the self-normalised value, the gradient in the outcomes of
    the two treatments is ``D / p`` and its negative. Revenue and cost are stepped each by itself.

    Args:
        margins: what happens to steps near zero, see `FiniteDifference`.
        width: of floor and window, > 0, in units of the scale.
        scale: unit of the width, ``"relative"`` to the scores' spread or ``"absolute"``.
        multipliers: prices of money, revenue per unit of cost, each >= 0.
        estimator: of the policy value; horvitz-thompson is the paper's text, self-normalised
            its code.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Zhou et al. (2024), arXiv:2407.13664, DFCL-IFD and the authors' code (absolute scale,
        window .3, multiplier .1; there the gradient in the cost is computed and not used).
        Deviations: the mean over multipliers; the relative scale; a person who alone carries
        the matched weight gets no gradient instead of a division by zero.
    """

    margins: Margins = "window"
    width: float = 0.3
    scale: Scale = "relative"
    multipliers: tuple[float, ...] = (0.1, 0.5, 1.0)
    estimator: Estimator = "self-normalised"

    def __post_init__(self) -> None:
        """Check the options."""
        check_multipliers(self.multipliers)
        check_option("estimator", self.estimator, ESTIMATORS)
        self._layer(0.0)  # checks the rest

    @property
    def needs_baseline(self) -> bool:
        """True for the doubly robust estimator."""
        return self.estimator == "doubly-robust"

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: float | Tensor
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head; see the interface."""
        check_every_treatment_seen(batch.treatment, revenue.shape[-1], revenue.shape[:-1])
        values = [self._value(price, revenue, cost, batch) for price in self.multipliers]
        return -torch.stack(values).mean(dim=0)

    def _value(self, price: float, revenue: Tensor, cost: Tensor, batch: LoggedBatch) -> Tensor:
        shares, multiplier = self._layer(price)(revenue, cost, 0.0)
        if self.estimator != "self-normalised":
            return policy_value(shares, batch, multiplier, self.estimator)
        received = shares.gather(-1, batch.treatment.unsqueeze(-1)).squeeze(-1)
        return flip_value(received, batch.revenue - price * batch.cost, batch.weight)

    def _layer(self, price: float) -> FiniteDifference:
        return FiniteDifference(
            opponents="nearest",
            margins=self.margins,
            width=self.width,
            scale=self.scale,
            temperature=None,
            perturbed="outcomes",
            multiplier=price,
        )
