"""`DualPolicy`: the value of the softened allocation at given prices of money (DPL)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf
from numbers import Real
from typing import final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.layers.base import AbstractLayer, BudgetLike
from dfl.layers.pricing.options import Price
from dfl.layers.pricing.priced import scores
from dfl.layers.pricing.problems import ready
from dfl.layers.softmax import Softmax
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.estimators.policy_value import Estimator, check_every_treatment_seen
from dfl.losses.primal_policy import PrimalPolicy

__all__ = ["DualPolicy", "along_prices", "check_multipliers"]

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
    def uses_budget(self) -> bool:
        """False: prices are given."""
        return False

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
        prices = along_prices(self.multipliers, revenue)
        priced = scores(revenue, cost, prices)
        losses = self._primal()(
            priced, torch.zeros_like(priced), _priced(batch, prices), _ANY_BUDGET
        )
        return losses.mean(dim=0)

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


def along_prices(multipliers: Sequence[float], revenue: Tensor) -> Tensor:
    """Return prices along a new leading axis of predictions ``(..., N, M)``. Shape ``(P, ...)``."""
    leading, dtype, device = revenue.shape[:-2], revenue.dtype, revenue.device
    # Plain tensors where `torch.func.vmap` maps the predictions, so that rows can be checked.
    each = [torch.full(leading, float(m), dtype=dtype, device=device) for m in multipliers]
    return torch.stack(each)


def _priced(batch: LoggedBatch, prices: Tensor) -> LoggedBatch:
    """Return the same rows at each price ``(P, ...)``, the cost taken off the revenue."""
    each = batch.repeated(len(prices))
    baseline, spent = each.baseline_revenue, each.baseline_cost
    return replace(
        each,
        revenue=each.revenue - prices[..., None] * each.cost,
        cost=torch.zeros_like(each.cost),
        baseline_revenue=(
            None if baseline is None or spent is None else scores(baseline, spent, prices)
        ),
        baseline_cost=None if spent is None else torch.zeros_like(spent),
    )
