"""`Cuped`: subtracts what covariates explain linearly."""

from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.abtest.base import AbstractEstimator, Fit
from dfl.abtest.rows.contrast import Contrast, Linearisation
from dfl.errors import InvalidValueError
from dfl.scale import PARTS, Empty, mean_square
from dfl.stats.arrays import Matrix, Vector

__all__ = ["Cuped", "adjusted_difference", "cuped_adjust", "slopes"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Cuped(AbstractEstimator):
    """Difference in means of ``outcome - theta (x - mean x)``.

    ``theta = Var(x)^-1 Cov(x, outcome)`` over both arms; the variance falls by the share that
    the covariates explain.

    Args:
        columns: positions of the covariates used, usually one, the metric before the
            experiment; None: all.
        linearisation: how a ratio becomes one number per row, see `linearise_arms`.

    Source:
        Deng et al. (2013), doi:10.1145/2433396.2433413.
    """

    columns: tuple[int, ...] | None = None
    linearisation: Linearisation = "delta"

    def fit(self, contrast: Contrast) -> Fit:
        """Return the adjusted difference of the means.

        Raises:
            InvalidValueError: if there are no covariates, none varies, or a column is none.
        """
        covariates = contrast.covariates
        if covariates is None:
            raise InvalidValueError("cuped needs covariates; without any use difference-in-means.")
        if self.columns is not None:
            wrong = [one for one in self.columns if not 0 <= one < covariates.shape[1]]
            if wrong or not self.columns:
                raise InvalidValueError(
                    f"columns must be positions below {covariates.shape[1]}, got {self.columns}."
                )
            covariates = covariates[:, self.columns]
        return adjusted_difference(contrast, contrast.outcome, covariates)


def cuped_adjust(
    outcome: Vector, covariates: Matrix, empty: Empty = np.empty
) -> tuple[Vector, Vector]:
    """Return the outcome less what covariates explain, and the slopes theta.

    The mean stays, the variance falls.

    Args:
        outcome: shape ``(n,)``.
        covariates: shape ``(n, p)``.
        empty: makes the array that is returned.

    Raises:
        InvalidValueError: if no covariate varies.
    """
    rows, columns = covariates.shape
    mean, middle = covariates.mean(axis=0), float(outcome.mean())
    gram, moment = np.zeros((columns, columns)), np.zeros(columns)
    for part in PARTS.of(rows):
        centred = covariates[part] - mean
        gram += centred.T @ centred
        moment += centred.T @ (outcome[part] - middle)
    theta = slopes(gram, moment, rows)
    adjusted: Vector = empty(rows)
    for part in PARTS.of(rows):
        adjusted[part] = outcome[part] - (covariates[part] - mean) @ theta
    return adjusted, theta


def slopes(gram: Matrix, moment: Vector, rows: int) -> Vector:
    """Return what one unit of each covariate tells of the outcome. Shape ``(p,)``.

    The shortest solution where covariates repeat each other: the fit is the same.

    Args:
        gram: products of the centred covariates, summed over the rows. Shape ``(p, p)``.
        moment: their products with the centred outcome. Shape ``(p,)``.
        rows: how many there are.

    Raises:
        InvalidValueError: if no covariate varies.
    """
    spread = np.sqrt(np.diagonal(gram) / rows)
    if not spread.any():
        raise InvalidValueError("covariates must vary, each is the same in all rows.")
    scale = np.where(spread > 0, spread, 1)
    found: Vector = np.linalg.lstsq(gram / np.outer(scale, scale), moment / scale, rcond=1e-12)[0]
    return found / scale


def adjusted_difference(contrast: Contrast, outcome: Vector, covariates: Matrix) -> Fit:
    """Return the difference in means of an adjusted outcome.

    Args:
        contrast: which rows are treated.
        outcome: shape ``(n,)``.
        covariates: shape ``(n, p)``.

    Raises:
        InvalidValueError: if no covariate varies.
    """
    adjusted, theta = cuped_adjust(outcome, covariates, contrast.empty)
    estimate, influence = contrast.mean_difference(adjusted)
    diagnostics = {"explained_variance": 1 - mean_square(adjusted) / mean_square(outcome)}
    if len(theta) == 1:
        diagnostics["theta"] = float(theta[0])
    return Fit(
        estimate=estimate,
        standard_error=contrast.standard_error(influence),
        influence=influence,
        diagnostics=diagnostics,
        bessel=True,
        design=_design(contrast, covariates) if contrast.corrected else None,
    )


def _design(contrast: Contrast, covariates: Matrix) -> Matrix:
    """Return ones, treatment and centred covariates, as rows."""
    design: Matrix = contrast.empty((2 + covariates.shape[1], contrast.rows))
    design[0], design[1] = 1, contrast.treated
    np.subtract(covariates.T, covariates.mean(axis=0)[:, None], out=design[2:])
    return design
