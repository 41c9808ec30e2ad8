"""`huber_regression`: linear regression by Huber's loss."""

from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.abtest.regression.least_squares import least_squares, solve
from dfl.errors import InvalidValueError, NotConvergedError
from dfl.stats.arrays import Matrix, Vector

__all__ = ["HuberFit", "huber_regression"]

_SCALED = 50  # steps
_COLLAPSED = 1e-9
_NORMAL_MAD = 0.6744897501960817  # median of |x| for a standard normal x


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
    stays, as a median can jump to and fro for ever.

    Args:
        regressors: one row per regressor. Shape ``(k, n)``.
        outcome: shape ``(n,)``.
        threshold: residuals above so many scales count less, > 0; 1.345 keeps 95 % of the
            efficiency where errors are normal.
        rtol: stop when no fitted value moves by more than ``rtol`` scales, about.
        max_iter: largest number of steps.

    Raises:
        InvalidValueError: if regressors depend on each other, or half of the residuals are 0.
        NotConvergedError: if ``max_iter`` is reached.

    Source:
        Huber (1964), doi:10.1214/aoms/1177703732.
    """
    coefficients = least_squares(regressors, outcome).coefficients
    size = np.sqrt((regressors**2).mean(axis=1))
    first = 0.0
    for iteration in range(1, max_iter + 1):
        residual = outcome - coefficients @ regressors
        distance = np.abs(residual)
        if iteration <= _SCALED:
            scale = float(np.median(distance)) / _NORMAL_MAD
        first = first or scale
        if not scale > _COLLAPSED * first:
            raise InvalidValueError(
                "metric must not be the same in half of the rows: Huber's scale, the median "
                "residual, is 0. Use winsorised or difference-in-means."
            )
        weighted = regressors * _weights(distance, threshold * scale)
        step = solve(weighted @ regressors.T, weighted @ residual)
        coefficients = coefficients + step
        if float(np.abs(step * size).max()) <= rtol * scale:
            return HuberFit(coefficients, scale, iteration)
    raise NotConvergedError(
        f"Huber regression did not converge in {max_iter} steps: coefficients last moved by "
        f"{float(np.abs(step * size).max() / scale):.2g} scales, wanted {rtol:.2g}. Raise "
        "max_iter or rtol, or use winsorised."
    )


def _weights(distance: Vector, limit: float) -> Vector:
    """Return ``min(1, limit / distance)``, without dividing by 0."""
    weight: Vector = limit / np.maximum(distance, limit)
    return weight
