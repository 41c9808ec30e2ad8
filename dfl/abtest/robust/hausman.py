"""`same_effect_check`: does a robust estimate measure the same effect as the mean?"""

import math
from dataclasses import dataclass
from typing import final

from dfl.abtest.rows.contrast import Contrast
from dfl.errors import InvalidValueError
from dfl.stats.arrays import Vector
from dfl.stats.intervals import two_sided_p_value

__all__ = ["SameEffectCheck", "same_effect_check"]

_DETECTABLE = 2.8015852181129  # 97.5 % plus 80 % quantiles of the normal law


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
    variance = contrast.variance(robust[1] - mean[1])
    if not variance > 0:
        raise InvalidValueError("the two estimates are the same in every row; nothing to compare.")
    error = math.sqrt(variance)
    return SameEffectCheck(
        difference=difference,
        standard_error=error,
        p_value=two_sided_p_value(difference / error),
        detectable=_DETECTABLE * error,
    )
