"""What a model gains at every budget: over the cheapest treatment, and over the best mix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_number
from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError
from dfl.metrics.constant_mix import best_mix_shares
from dfl.metrics.eom import ExpectedOutcome, eom_curve
from dfl.metrics.rows.constant_policy import ConstantPolicies
from dfl.stats.bands import simultaneous_factor
from dfl.stats.bootstrap import DEFAULT_BOOTSTRAP, Bootstrap, Estimate
from dfl.stats.paired import PairedComparison, paired_difference

__all__ = ["GainCurve", "budget_needed", "gain_curve", "integrated_difference"]


@final
@dataclass(frozen=True, eq=False)
class GainCurve:
    """Gains per head at rising budgets, each with its error; bands for the whole curve.

    Args:
        outcomes: what the model earns, budgets rising.
        over_cheapest: what it earns more than the cheapest treatment for everyone.
        over_mix: what it earns more than the best constant mix at the same budget.
        factor: standard errors to either side of `over_cheapest` within which the whole curve
            lies at the level of the bootstrap; one point alone needs fewer.
        mix_factor: the same for `over_mix`.
    """

    outcomes: tuple[ExpectedOutcome, ...]
    over_cheapest: tuple[Estimate, ...]
    over_mix: tuple[Estimate, ...]
    factor: float
    mix_factor: float

    @property
    def budgets(self) -> tuple[float, ...]:
        """Money per head, in currency, rising."""
        return tuple(one.budget for one in self.outcomes)


def gain_curve(
    data: UpliftData,
    revenue: Tensor,  # (N, M)
    cost: Tensor,  # (N, M)
    *,
    points: int = 21,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> GainCurve:
    """Estimate a model's gains from the cheapest to the dearest treatment for everyone.

    Any number of treatments; costs may be random, and are read off the logs while the model
    decides by predicted ones. Doubly robust, see `expected_outcome`.

    Args:
        data: randomised rows, or rows of known propensity, that no part of the model saw.
        revenue: predicted revenue, in currency. Shape ``(N, M)``.
        cost: predicted cost, in currency. Shape ``(N, M)``.
        points: number of budgets, >= 2.
        bootstrap: draws, level and seed.

    Raises:
        ShapeError: if predictions do not fit the rows.
        InvalidValueError: as `eom_curve`.

    Source:
        Sverdrup, Wu, Athey and Wager (2024), arXiv:2306.11979 (Qini curves of several arms).
        Deviations: budgets are met in observed costs; bootstrap of rows instead of half-samples.
    """
    outcomes = eom_curve(data, revenue, cost, points=points, bootstrap=bootstrap)
    budgets = [Budget(per_head=one.budget) for one in outcomes]
    constant = ConstantPolicies.of(data, budgets, "doubly-robust", bootstrap)
    mixes = constant.outcomes(best_mix_shares)
    level = bootstrap.level
    # At the first budget the mix is the cheapest treatment for everyone; a draw in which that costs
    # less would mix in others.
    cheapest = np.array(mixes[0].shares)
    nobody = constant.outcomes(lambda *_: cheapest)[0].estimate
    over_cheapest, over_mix = (
        tuple(
            paired_difference(one.estimate, other, level=level).estimate
            for one, other in zip(outcomes, others, strict=True)
        )
        for others in ([nobody] * points, [mix.estimate for mix in mixes])
    )
    factors = simultaneous_factor(over_cheapest, level), simultaneous_factor(over_mix, level)
    return GainCurve(outcomes, over_cheapest, over_mix, *factors)


def integrated_difference(
    first: GainCurve, second: GainCurve, *, level: float = 0.95
) -> PairedComparison:
    """Compare two models over all budgets: mean of the difference between their curves.

    ``integral of (first - second) over the budget / range of the budget``, trapezoids.

    Args:
        first: of one model.
        second: of another one, same rows, draws and points.
        level: confidence level, in (0, 1).

    Raises:
        InvalidValueError: if rows, draws or points differ, or ``level`` is out of range.
    """
    if len(first.budgets) != len(second.budgets):
        raise InvalidValueError(
            f"two curves can be compared on the same points, got {len(first.budgets)} and "
            f"{len(second.budgets)}."
        )
    return paired_difference(_mean_over(first), _mean_over(second), level=level)


def _mean_over(curve: GainCurve) -> Estimate:
    budget = torch.tensor(curve.budgets, dtype=torch.float64)
    width = budget[-1] - budget[0]
    if not bool(width > 0):  # all treatments cost the same
        return curve.outcomes[0].estimate
    estimates = [one.estimate for one in curve.outcomes]
    values = torch.tensor([one.value for one in estimates], dtype=torch.float64)
    draws = torch.stack([one.draws for one in estimates])
    value, drawn = (torch.trapezoid(one, budget, dim=0) / width for one in (values, draws))
    first = estimates[0]
    error = float(drawn.std())
    reach = (first.high - first.value) / first.standard_error * error if first.standard_error else 0
    mean = float(value)
    return Estimate(mean, error, mean - reach, mean + reach, drawn, first.rows_key)


def budget_needed(curve: GainCurve, target: float) -> tuple[float, float, float]:
    """Return the smallest budget at which a model gains a target, with an interval.

    Between two points the curve is taken as straight. The interval holds the budgets of the
    middle 95 % of the draws; an end is infinite where the target is not reached.

    Args:
        curve: of the model.
        target: gain over the cheapest treatment, in currency per head.

    Returns:
        Budget per head, and the ends of its interval, in currency.

    Raises:
        InvalidValueError: if the target is NaN.
    """
    check_number("target", target, finite=False)
    budgets = curve.budgets
    found = _first_reaching(budgets, [one.value for one in curve.over_cheapest], target)
    draws = torch.stack([one.draws for one in curve.over_cheapest], dim=1).tolist()
    drawn = sorted(_first_reaching(budgets, one, target) for one in draws)
    last = len(drawn) - 1
    return found, drawn[round(0.025 * last)], drawn[round(0.975 * last)]


def _first_reaching(budgets: Sequence[float], values: Sequence[float], target: float) -> float:
    for k, value in enumerate(values):
        if value >= target:
            if k == 0:
                return budgets[0]
            share = (target - values[k - 1]) / (value - values[k - 1])
            return budgets[k - 1] + share * (budgets[k] - budgets[k - 1])
    return float("inf")
