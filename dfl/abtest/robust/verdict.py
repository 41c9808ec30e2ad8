"""What a robust estimate may be used for: check against the mean, weights, a sentence."""

import math
import sys
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import final

import numpy as np

from dfl.abtest.robust.student_t import TParameters
from dfl.abtest.rows.contrast import Contrast
from dfl.errors import InvalidValueError
from dfl.scale import PARTS
from dfl.stats.arrays import Matrix, Vector
from dfl.stats.dealt_fits import deal_fits

__all__ = [
    "SameEffectCheck",
    "WeightSummary",
    "bulk_verdict",
    "dealt_check",
    "same_effect_check",
    "summarise_weights",
]

_POWER = 0.8416212335729143  # 80 % quantile of the normal law
_USUAL = 1.959963984540054  # 97.5 % quantile
_HARDLY = 0.1
_ALARM = 0.05
_UNBALANCED = 3.0  # standard errors
_DEALT = 4_000  # rows up to which an alarm of the check is tried by deals
_SHARP = 0.5  # of the estimate: a check that misses more than that says little


@final
@dataclass(frozen=True, kw_only=True)
class SameEffectCheck:
    """The difference between a robust estimate and the estimate of the mean effect.

    Args:
        difference: robust minus mean estimate, in units of the metric.
        standard_error: of the difference.
        p_value: of a difference this large if both measure the same effect.
        detectable: the difference that the check would notice with probability 0.8 at 5 %.
    """

    difference: float
    standard_error: float
    p_value: float
    detectable: float


def same_effect_check(
    contrast: Contrast,
    robust: tuple[float, Vector],
    mean: tuple[float, Vector],
    design: Matrix | None = None,
) -> SameEffectCheck:
    """Compare two estimates on the same rows, row by row.

    The standard error is that of the difference of the influences, so what moves both
    estimates alike cancels; it and its law make up for few, uneven and skewed units as those of
    effects do, see `Contrast.spread`.

    Args:
        contrast: the rows.
        robust: estimate and influences of the robust estimator. Shape of influences ``(n,)``.
        mean: the same of an estimator of the mean effect.
        design: regressors that both were fitted with. Shape ``(k, n)``.

    Raises:
        InvalidValueError: if the two never differ, so that there is nothing to test, one unit
            outweighs its arm, or there are too few.

    Source:
        Hausman (1978), doi:10.2307/1913827, with the variance from influence functions.
    """
    difference = robust[0] - mean[0]
    apart = np.subtract(robust[1], mean[1], out=contrast.empty(contrast.rows))
    variance = contrast.variance(apart)
    if not variance > 0:
        raise InvalidValueError("the two estimates are the same in every row; nothing to compare.")
    spread = contrast.spread(math.sqrt(variance), apart, bessel=False, design=design)
    low, high = spread.interval(0.0, _USUAL, 1 - _ALARM)
    return SameEffectCheck(
        difference=difference,
        standard_error=spread.error,
        p_value=spread.p_value(difference),
        detectable=(high - low) / 2 + _POWER * spread.error,
    )


def dealt_check(
    check: SameEffectCheck, contrast: Contrast, design: Matrix, outcome: Vector, found: TParameters
) -> SameEffectCheck:
    """Return a check whose alarm was tried by fitting units dealt anew, see `deal_fits`.

    `same_effect_check` deals the fitted parts alone, and misses that each fit follows the outliers
    of its own arm: of 400 lognormal units, 20 treated and without effect, it raises alarms in 21 %
    of experiments, deals in 5 %. What raises none, or has more than 4,000 rows, stays.

    Args:
        check: by the parts.
        contrast: arms and clusters.
        design: ones, treatment and, where there is one, the prediction. Shape ``(k, n)``.
        outcome: in a unit of about one residual. Shape ``(n,)``.
        found: Student-t parameters.
    """
    if check.p_value >= _ALARM or contrast.rows > _DEALT:
        return check
    dealt = deal_fits(design, outcome, contrast.clusters, (found.coefficients, found.nu))
    if dealt is None:
        return check
    p_value, reach = dealt
    seen = reach * abs(check.difference) + _POWER * check.standard_error
    return replace(
        check, p_value=max(check.p_value, p_value), detectable=max(check.detectable, seen)
    )


@final
@dataclass(frozen=True, kw_only=True)
class WeightSummary:
    """Weights of the rows, arm by arm.

    Args:
        hardly_counted: share of all rows with a weight below 0.1.
        mean_treated: mean weight of the treated.
        mean_control: mean weight of the control.
        z: difference of the two in standard errors, or what a normal law makes of its p-value
            where these are corrected, see `Contrast.spread`; far from 0 hints at an effect in the
            tail.
    """

    hardly_counted: float
    mean_treated: float
    mean_control: float
    z: float


def summarise_weights(
    contrast: Contrast, regressors: Matrix, outcome: Vector, fitted: TParameters
) -> WeightSummary:
    """Return the weights' share near 0 and their means by arm.

    Args:
        contrast: the rows.
        regressors: shape ``(k, n)``.
        outcome: shape ``(n,)``.
        fitted: parameters.

    Raises:
        InvalidValueError: if one unit outweighs its arm, or there are too few.
    """
    weights: Vector = contrast.empty(contrast.rows)
    hardly = treated = total = 0.0
    for part in PARTS.of(contrast.rows):
        residual = outcome[part] - fitted.coefficients @ regressors[:, part]
        weights[part] = (fitted.nu + 1) / (fitted.nu + residual * residual / fitted.variance)
        hardly += int(np.count_nonzero(weights[part] < _HARDLY))
        treated += float(weights[part] @ contrast.treated[part])
        total += float(weights[part].sum())
    apart, influence = contrast.mean_difference(weights)
    return WeightSummary(
        hardly_counted=hardly / contrast.rows,
        mean_treated=treated / contrast.treated_rows,
        mean_control=(total - treated) / (contrast.rows - contrast.treated_rows),
        z=_in_errors(contrast, apart, influence),
    )


def _in_errors(contrast: Contrast, apart: float, influence: Vector) -> float:
    """Return a difference of means in standard errors of a normal law."""
    error = math.sqrt(contrast.variance(influence))
    if not error > 0:
        return 0.0
    spread = contrast.spread(error, influence, bessel=True, design=None)
    half = max(spread.p_value(apart) / 2, sys.float_info.min)
    return math.copysign(NormalDist().inv_cdf(half), apart)


def bulk_verdict(estimate: float, check: SameEffectCheck, weights: WeightSummary) -> str:
    """Say whether the effect on the bulk of users may stand for the mean effect.

    Args:
        estimate: of the effect on the bulk, in units of the metric.
        check: against the estimate of the mean effect.
        weights: how much the rows count.
    """
    parts = [
        "STATE measures the effect on the bulk of users: "
        f"{weights.hardly_counted:.2%} of the rows hardly count.",
        _check_sentence(estimate, check),
    ]
    if abs(weights.z) > _UNBALANCED:
        more = "more" if weights.z < 0 else "fewer"
        parts.append(
            f"The treated arm has {more} outliers than the control, so something happens in the "
            "tail that STATE leaves out."
        )
    return " ".join(parts)


def _check_sentence(estimate: float, check: SameEffectCheck) -> str:
    mean = f"the mean effect by least squares is {estimate - check.difference:.4g}"
    if check.p_value < _ALARM:
        return (
            f"It is NOT the mean effect: {mean} (check p = {check.p_value:.2g}). Do not multiply "
            "it by the number of users; report the mean effect with its own error beside it."
        )
    blind = f"a difference below {check.detectable:.4g} would likely go unnoticed"
    if check.detectable > _SHARP * abs(estimate):
        return (
            f"Whether it is also the mean effect cannot be told: {mean} (check p = "
            f"{check.p_value:.2g}), but {blind}, more than half of the estimate. Call it an effect "
            "on the bulk of users, not a mean effect."
        )
    return (
        f"No sign that it differs from the mean effect: {mean} (check p = {check.p_value:.2g}; "
        f"{blind})."
    )
