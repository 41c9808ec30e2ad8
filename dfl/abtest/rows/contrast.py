"""`Contrast`: one arm against the control, one number per unit."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from dfl.abtest.regression.cross_fit import CrossFit
from dfl.errors import InvalidValueError, ShapeError
from dfl.stats.arrays import Booleans, Integers, Matrix, Vector

__all__ = ["Contrast", "require_varying"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Contrast:
    """What every estimator reads: treated and control units with one outcome each.

    Args:
        treated: which rows are treated. Shape ``(n,)``.
        outcome: the metric, or the linearised ratio; finite. Shape ``(n,)``.
        covariates: known before the experiment, finite. Shape ``(n, p)``, or None.
        prediction: of the outcome from covariates, out of fold. Shape ``(n,)``, or None.
        clusters: number 0, 1, ... of the unit that was randomised, where a row is less than
            that; errors then hold for rows that depend on each other within it. Shape
            ``(n,)``, or None.

    Raises:
        ShapeError: if shapes do not agree.
        InvalidValueError: if an arm has less than 2 units, or the outcome is constant.
    """

    treated: Booleans
    outcome: Vector
    covariates: Matrix | None = None
    prediction: Vector | None = None
    clusters: Integers | None = None

    def __post_init__(self) -> None:
        """Check shapes and that there is something to compare."""
        rows = self.outcome.shape[0]
        for name in ("treated", "covariates", "prediction", "clusters"):
            column = getattr(self, name)
            if column is not None and column.shape[0] != rows:
                raise ShapeError(f"{name} must have {rows} rows, got {column.shape[0]}.")
        for arm, units in (("treated", self.treated_units), ("control", self.control_units)):
            if units < 2:
                raise InvalidValueError(
                    f"the {arm} arm must have at least 2 units, got {units}; its error cannot be "
                    "estimated."
                )
        if self._range == 0:
            raise InvalidValueError(
                f"metric must vary, got {self.outcome[0]:g} in all {rows} rows; choose a metric "
                "that somebody moved."
            )

    @property
    def rows(self) -> int:
        """Number of rows in both arms."""
        return int(self.outcome.shape[0])

    @cached_property
    def _range(self) -> float:
        return float(np.ptp(self.outcome))

    @cached_property
    def treated_rows(self) -> int:
        """Number of treated rows."""
        return int(np.count_nonzero(self.treated))

    @cached_property
    def treated_units(self) -> int:
        """Number of treated units: clusters where there are any, else rows."""
        if self.clusters is None:
            return self.treated_rows
        return int(np.unique(self.clusters[self.treated]).size)

    @cached_property
    def control_units(self) -> int:
        """Number of units in the control arm: clusters where there are any, else rows."""
        if self.clusters is None:
            return self.rows - self.treated_rows
        return int(np.unique(self.clusters[~self.treated]).size)

    @cached_property
    def indicator(self) -> Vector:
        """1.0 for treated rows, 0.0 for the others. Shape ``(n,)``."""
        return self.treated.astype(np.float64)

    def variance(self, influence: Vector) -> float:
        """Return the variance of an estimate from what each row adds to it.

        ``sum_c (sum_{i in c} influence_i)^2 / n^2`` over clusters ``c``, times ``C / (C - 1)``
        for ``C`` clusters; without clusters every row is its own and the factor is 1.

        Args:
            influence: derivative of ``n`` times the estimate with respect to the weight of
                each row. Shape ``(n,)``.
        """
        if self.clusters is None:
            return float(influence @ influence) / self.rows**2
        sums = np.bincount(self.clusters, weights=influence)
        count = self.treated_units + self.control_units
        return float(sums @ sums) / self.rows**2 * count / (count - 1)

    def standard_error(self, *influences: Vector) -> float:
        """Return the root of the summed variances of uncorrelated parts of an estimate.

        Raises:
            InvalidValueError: if nothing varies, so that there is no error to speak of.
        """
        variance = sum(self.variance(influence) for influence in influences)
        # Below that, all digits are rounding errors of the largest outcome.
        if not variance > (1e-15 * self._range) ** 2 / self.rows:
            raise InvalidValueError(
                "metric must vary within the arms, its difference has a standard error of 0; a "
                "covariate may be a copy of the metric."
            )
        return math.sqrt(variance)

    def mean_difference(self, values: Vector) -> tuple[float, Vector]:
        """Return the difference of the arms' means, and the influence of each row.

        The influence carries Bessel's correction, so that its variance is ``s1^2 / n1 +
        s0^2 / n0``; with clusters `variance` corrects instead.

        Args:
            values: one per row. Shape ``(n,)``.
        """
        ones = self.treated_rows
        zeros = self.rows - ones
        total = float(values.sum())
        treated_sum = float(values @ self.indicator)
        treated_mean, control_mean = treated_sum / ones, (total - treated_sum) / zeros
        scales = [self.rows / ones, self.rows / zeros]
        if self.clusters is None:
            scales[0] *= math.sqrt(ones / (ones - 1))
            scales[1] *= math.sqrt(zeros / (zeros - 1))
        influence = np.where(
            self.treated, (values - treated_mean) * scales[0], (control_mean - values) * scales[1]
        )
        return treated_mean - control_mean, influence

    def predicted(self, cross_fit: CrossFit) -> Vector | None:
        """Return the prediction, cross-fitted now if only covariates are there, else None."""
        if self.prediction is not None or self.covariates is None:
            return self.prediction
        return cross_fit.predict(self.covariates, self.outcome, clusters=self.clusters)

    def required_prediction(self, name: str, cross_fit: CrossFit) -> Vector:
        """Return the prediction of an estimator that is nothing without one.

        Args:
            name: of the estimator, for the error.
            cross_fit: makes the prediction where only covariates are there.

        Raises:
            InvalidValueError: if there are neither prediction nor covariates, or the
                prediction is the same for everyone.
        """
        prediction = self.predicted(cross_fit)
        if prediction is None:
            raise InvalidValueError(
                f"{name} needs covariates, or a prediction made from them; without either use "
                "difference-in-means."
            )
        return require_varying(prediction)


def require_varying(prediction: Vector) -> Vector:
    """Return a prediction that tells units apart.

    Raises:
        InvalidValueError: if it is the same for all rows.
    """
    if float(np.ptp(prediction)) == 0:
        raise InvalidValueError(
            f"prediction must vary, got {prediction[0]:g} for every row: the covariates explain "
            "nothing to this regressor. Use difference-in-means, or another regressor."
        )
    return prediction
