"""`read_by_sums`: difference in means and CUPED from the moments of the arms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.abtest.base import AbstractEstimator
from dfl.abtest.cuped import Cuped, Slopes
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.errors import InvalidValueError
from dfl.stats.moments import Moments
from dfl.stats.soundness import refuse_copy

__all__ = ["ReadBySums", "is_by_sums", "read_by_sums"]

_ROUNDED = 16 * np.finfo(np.float64).eps  # share of a sum of squares that may be rounding


@final
@dataclass(frozen=True)
class ReadBySums:
    """A difference of means.

    Args:
        estimate: the difference.
        error: its standard error.
        control_value: mean of the control, or its ratio.
        diagnostics: numbers that say how the estimate came about.
    """

    estimate: float
    error: float
    control_value: float
    diagnostics: Mapping[str, float]


def is_by_sums(estimator: AbstractEstimator) -> bool:
    """Say whether `read_by_sums` is enough, where rows were randomised."""
    match estimator:
        case DifferenceInMeans(linearisation="delta"):
            return True
        case Cuped(columns=None, linearisation="delta"):
            return True
    return False


def read_by_sums(treated: Moments, control: Moments, *, ratio: bool, adjust: bool) -> ReadBySums:
    """Return the difference of the arms' means, with or without covariates taken out.

    Args:
        treated: moments of metric, denominator of a ratio, covariates.
        control: the same of the control.
        ratio: whether there is a denominator.
        adjust: take the covariates out, as `Cuped` does.

    Raises:
        InvalidValueError: if there is no error to speak of, no ratio, or nothing to adjust by.
    """
    arms = [_linearised(one, ratio=ratio) for one in (treated, control)]
    both = Moments.merged(arms)
    value = float(arms[1].mean[0])
    diagnostics: dict[str, float] = {}
    widens = 1.0
    if adjust:
        if len(both.mean) < 2:
            raise InvalidValueError("cuped needs covariates; without any use difference-in-means.")
        slopes = Slopes.of(arms)
        widens = slopes.widens
        before = sum(float(one.products[0, 0]) for one in arms)
        centre = np.concatenate([[0.0], both.mean[1:]])  # taken off first, or digits are lost
        weights = np.concatenate([[1.0], -slopes.theta])[None]
        arms = [
            one.mapped(np.eye(len(centre)), -centre).mapped(weights, np.zeros(1)) for one in arms
        ]
        if not sum(float(one.products[0, 0]) for one in arms) > _ROUNDED * before:
            refuse_copy()
        diagnostics["explained_variance"] = slopes.explained
        if len(slopes.theta) == 1:
            diagnostics["theta"] = float(slopes.theta[0])
    variance = sum(float(one.products[0, 0]) / (one.rows - 1) / one.rows for one in arms)
    size = abs(value) + math.sqrt(float(both.products[0, 0]) / both.rows)
    if not variance > (1e-14 * size) ** 2 / both.rows:
        refuse_copy()
    estimate = float(arms[0].mean[0] - arms[1].mean[0])
    return ReadBySums(estimate, widens * math.sqrt(variance), value, diagnostics)


def _linearised(arm: Moments, *, ratio: bool) -> Moments:
    """Return the moments of the outcome and the covariates; a ratio by the delta method."""
    if not ratio:
        return arm
    above, below = arm.mean[:2]
    if not below > 0:
        raise InvalidValueError(
            f"denominator must sum to more than 0 in every arm, got {below * arm.rows:g}; there "
            "is no ratio."
        )
    matrix = np.delete(np.eye(len(arm.mean)), 1, axis=0)
    matrix[0, :2] = 1 / below, -above / below**2
    constant = np.zeros(len(matrix))
    constant[0] = above / below
    return arm.mapped(matrix, constant)
