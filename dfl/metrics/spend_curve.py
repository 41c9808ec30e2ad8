"""`SpendCurve`: what a model's allocation costs and earns at every multiplier."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from dfl.checks import check_number
from dfl.data.uplift_data import PotentialOutcomes, UpliftData
from dfl.errors import InfeasibleBudgetError
from dfl.metrics.rows.plateaus import Events, Plateaus
from dfl.metrics.rows.policy_steps import PolicySteps
from dfl.metrics.rows.randomised_rows import PolicyEstimator, check_predictions, true_amounts
from dfl.solvers.passes.hull import hull_steps
from dfl.stats.arrays import Vector

__all__ = ["CurvePoint", "SpendCurve", "observed_curve", "true_curve"]


@final
@dataclass(frozen=True)
class CurvePoint:
    """What a model's allocation earns at one budget; amounts in currency per head.

    Args:
        multiplier: price of money at which the two mixed policies meet; 0 if the budget is
            not used up.
        cost: spend, at most the budget.
        value: revenue.
        mixed_with_cheapest: share of people given the cheapest treatment instead of the
            model's choice because no multiplier meets the budget, in [0, 1]; 0 means that the
            model's own allocation is feasible.
    """

    multiplier: float
    cost: float
    value: float
    mixed_with_cheapest: float


@final
@dataclass(frozen=True, eq=False)
class SpendCurve:
    """Spend and value per head on every plateau of the multiplier.

    At multiplier ``m`` everyone gets ``argmax_j revenue_j - m * cost_j`` of the predictions;
    spend and value are the estimated or the true ones of that choice. Plateau ``p`` holds for
    ``multiplier[p] <= m < multiplier[p - 1]``.

    Args:
        multiplier: lower end of each plateau, falling, the last 0. float64, shape ``(P,)``.
        cost: spend, in currency per head. Rises along the curve if predictions are good, but
            not strictly: it is not the predicted spend. float64, shape ``(P,)``.
        value: revenue, in currency per head. float64, shape ``(P,)``.
        cheapest_cost: mean cost of the treatment with the smallest mean cost.
        cheapest_value: its mean revenue.

    Source:
        Zhou et al. (2025), arXiv:2510.19517, Algorithm 6 (EOM) at one budget. Deviations: all
        multipliers at once by sorting, a mix of two plateaus that spends the budget exactly
        instead of one of them, and a feasible answer where no multiplier meets the budget.
    """

    multiplier: Tensor
    cost: Tensor
    value: Tensor
    cheapest_cost: float
    cheapest_value: float

    def at(self, per_head: float) -> CurvePoint:
        """Return what is earned at a budget.

        The smallest multiplier whose spend is within the budget, by the rule that training
        follows too (`dfl.solvers.prices.crossing`). Just below it the budget is exceeded; the
        two policies are mixed at random so that the budget is spent exactly. A budget that
        multiplier 0 leaves unspent gives the unconstrained policy. If every multiplier
        overspends, the policy of least spend is mixed with the cheapest treatment.

        Args:
            per_head: budget, in currency per head.

        Raises:
            InvalidValueError: if the budget is NaN.
            InfeasibleBudgetError: if even the cheapest treatment for everyone costs more.
        """
        check_number("per_head", per_head, finite=False)
        if per_head < self.cheapest_cost - 1e-6 * float(self.cost.abs().max()):  # rounded prices
            raise InfeasibleBudgetError(
                f"budget must be at least the {self.cheapest_cost:g} per head that the cheapest "
                f"treatment costs, got {per_head:g}; raise the budget."
            )
        (mix,) = Plateaus(
            self.cost.numpy(), self.value.numpy(), self.cheapest_cost, self.cheapest_value
        ).mixes([max(per_head, self.cheapest_cost)])
        multiplier = float(self.multiplier[mix.plateau])
        return CurvePoint(multiplier, mix.cost, mix.value, mix.cheapest)


def observed_curve(
    data: UpliftData,
    revenue: Tensor,  # (N, M)
    cost: Tensor,  # (N, M)
    *,
    estimator: PolicyEstimator = "doubly-robust",
) -> SpendCurve:
    """Estimate a model's spend curve from randomised logs.

    Args:
        data: randomised rows, or rows of known propensity.
        revenue: predicted revenue, in currency. Shape ``(N, M)``.
        cost: predicted cost, in currency. Shape ``(N, M)``.
        estimator: of spend and value; see `expected_outcome`.

    Raises:
        ShapeError: if predictions do not fit the rows.
        InvalidValueError: if predictions are not finite, the rows are observational and carry
            no propensity, or the estimator is unknown.
    """
    steps = PolicySteps.of(data, revenue, cost, estimator)
    return _curve(steps.events, steps.plateaus(steps.rows.as_logged()))


def true_curve(truth: PotentialOutcomes, revenue: Tensor, cost: Tensor) -> SpendCurve:
    """Compute a model's true spend curve: predicted decisions, true cost and revenue.

    Everyone walks down the hull of the predictions, from the predicted cheapest treatment to
    the predicted best one, as the multiplier falls.

    Args:
        truth: expected revenue and cost of everyone under every treatment.
        revenue: predicted revenue, in currency. Shape ``(N, M)``.
        cost: predicted cost, in currency. Shape ``(N, M)``.

    Raises:
        ShapeError: if predictions do not fit the truth.
        DTypeError: if predictions are no tensors of real numbers.
        InvalidValueError: if predictions are not finite, or there is nobody.
    """
    check_predictions(revenue, cost, *truth.revenue.shape)
    true_cost, true_value = (one.numpy() for one in true_amounts(truth))
    steps = hull_steps(*(one.detach().to("cpu", _walked(one.dtype)) for one in (revenue, cost)))
    events = Events.at(steps.multiplier.numpy())
    row, before, after = (x.numpy() for x in (steps.row, steps.previous, steps.treatment))
    base = np.arange(len(true_cost)), steps.base.numpy()

    def walk(amount: Vector) -> Vector:
        change = amount[row, after] - amount[row, before]
        return events.accumulate(float(amount[base].sum()), change[events.order]) / len(amount)

    arm_cost, arm_value = true_cost.mean(axis=0), true_value.mean(axis=0)
    cheapest = int(arm_cost.argmin())
    reference = float(arm_cost[cheapest]), float(arm_value[cheapest])
    return _curve(events, Plateaus(walk(true_cost), walk(true_value), *reference))


def _walked(kind: torch.dtype) -> torch.dtype:
    """Return the dtype in which predictions are walked along: any but float32 in float64."""
    return kind if kind == torch.float32 else torch.float64


def _curve(events: Events, plateaus: Plateaus) -> SpendCurve:
    return SpendCurve(
        torch.from_numpy(events.multiplier),
        torch.from_numpy(plateaus.cost),
        torch.from_numpy(plateaus.value),
        plateaus.cheapest_cost,
        plateaus.cheapest_value,
    )
