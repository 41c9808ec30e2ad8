"""`summarise_weights`: how much the rows of each arm count in a Student-t regression."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.abtest.robust.student_t import TParameters
from dfl.stats.arrays import Matrix, Vector, chunks

__all__ = ["WeightSummary", "summarise_weights"]

_HARDLY = 0.1


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
    for part in chunks(outcome.shape[0]):
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
