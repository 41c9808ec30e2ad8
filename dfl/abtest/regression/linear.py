"""Linear regressions on the treatment: by least squares and by Huber's loss."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.rows.contrast import Contrast
from dfl.checks import check_count, check_number
from dfl.errors import DflError, InvalidValueError, NotConvergedError
from dfl.scale import PARTS, Empty, some_rows
from dfl.stats.arrays import Matrix, Vector
from dfl.stats.quantiles import quantiles
from dfl.stats.soundness import require_varying

__all__ = [
    "TREATMENT",
    "HuberFit",
    "LeastSquares",
    "check_stop",
    "huber_regression",
    "least_squares",
    "regressors",
    "solve",
]

TREATMENT = 1  # position of the treatment among the regressors
_SCALED = 50  # steps
_COLLAPSED = 1e-9
_SAMPLE = 20_000
_NORMAL_MAD = 0.6744897501960817  # median of |x| for a standard normal x


def regressors(contrast: Contrast, cross_fit: CrossFit) -> Matrix:
    """Return ones, treatment and, where there is one, the standardised prediction, as rows.

    Args:
        contrast: the rows.
        cross_fit: makes the prediction where the contrast has covariates only.

    Returns:
        Shape ``(2, n)`` or ``(3, n)``. Standardising changes neither the treatment's
        coefficient nor the fit.

    Raises:
        InvalidValueError: if the prediction is constant.
    """
    prediction = contrast.predicted(cross_fit)
    rows: Matrix = contrast.empty((2 if prediction is None else 3, contrast.rows))
    rows[0] = 1
    rows[TREATMENT] = contrast.treated
    if prediction is not None:
        np.subtract(require_varying(prediction), prediction.mean(), out=rows[2])
        rows[2] /= math.sqrt(float(rows[2] @ rows[2]) / contrast.rows)
    return rows


@final
@dataclass(frozen=True, eq=False)
class LeastSquares:
    """An ordinary least-squares fit.

    Args:
        coefficients: one per regressor. Shape ``(k,)``.
        gram: ``sum_i d_i d_i'``. Shape ``(k, k)``.
        variance: mean squared residual, divided by n.
    """

    coefficients: Vector
    gram: Matrix
    variance: float

    def residual(self, regressors: Matrix, outcome: Vector) -> Vector:
        """Return ``outcome - coefficients @ regressors``. Shape ``(n,)``."""
        fitted: Vector = self.coefficients @ regressors
        return np.subtract(outcome, fitted, out=fitted)

    def influence(
        self, regressors: Matrix, outcome: Vector, index: int, empty: Empty = np.empty
    ) -> Vector:
        """Return what each row adds to ``n`` times one coefficient.

        ``n * ((sum_i d_i d_i')^-1 d_i)_index * residual_i``; its variance is the
        heteroscedasticity-robust one, HC0.

        Args:
            regressors: shape ``(k, n)``.
            outcome: shape ``(n,)``.
            index: of the coefficient.
            empty: makes the array that is returned.
        """
        unit = np.eye(len(self.coefficients))[index]
        row = outcome.shape[0] * solve(self.gram, unit)
        influence: Vector = empty(outcome.shape[0])
        for part in PARTS.of(outcome.shape[0]):
            block = regressors[:, part]
            np.multiply(row @ block, self.residual(block, outcome[part]), out=influence[part])
        return influence


def least_squares(regressors: Matrix, outcome: Vector) -> LeastSquares:
    """Fit ``outcome = coefficients @ regressors`` by the normal equations.

    Args:
        regressors: one row per regressor, about centred where an intercept is among them, as
            the normal equations square the condition number. Shape ``(k, n)``.
        outcome: shape ``(n,)``.

    Raises:
        InvalidValueError: if the regressors depend on each other.
    """
    gram, moment = regressors @ regressors.T, regressors @ outcome
    coefficients = solve(gram, moment)
    square = 0.0
    correction = np.zeros(len(coefficients))
    for part in PARTS.of(outcome.shape[0]):
        residual = outcome[part] - coefficients @ regressors[:, part]
        square += float(residual @ residual)
        correction += regressors[:, part] @ residual
    step = solve(gram, correction)  # once more on the residual: rounding errors go
    square = max(square - float(step @ correction), 0.0)
    return LeastSquares(coefficients + step, gram, square / outcome.shape[0])


def solve(gram: Matrix, moment: Vector) -> Vector:
    """Return ``gram^-1 moment``.

    Raises:
        InvalidValueError: if ``gram`` is singular: the regressors depend on each other.
    """
    size = np.sqrt(np.diagonal(gram))
    if not (size > 0).all() or np.linalg.cond(gram / np.outer(size, size)) > 1e13:
        raise InvalidValueError(
            "regressors must not depend on each other, but they do: the prediction may be "
            "constant, or tell the treatment. Use another covariate, or none."
        )
    found: Vector = np.linalg.solve(gram / np.outer(size, size), moment / size) / size
    return found


def check_stop(rtol: float, max_iter: int) -> None:
    """Check when an iteration stops.

    Raises:
        InvalidValueError: if ``rtol`` is negative, or ``max_iter`` no whole number above 0.
    """
    check_number("rtol", rtol, at_least=0)
    check_count("max_iter", max_iter, at_least=1)


@final
@dataclass(frozen=True, eq=False)
class HuberFit:
    """A regression by Huber's loss.

    Args:
        coefficients: one per regressor. Shape ``(k,)``.
        scale: of the residuals, ``median |r| / 0.6745``.
        iterations: steps taken.
    """

    coefficients: Vector
    scale: float
    iterations: int


def huber_regression(
    regressors: Matrix,
    outcome: Vector,
    *,
    threshold: float = 1.345,
    rtol: float = 1e-8,
    max_iter: int = 200,
) -> HuberFit:
    """Fit by reweighted least squares with weights ``min(1, threshold * scale / |r|)``.

    The scale is taken anew from the residuals, around 0, at each of the first 50 steps; then it
    only falls, as a median can jump to and fro for ever. Rows are read in parts; many are begun
    from the fit of a sample.

    Args:
        regressors: one row per regressor. Shape ``(k, n)``.
        outcome: shape ``(n,)``.
        threshold: residuals above so many scales count less, > 0; 1.345 keeps 95 % of the
            efficiency where errors are normal.
        rtol: stop when no fitted value moves by more than ``rtol`` scales, about; >= 0.
        max_iter: largest number of steps, >= 1.

    Raises:
        InvalidValueError: if ``rtol`` or ``max_iter`` is out of range, regressors depend on each
            other, or half of the residuals are 0.
        NotConvergedError: if ``max_iter`` is reached.

    Source:
        Huber (1964), doi:10.1214/aoms/1177703732.
    """
    check_stop(rtol, max_iter)
    rows = outcome.shape[0]
    coefficients = _start(regressors, outcome, threshold)
    size = np.sqrt(np.diagonal(regressors @ regressors.T) / rows)

    def residual(some: Any) -> Vector:
        fitted: Vector = coefficients @ regressors[:, some]
        found: Vector = np.subtract(outcome[some], fitted, out=fitted)
        return found

    (centre,) = quantiles(outcome.__getitem__, rows, [0.5])
    (spread,) = quantiles(lambda some: np.abs(outcome[some] - centre), rows, [0.5])
    first, scale = 0.0, math.inf
    for iteration in range(1, max_iter + 1):
        (middle,) = quantiles(lambda some: np.abs(residual(some)), rows, [0.5])
        now = middle / _NORMAL_MAD
        scale = now if iteration <= _SCALED else min(scale, now)
        first = first or min(scale, spread or scale)  # an outlier may move all first residuals
        if not scale > _COLLAPSED * first:
            raise InvalidValueError(
                "metric must not be the same in half of the rows: Huber's scale, the median "
                "residual, is 0. Use winsorised or difference-in-means."
            )
        gram, moment = np.zeros((len(size), len(size))), np.zeros(len(size))
        for part in PARTS.of(rows):
            left, design = residual(part), regressors[:, part]
            weighted = design * _weights(np.abs(left), threshold * scale)
            gram += weighted @ design.T
            moment += weighted @ left
        step = solve(gram, moment)
        coefficients = coefficients + step
        if float(np.abs(step * size).max()) <= rtol * scale:
            return HuberFit(coefficients, scale, iteration)
    raise NotConvergedError(
        f"Huber regression did not converge in {max_iter} steps: coefficients last moved by "
        f"{float(np.abs(step * size).max() / scale):.2g} scales, wanted {rtol:.2g}. Raise "
        "max_iter or rtol, or use winsorised."
    )


def _start(regressors: Matrix, outcome: Vector, threshold: float) -> Vector:
    """Return Huber's coefficients on a sample; those of least squares where there is none.

    A sample may have no fit: most of its outcomes are the same, or it lacks an arm.
    """
    some = some_rows(outcome.shape[0], _SAMPLE)
    if len(some) < outcome.shape[0]:
        try:
            sample = np.ascontiguousarray(regressors[:, some])
            return huber_regression(
                sample, outcome[some], threshold=threshold, rtol=1e-4
            ).coefficients
        except DflError:
            pass
    return least_squares(regressors, outcome).coefficients


def _weights(distance: Vector, limit: float) -> Vector:
    """Return ``min(1, limit / distance)``, without dividing by 0."""
    weight: Vector = limit / np.maximum(distance, limit)
    return weight
