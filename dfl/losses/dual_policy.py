"""`DualPolicy`: the value of the softened allocation at given prices of money (DPL)."""

from dataclasses import dataclass, field, replace
from math import inf
from numbers import Real
from typing import final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.layers.base import AbstractLayer, BudgetLike
from dfl.layers.pricing.options import Price
from dfl.layers.pricing.problems import ready
from dfl.layers.softmax import Softmax
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.estimators.policy_value import Estimator, check_every_treatment_seen
from dfl.losses.primal_policy import PrimalPolicy

__all__ = ["DualPolicy", "check_multipliers"]

_ANY_BUDGET = 1.0  # nothing costs anything once scores are priced


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class DualPolicy(AbstractDecisionLoss):
    """Minus the estimated value of what a layer chooses at given prices, whatever the budget.

    ``loss = - mean over multipliers of V_m(z_m)``: ``z_m`` is the layer's allocation of the
    scores ``revenue - m * cost``, with nothing left to pay; ``V_m`` the policy value of the
    outcome ``revenue - m * cost`` on logged rows. Small multipliers stand for rich budgets,
    large ones for tight; the budget of the call is not used.

    Args:
        layer: makes the soft allocation. Its own multiplier does not matter: scores reach it as
            revenue, at no cost.
        multipliers: prices of money, revenue per unit of cost, each >= 0.
        estimator: of the policy value, see `policy_value`.

    Raises:
        InvalidValueError: if there is no multiplier, one is negative, the layer is none, or the
            estimator is unknown.

    Source:
        Zhou et al. (2024), arXiv:2407.13664, equations 6 and 7 (softmax of temperature 1,
        horvitz-thompson; there the sum over people and multipliers); named DPL in
        arXiv:2510.19517. Deviation: the defaults, as in `PrimalPolicy`. DFCL-MER is this loss on
        the softmax whose temperature is the weight of the entropy (absolute), for ``max_z sum_ij
        (revenue_ij - m cost_ij) z_ij - tau sum_ij z_ij ln z_ij`` has the optimum ``z_i =
        softmax((revenue_i - m cost_i) / tau)``; DIFD of arXiv:2510.19517 is it on the layer
        `FiniteDifference` (exact margins, absolute scale), whose value is that of the hard
        decisions themselves.
    """

    layer: AbstractLayer = field(default_factory=lambda: Softmax(price=Price(multiplier=0.0)))
    multipliers: tuple[float, ...] = (0.1, 0.5, 1.0)
    estimator: Estimator = "self-normalised"

    def __post_init__(self) -> None:
        """Check the options."""
        check_multipliers(self.multipliers)
        self._primal()  # checks the layer and the estimator

    @property
    def needs_baseline(self) -> bool:
        """True for the doubly robust estimator."""
        return self._primal().needs_baseline

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: BudgetLike
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head; see the interface."""
        revenue, cost = ready(revenue, cost)
        # Here, where the batch still says which column a number is from.
        check_every_treatment_seen(batch, revenue.shape[-1], revenue.shape[:-1])
        free, primal = torch.zeros_like(cost), self._primal()
        losses = [
            primal(revenue - price * cost, free, _priced(batch, price), _ANY_BUDGET)
            for price in self.multipliers
        ]
        return torch.stack(losses).mean(dim=0)

    def _primal(self) -> PrimalPolicy:
        return PrimalPolicy(layer=self.layer, estimator=self.estimator, objective="revenue")


def check_multipliers(multipliers: object) -> None:
    """Refuse what is no tuple of prices, one at least, all >= 0; raise `InvalidValueError`."""
    prices = multipliers if isinstance(multipliers, tuple | list) else ()
    if not prices or not all(isinstance(one, Real) and 0 <= float(one) < inf for one in prices):
        raise InvalidValueError(
            "multipliers must be a tuple of numbers, one at least, all >= 0 and finite, as "
            f"(0.1, 1.0) is, got {multipliers!r}."
        )


def _priced(batch: LoggedBatch, price: float) -> LoggedBatch:
    """Return the same rows with the cost taken off the revenue."""
    baseline, spent = batch.baseline_revenue, batch.baseline_cost
    return replace(
        batch,
        revenue=batch.revenue - price * batch.cost,
        cost=torch.zeros_like(batch.cost),
        baseline_revenue=None if baseline is None or spent is None else baseline - price * spent,
        baseline_cost=None if spent is None else torch.zeros_like(spent),
    )
