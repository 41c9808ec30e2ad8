"""`t_influence`: what each row adds to a coefficient of a Student-t regression."""

import numpy as np

from dfl.abtest.regression.least_squares import solve
from dfl.abtest.robust.student_t import TParameters
from dfl.errors import InvalidValueError
from dfl.stats.arrays import Matrix, Vector, chunks

__all__ = ["fisher_errors", "t_influence"]


def t_influence(
    regressors: Matrix, outcome: Vector, fitted: TParameters, index: int, *, joint: bool = True
) -> Vector:
    """Return the influence of each row on ``n`` times one coefficient, nu held fixed.

    Scores ``psi_i d_i`` with ``psi_i = (nu + 1) r_i / (nu sigma^2 + r_i^2)`` for the
    coefficients and ``chi_i = psi_i r_i - 1`` for the scale; the influence is ``-(A^-1
    (psi_i d_i, chi_i))_index``, ``A`` the mean derivative of the scores. The sum of its squares
    over ``n^2`` is the sandwich variance.

    Args:
        regressors: shape ``(k, n)``.
        outcome: shape ``(n,)``.
        fitted: parameters, at the fixed point.
        index: of the coefficient.
        joint: whether the scale was estimated too; False takes it as known.

    Raises:
        InvalidValueError: if the mean derivative is singular, as too few rows lie in the bulk.

    Source:
        Huber (1967); the derivatives are those of the Student-t score.
    """
    rows = outcome.shape[0]
    row = _inverse_row(_mean_jacobian(regressors, outcome, fitted, joint), index)
    inner = fitted.nu * fitted.variance
    influence = np.empty(rows)
    for part in chunks(rows):
        block = regressors[:, part]
        residual = outcome[part] - fitted.coefficients @ block
        psi = residual * ((fitted.nu + 1) / (residual * residual + inner))
        influence[part] = (row[:-1] @ block) * psi + row[-1] * (psi * residual - 1)
    return np.negative(influence, out=influence)


def _mean_jacobian(regressors: Matrix, outcome: Vector, fitted: TParameters, joint: bool) -> Matrix:
    """Return the mean derivative of the scores by coefficients and ``sigma^2``.

    ``d psi / d r = (nu + 1) (nu sigma^2 - r^2) / (nu sigma^2 + r^2)^2`` and so on, with ``dr / da
    = -d``.
    """
    size, rows = regressors.shape
    nu, inner = fitted.nu, fitted.nu * fitted.variance
    jacobian = np.zeros((size + 1, size + 1))
    for part in chunks(rows):
        block = regressors[:, part]
        residual = outcome[part] - fitted.coefficients @ block
        outer = residual * residual + inner
        slope = (nu + 1) / (outer * outer)
        across = block @ (slope * residual)
        jacobian[:size, :size] -= (block * (slope * (2 * inner - outer))) @ block.T
        jacobian[:size, size] -= nu * across
        jacobian[size, :size] -= 2 * inner * across
        jacobian[size, size] -= nu * float(slope @ (outer - inner))
    if not joint:
        jacobian[:size, size] = 0
    mean: Matrix = jacobian / rows
    return mean


def fisher_errors(gram: Matrix, fitted: TParameters) -> Vector:
    """Return the standard errors that hold if the errors are Student-t.

    Roots of the diagonal of ``sigma^2 (nu + 3) / (nu + 1) (sum_i d_i d_i')^-1``.

    Args:
        gram: ``sum_i d_i d_i'``. Shape ``(k, k)``.
        fitted: parameters.
    """
    factor = fitted.variance * (fitted.nu + 3) / (fitted.nu + 1)
    inverse = [solve(gram, unit)[index] for index, unit in enumerate(np.eye(len(gram)))]
    errors: Vector = np.sqrt(factor * np.array(inverse))
    return errors


def _inverse_row(jacobian: Matrix, index: int) -> Vector:
    """Return one row of the inverse."""
    try:
        row: Vector = np.linalg.solve(jacobian.T, np.eye(len(jacobian))[index])
    except np.linalg.LinAlgError as error:
        raise InvalidValueError(
            "the sandwich error needs rows in the bulk of the residuals, the mean derivative of "
            "the score is singular. Use errors='bootstrap', or a larger nu."
        ) from error
    return row
