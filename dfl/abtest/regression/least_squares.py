"""`least_squares`: ordinary least squares from sums over the rows, read in parts."""

from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.errors import InvalidValueError
from dfl.stats.arrays import Matrix, Vector, chunks

__all__ = ["LeastSquares", "least_squares", "solve"]


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

    def influence(self, regressors: Matrix, outcome: Vector, index: int) -> Vector:
        """Return what each row adds to ``n`` times one coefficient.

        ``n * ((sum_i d_i d_i')^-1 d_i)_index * residual_i``; its variance is the
        heteroscedasticity-robust one, HC0.

        Args:
            regressors: shape ``(k, n)``.
            outcome: shape ``(n,)``.
            index: of the coefficient.
        """
        unit = np.eye(len(self.coefficients))[index]
        direction: Vector = (outcome.shape[0] * solve(self.gram, unit)) @ regressors
        direction *= self.residual(regressors, outcome)
        return direction


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
    for part in chunks(outcome.shape[0]):
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
