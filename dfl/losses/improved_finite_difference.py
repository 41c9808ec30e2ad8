"""`ImprovedFiniteDifference`: what one person's change of treatment does to the value (IFD)."""

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_choice
from dfl.layers.base import BudgetLike, of_received
from dfl.layers.finite_difference import FiniteDifference, Margins
from dfl.layers.pricing.options import Softness, check_values
from dfl.layers.pricing.problems import ready
from dfl.layers.pricing.surrogate import AbstractSurrogate, surrogate_decision
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.dual_policy import along_prices, check_multipliers
from dfl.losses.estimators.policy_value import (
    VALUE_ESTIMATORS,
    Estimator,
    check_every_treatment_seen,
    matched_weight,
    policy_value,
)

__all__ = ["ImprovedFiniteDifference", "flip_value"]


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
        softness: how near a margin may come: its temperature is the ``width`` of floor and
            window, its scale the unit of all margins.
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
    softness: Softness = field(default_factory=lambda: Softness(0.3))
    multipliers: tuple[float, ...] = (0.1, 0.5, 1.0)
    estimator: Estimator = "self-normalised"

    def __post_init__(self) -> None:
        """Check the options."""
        check_values(softness=self.softness)
        check_multipliers(self.multipliers)
        check_choice("estimator", self.estimator, VALUE_ESTIMATORS)
        self._layer()  # checks the rest

    @property
    def uses_budget(self) -> bool:
        """False: prices are given."""
        return False

    @property
    def needs_baseline(self) -> bool:
        """True for the doubly robust estimator."""
        return self.estimator == "doubly-robust"

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: BudgetLike
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head; see the interface."""
        revenue, cost = ready(revenue, cost)
        check_every_treatment_seen(batch, revenue.shape[-1], revenue.shape[:-1])
        prices = along_prices(self.multipliers, revenue)
        each = batch.repeated(len(prices))
        revenue, cost = (one.expand(len(prices), *one.shape) for one in (revenue, cost))
        shares = self._layer().shares(revenue, cost, prices)
        if self.estimator == "self-normalised":
            received = of_received(shares, each.treatment)
            outcome = each.revenue - prices[..., None] * each.cost
            return -flip_value(received, outcome, each.weight).mean(dim=0)
        return -policy_value(shares, each, prices, self.estimator).mean(dim=0)

    def _layer(self) -> FiniteDifference:
        return FiniteDifference(
            opponents="nearest",
            margins=self.margins,
            width=self.softness.temperature,
            softness=self.softness,
            perturbed="outcomes",
        )


def flip_value(received: Tensor, outcome: Tensor, weight: Tensor) -> Tensor:  # (..., N) -> (...)
    """Estimate the self-normalised value of a hard policy, with differences as its gradient.

    ``V = sum_i w_i z_i y_i / sum_i w_i z_i``; the gradient in ``z_i`` is ``V(z_i = 1) -
    V(z_i = 0)``, everyone else as they are: ``w_i (y_i - V_-i) / (S_-i + w_i)`` with ``V_-i``
    and ``S_-i`` value and weight of all others. The tangent ``w_i (y_i - V) / S`` is its limit
    for many people. A person who alone carries the whole weight gets 0: without them there
    would be no value to compare with.

    Args:
        received: share of the treatment received, 0 or 1. Shape ``(..., N)``.
        outcome: logged outcome, in currency. Shape ``(..., N)``.
        weight: inverse propensity of the treatment received. Shape ``(..., N)``.

    Returns:
        Value in currency per head; first derivatives in reverse mode. Shape ``(...)``.

    Raises:
        InvalidValueError: if nobody received what the policy chooses.
        UnsupportedProblemError: later, if a second or a forward-mode derivative is asked for.

    Source:
        The authors' code of arXiv:2407.13664 (IFD), in closed form.
    """
    return surrogate_decision(_Flip(), received, outcome, weight)


@final
class _Flip(AbstractSurrogate):
    """Values are the shares received; context is outcome and weight."""

    def decide(self, values: Tensor, *context: Tensor) -> Tensor:
        outcome, weight = context
        return (weight * values * outcome).sum(dim=-1) / matched_weight(weight * values)

    def pull(self, values: Tensor, decision: Tensor, slope: Tensor, *context: Tensor) -> Tensor:
        outcome, weight = context
        weighted = weight * values
        others = weighted.sum(dim=-1, keepdim=True) - weighted
        left = (weighted * outcome).sum(dim=-1, keepdim=True) - weighted * outcome
        alone = others <= 0
        without = left / torch.where(alone, 1, others)
        step = weight * (outcome - without) / (others + weight)
        return slope.unsqueeze(-1) * torch.where(alone, 0, step)
