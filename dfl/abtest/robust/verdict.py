"""What a robust estimate may be used for: check against the mean, weights, a sentence."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.abtest.robust.student_t import TParameters
from dfl.abtest.rows.contrast import Contrast
from dfl.errors import InvalidValueError
from dfl.scale import PARTS
from dfl.stats.arrays import Matrix, Vector
from dfl.stats.intervals import two_sided_p_value

__all__ = [
    "SameEffectCheck",
    "WeightSummary",
    "bulk_verdict",
    "same_effect_check",
    "summarise_weights",
]

_DETECTABLE = 2.8015852181129  # 97.5 % plus 80 % quantiles of the normal law
_HARDLY = 0.1
_ALARM = 0.05
_UNBALANCED = 3.0  # standard errors
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
) -> SameEffectCheck:
    """Compare two estimates on the same rows, row by row.

    The standard error is that of the difference of the influences, so what moves both
    estimates alike cancels.

    Args:
        contrast: the rows.
        robust: estimate and influences of the robust estimator. Shape of influences ``(n,)``.
        mean: the same of an estimator of the mean effect.

    Raises:
        InvalidValueError: if the two never differ, so that there is nothing to test.

    Source:
        Hausman (1978), doi:10.2307/1913827, with the variance from influence functions.
    """
    difference = robust[0] - mean[0]
    apart = np.subtract(robust[1], mean[1], out=contrast.empty(contrast.rows))
    variance = contrast.variance(apart)
    if not variance > 0:
        raise InvalidValueError("the two estimates are the same in every row; nothing to compare.")
    error = math.sqrt(variance)
    return SameEffectCheck(
        difference=difference,
        standard_error=error,
        p_value=two_sided_p_value(difference / error),
        detectable=_DETECTABLE * error,
    )


@final
@dataclass(frozen=True, kw_only=True)
class WeightSummary:
    """Weights of the rows, arm by arm.

    Args:
        hardly_counted: share of all rows with a weight below 0.1.
        mean_treated: mean weight of the treated.
        mean_control: mean weight of the control.
        z: difference of the two in standard errors, rows taken as independent; far from 0
            hints at an effect in the tail.
    """

    hardly_counted: float
    mean_treated: float
    mean_control: float
    z: float


def summarise_weights(
    regressors: Matrix, outcome: Vector, fitted: TParameters, treatment: int
) -> WeightSummary:
    """Return the weights' share near 0 and their means by arm.

    Args:
        regressors: shape ``(k, n)``.
        outcome: shape ``(n,)``.
        fitted: parameters.
        treatment: position of the 0 or 1 of the treatment among the regressors.
    """
    sums = np.zeros((2, 3))  # treated and all: rows, weights, squared weights
    hardly = 0
    for part in PARTS.of(outcome.shape[0]):
        block = regressors[:, part]
        residual = outcome[part] - fitted.coefficients @ block
        weight = (fitted.nu + 1) / (fitted.nu + residual * residual / fitted.variance)
        hardly += int(np.count_nonzero(weight < _HARDLY))
        treated, square = block[treatment], weight * weight
        sums[0] += float(treated.sum()), float(weight @ treated), float(square @ treated)
        sums[1] += len(weight), float(weight.sum()), float(square.sum())
    sums[1] -= sums[0]
    means = sums[:, 1] / sums[:, 0]
    errors = (sums[:, 2] / sums[:, 0] - means**2) / sums[:, 0]
    error = math.sqrt(max(float(errors.sum()), 0.0))
    return WeightSummary(
        hardly_counted=hardly / outcome.shape[0],
        mean_treated=float(means[0]),
        mean_control=float(means[1]),
        z=float(means[0] - means[1]) / error if error > 0 else 0.0,
    )


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
