"""`Huber`: regression on treatment and prediction by Huber's loss."""

from dataclasses import dataclass, field
from typing import final

import numpy as np

from dfl.abtest.base import AbstractEstimator, Fit
from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.regression.linear import TREATMENT, huber_regression, regressors, solve
from dfl.abtest.rows.contrast import Contrast, Linearisation, check_linearisation
from dfl.checks import check_count, check_number
from dfl.errors import InvalidValueError
from dfl.scale import PARTS
from dfl.stats.arrays import Vector
from dfl.stats.quantiles import quantiles

__all__ = ["Huber"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Huber(AbstractEstimator):
    """Coefficient of T in the regression on ``(1, T, g)`` by Huber's loss.

    Sandwich errors, the scale taken as known. Like STATE, it measures the effect on the bulk
    of users, and less of the tail's. Without prediction and covariates it regresses on T alone.

    Args:
        threshold: residuals above so many scales count less, > 0.
        max_iter: largest number of steps, >= 1.
        cross_fit: makes the prediction where the contrast has covariates only.
        linearisation: how a ratio becomes one number per row, see `linearise_arms`.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Huber (1964), doi:10.1214/aoms/1177703732; in experiments: Wang and Burke (2019),
        arXiv:1905.09252.
    """

    threshold: float = 1.345
    max_iter: int = 200
    cross_fit: CrossFit = field(default_factory=CrossFit)
    linearisation: Linearisation = "pooled"

    def __post_init__(self) -> None:
        """Check the options."""
        check_number("threshold", self.threshold, above=0, finite=False)
        check_count("max_iter", self.max_iter, at_least=1)
        check_linearisation(self.linearisation)

    def fit(self, contrast: Contrast) -> Fit:
        """Return the coefficient of the treatment.

        Raises:
            InvalidValueError: if half of the outcomes are the same, the prediction is constant, or
                an arm lies beyond the threshold.
            NotConvergedError: if ``max_iter`` is reached.
        """
        rows = regressors(contrast, self.cross_fit)
        count, given = contrast.rows, contrast.outcome
        # Around its middle: a large offset, such as that of dates, would cost digits.
        (middle,) = quantiles(given.__getitem__, count, [0.5])
        outcome = np.subtract(given, middle, out=contrast.empty(count))
        found = huber_regression(rows, outcome, threshold=self.threshold, max_iter=self.max_iter)
        limit = self.threshold * found.scale
        bread, within = np.zeros((len(rows), len(rows))), 0
        influence: Vector = contrast.empty(count)
        for part in PARTS.of(count):
            residual = outcome[part] - found.coefficients @ rows[:, part]
            inside = np.abs(residual) <= limit
            bread += (rows[:, part] * inside) @ rows[:, part].T
            within += int(inside.sum())
            np.clip(residual, -limit, limit, out=influence[part])
        if not 0 < bread[TREATMENT, TREATMENT] < within:
            raise InvalidValueError(
                "metric must have residuals in the bulk in both arms for huber, all of one arm lie "
                "beyond its threshold; use winsorised or difference-in-means."
            )
        row = count * solve(bread, np.eye(len(rows))[TREATMENT])
        for part in PARTS.of(count):
            influence[part] *= row @ rows[:, part]
        return Fit(
            estimate=float(found.coefficients[TREATMENT]),
            standard_error=contrast.standard_error(influence, size=contrast.bulk),
            influence=influence,
            design=rows,
            least_units=10,
            diagnostics={
                "scale": found.scale,
                "iterations": float(found.iterations),
                "downweighted": 1 - within / count,
            },
            caveat="Huber's loss measures the effect on the bulk of users; see state for a check.",
        )
