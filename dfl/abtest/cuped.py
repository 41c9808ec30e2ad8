"""`Cuped`: subtracts what covariates explain linearly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.abtest.base import AbstractEstimator, Fit
from dfl.abtest.rows.contrast import Contrast, Linearisation, check_linearisation
from dfl.checks import check_count
from dfl.errors import InvalidValueError
from dfl.scale import PARTS, Empty
from dfl.stats.arrays import Booleans, Matrix, Vector
from dfl.stats.moments import Moments
from dfl.stats.soundness import refuse_copy, require_squares

__all__ = ["Cuped", "Slopes", "adjusted_difference", "arms_of", "cuped_adjust"]


_ROUNDED = 16.0  # rounding errors that may be all there is of a number
_TOLD = 1e-6  # share of a covariate's spread, up to which the arm alone tells it


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Cuped(AbstractEstimator):
    """Difference in means of ``outcome - theta (x - mean x)``.

    ``theta = Var(x)^-1 Cov(x, outcome)`` within the arms, so that the estimate is the treatment's
    coefficient in a least squares regression on treatment and ``x``; the variance falls by the
    share that the covariates explain.

    Args:
        columns: positions of the covariates used, usually one, the metric before the
            experiment; None: all.
        linearisation: how a ratio becomes one number per row, see `linearise_arms`.

    Source:
        Deng et al. (2013), doi:10.1145/2433396.2433413. Deviation: they take ``theta`` over both
        arms about one mean, which counts what the treatment does as told by ``x`` where the arms
        differ in it by chance: of n units and p covariates the effect is too small by
        ``p / (n - 1)``.
    """

    columns: tuple[int, ...] | None = None
    linearisation: Linearisation = "delta"

    def __post_init__(self) -> None:
        """Check the options."""
        check_linearisation(self.linearisation)
        for one in self.columns or ():
            check_count("columns", one, at_least=0)

    def fit(self, contrast: Contrast) -> Fit:
        """Return the adjusted difference of the means.

        Raises:
            InvalidValueError: if there are no covariates, none varies, or a column is none.
        """
        covariates = contrast.covariates
        if covariates is None:
            raise InvalidValueError("cuped needs covariates; without any use difference-in-means.")
        if self.columns is not None:
            wrong = [one for one in self.columns if one >= covariates.shape[1]]
            if wrong or not self.columns:
                raise InvalidValueError(
                    f"columns must be positions below {covariates.shape[1]}, got {self.columns}."
                )
            covariates = covariates[:, self.columns]
        return adjusted_difference(contrast, contrast.outcome, covariates)


@final
@dataclass(frozen=True, eq=False)
class Slopes:
    """What covariates tell of an outcome within the arms.

    Args:
        theta: of the outcome, per unit of each covariate. Shape ``(p,)``.
        explained: share of the variance within the arms.
        tilt: ``W^+ (mean x of the last arm - mean x of the first)``, where ``W`` is the sum of
            products within the arms. Shape ``(p,)``.
        widens: what the slopes make of the standard error of the difference, their own error and
            the degrees of freedom that they take; of least squares, where units vary alike.
    """

    theta: Vector
    explained: float
    tilt: Vector
    widens: float

    @staticmethod
    def of(arms: Sequence[Moments]) -> "Slopes":
        """Fit them; the shortest solution where covariates repeat each other.

        Args:
            arms: moments of outcome and covariates, of each arm.

        Raises:
            InvalidValueError: if no covariate varies within the arms, or one by so much that its
                square is no number.
        """
        products = np.sum([one.products for one in arms], axis=0)
        if not np.isfinite(products).all():
            require_squares("covariates", np.inf)
        means = np.stack([one.mean[1:] for one in arms])
        every = Moments.merged(arms)
        spread, of_all = (
            np.sqrt(np.diagonal(one)[1:].clip(min=0) / every.rows)
            for one in (products, every.products)
        )
        rounds = _ROUNDED * np.finfo(np.float64).eps * np.abs(means).max(axis=0)
        varies = spread > np.maximum(rounds, _TOLD * of_all)
        if not varies.any():
            raise InvalidValueError("covariates must vary, each is the same in all rows of an arm.")
        scale = np.where(varies, spread, np.inf)
        wanted = np.stack([products[1:, 0], means[-1] - means[0]], axis=1)
        scaled = products[1:, 1:] / np.outer(scale, scale)
        found, _, rank, _ = np.linalg.lstsq(scaled, wanted / scale[:, None], rcond=1e-12)
        theta, tilt = (found / scale[:, None]).T
        free = every.rows - len(arms)
        slopes = float(tilt @ wanted[:, 1]) / sum(1 / max(one.rows, 1) for one in arms)
        widens = math.sqrt((1 + slopes) * free / max(free - int(rank), 1))
        explained = theta @ products[1:, 0] / products[0, 0] if products[0, 0] > 0 else 0.0
        return Slopes(theta, float(explained), tilt, widens)


def arms_of(outcome: Vector, covariates: Matrix, treated: Booleans) -> list[Moments]:
    """Return the moments of outcome and covariates of control and treated rows.

    Args:
        outcome: shape ``(n,)``.
        covariates: shape ``(n, p)``.
        treated: which rows are treated. Shape ``(n,)``.
    """
    centre = np.concatenate([[outcome.mean()], covariates.mean(axis=0)])
    width = 1 + len(centre)
    everyone, of_treated = np.zeros((2, width, width))  # of 1, outcome, covariates
    for part in PARTS.of(len(outcome)):
        columns = np.empty((width, part.stop - part.start))
        columns[0] = 1
        np.subtract(outcome[part], centre[0], out=columns[1])
        np.subtract(covariates[part].T, centre[1:, None], out=columns[2:])
        everyone += columns @ columns.T
        of_treated += columns @ (columns * treated[part]).T
    return [_moments(one, centre) for one in (everyone - of_treated, of_treated)]


def _moments(sums: Matrix, centre: Vector) -> Moments:
    """Return an arm's moments from products with 1 in the first row, taken about a centre."""
    rows, apart = int(sums[0, 0]), sums[0, 1:] / max(sums[0, 0], 1)
    return Moments(rows, centre + apart, sums[1:, 1:] - rows * np.outer(apart, apart))


def cuped_adjust(
    outcome: Vector, covariates: Matrix, arms: Sequence[Moments], empty: Empty = np.empty
) -> tuple[Vector, Slopes]:
    """Return the outcome less what covariates explain, and the slopes by which they do.

    The mean stays, the variance within the arms falls.

    Args:
        outcome: shape ``(n,)``.
        covariates: shape ``(n, p)``.
        arms: their moments in each arm, see `arms_of`.
        empty: makes the array that is returned.

    Raises:
        InvalidValueError: if no covariate varies.
    """
    slopes, mean = Slopes.of(arms), Moments.merged(arms).mean[1:]
    adjusted: Vector = empty(len(outcome))
    for part in PARTS.of(len(outcome)):
        adjusted[part] = outcome[part] - (covariates[part] - mean) @ slopes.theta
    return adjusted, slopes


def adjusted_difference(contrast: Contrast, outcome: Vector, covariates: Matrix) -> Fit:
    """Return the difference in means of an adjusted outcome.

    Where units are few, its influence is that of the treatment's coefficient in the regression:
    a unit whose covariates are those of the other arm weighs more. Where they are many, all
    weigh more alike.

    Args:
        contrast: which rows are treated.
        outcome: shape ``(n,)``.
        covariates: shape ``(n, p)``.

    Raises:
        InvalidValueError: if no covariate varies, one varies by more or less than squares can
            hold, or they are a copy of the outcome.
    """
    low, high = covariates.min(axis=0), covariates.max(axis=0)
    require_squares("covariates", high - low)
    arms = arms_of(outcome, covariates, contrast.treated)
    adjusted, slopes = cuped_adjust(outcome, covariates, arms, contrast.empty)
    rounds = np.finfo(np.float64).eps * float(np.abs(slopes.theta) @ np.maximum(high, -low))
    if not np.ptp(adjusted) > _ROUNDED * rounds:
        refuse_copy()
    estimate, influence = contrast.mean_difference(adjusted)
    if contrast.corrected:
        control, treated = arms
        for part in PARTS.of(contrast.rows):
            x = covariates[part] @ slopes.tilt
            influence[part] *= np.where(
                contrast.treated[part],
                1 - treated.rows * (x - treated.mean[1:] @ slopes.tilt),
                1 + control.rows * (x - control.mean[1:] @ slopes.tilt),
            )
    else:
        influence *= slopes.widens
    diagnostics = {"explained_variance": slopes.explained}
    if covariates.shape[1] == 1:
        diagnostics["theta"] = float(slopes.theta[0])
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
