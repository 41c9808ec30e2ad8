"""`fit_t_regression`: linear regression with Student-t errors by variational EM."""

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

import numpy as np
import scipy
from scipy import special

from dfl.abtest.regression.linear import LeastSquares, check_stop, least_squares, solve
from dfl.errors import InvalidValueError, NotConvergedError, ShapeError
from dfl.scale import PARTS, Empty, some_rows
from dfl.stats.arrays import Matrix, Vector, vector

__all__ = [
    "Nu",
    "StudentTFit",
    "TParameters",
    "check_nu",
    "fisher_errors",
    "fit_t_regression",
    "fit_t_rows",
    "solve_nu",
    "start_at",
    "t_influence",
]

Nu: TypeAlias = float | Literal["free"]

_NU_RANGE = (0.05, 1e4)  # above, the law is normal for all practical purposes
_NU_START = 10.0
_COLLAPSED = 1e-12  # variance, over what `_bulk_variance` finds
_SAMPLE = 50_000  # rows that its medians are taken of
_LONGER = 2.0  # each step in log nu may be so much longer than the last
_GROUP = 8  # factors that are multiplied before one logarithm is taken


@final
@dataclass(frozen=True, eq=False)
class TParameters:
    """Parameters of the model.

    Args:
        coefficients: one per regressor. Shape ``(k,)``.
        variance: squared scale ``sigma^2`` of the errors, > 0; not their variance.
        nu: degrees of freedom, > 0.
    """

    coefficients: Vector
    variance: float
    nu: float


@final
@dataclass(frozen=True, eq=False)
class StudentTFit:
    """A regression with Student-t errors.

    Args:
        parameters: that were found.
        elbo: the lower bound after each E-step, where it equals the log-likelihood; never
            decreases.
    """

    parameters: TParameters
    elbo: tuple[float, ...]

    @property
    def log_likelihood(self) -> float:
        """Logarithm of the likelihood of the parameters."""
        return self.elbo[-1]

    def weights(self, design: Matrix, outcome: Vector) -> Vector:
        """Return ``(nu + 1) / (nu + residual^2 / sigma^2)``, what each row counts.

        Args:
            design: shape ``(n, k)``.
            outcome: shape ``(n,)``.
        """
        found = self.parameters
        residual = outcome - design @ found.coefficients
        return np.asarray((found.nu + 1) / (found.nu + residual**2 / found.variance))


def fit_t_regression(
    design: Matrix,
    outcome: Vector,
    *,
    nu: Nu = 10.0,
    rtol: float = 1e-10,
    max_iter: int = 1000,
    start: TParameters | None = None,
) -> StudentTFit:
    """Fit ``outcome = design @ coefficients + e``, ``e ~ t_nu(0, sigma^2)``.

    Each row has a latent precision ``eta_i ~ Gamma(nu / 2, nu / 2)``. The E-step gives its
    exact posterior, with mean ``w_i = (nu + 1) / (nu + r_i^2 / sigma^2)``; the M-step solves
    the regression weighted by ``w`` for all coefficients at once, then ``sigma^2 = sum_i w_i
    r_i^2 / n``, then, if free, ``nu`` from ``digamma(nu / 2) - log(nu / 2) = 1 + mean(l - w)``,
    ``l_i`` the posterior mean of ``log eta_i``. A step takes one pass over the rows, in parts. A
    free nu goes longer and longer steps; one that does not raise the bound is taken back.

    Args:
        design: one column per regressor, usually with a column of ones. Shape ``(n, k)``.
        outcome: shape ``(n,)``.
        nu: degrees of freedom: a number > 0, or ``"free"`` to estimate it in [0.05, 10,000].
        rtol: stop when the bound rises by at most ``rtol * (1 + |bound|)``, >= 0.
        max_iter: largest number of E-steps, >= 1.
        start: parameters to begin at; None: least squares.

    Raises:
        ShapeError: if shapes do not agree.
        InvalidValueError: if an option is out of range, a number is not finite, regressors
            depend on each other, or the scale collapses as most residuals are 0.
        NotConvergedError: if ``max_iter`` is reached.

    Source:
        Zhou et al. (2024), arXiv:2407.16337; Lange, Little and Taylor (1989),
        doi:10.1080/01621459.1989.10478852. Deviations: all coefficients in one step instead of
        one after the other, with the same fixed point; long steps of nu after Salakhutdinov and
        Roweis (2003), Adaptive overrelaxed bound optimization methods.
    """
    outcome = vector("outcome", outcome)
    if design.ndim != 2 or design.shape[0] != outcome.shape[0]:
        raise ShapeError(f"design must be ({outcome.shape[0]}, k), got {design.shape}.")
    check_nu(nu)
    check_stop(rtol, max_iter)
    regressors = np.ascontiguousarray(design.T, dtype=np.float64)
    start = start or start_at(least_squares(regressors, outcome), nu)
    return fit_t_rows(regressors, outcome, start, nu == "free", rtol=rtol, max_iter=max_iter)


def check_nu(nu: Nu) -> None:
    """Check the degrees of freedom.

    Raises:
        InvalidValueError: if they are neither a positive number nor ``"free"``.
    """
    if nu != "free" and not (hasattr(nu, "__float__") and 0 < nu < math.inf):
        raise InvalidValueError(f"nu must be > 0 and finite, or 'free', got {nu!r}.")


def start_at(fit: LeastSquares, nu: Nu) -> TParameters:
    """Begin at a least-squares fit.

    Raises:
        InvalidValueError: if it leaves no residuals.
    """
    _require_scale(fit.variance, 0.0)
    return TParameters(fit.coefficients, fit.variance, _NU_START if nu == "free" else nu)


def fit_t_rows(
    regressors: Matrix,
    outcome: Vector,
    start: TParameters,
    free: bool,
    *,
    rtol: float = 1e-10,
    max_iter: int = 1000,
) -> StudentTFit:
    """Run the EM algorithm on regressors that lie in rows, from given parameters.

    Args:
        regressors: one row per regressor. Shape ``(k, n)``.
        outcome: shape ``(n,)``.
        start: parameters to begin at.
        free: whether nu is estimated.
        rtol: stop when the bound rises by at most ``rtol * (1 + |bound|)``.
        max_iter: largest number of E-steps.

    Raises:
        InvalidValueError: if regressors depend on each other, or the scale collapses.
        NotConvergedError: if ``max_iter`` is reached.
    """
    smallest = _COLLAPSED * _bulk_variance(regressors, outcome, start)
    now = plain = start
    elbo, stride = [-math.inf], 1.0
    for _ in range(max_iter):
        sums = _expectation(regressors, outcome, now)
        if now is not plain and sums.elbo <= elbo[-1] + rtol * (1 + abs(elbo[-1])):
            now, stride = plain, 1.0  # the long step was too long: take the plain one
            continue
        elbo.append(sums.elbo)
        if elbo[-1] - elbo[-2] <= rtol * (1 + abs(elbo[-1])):
            return StudentTFit(now, tuple(elbo[1:]))
        plain = _maximisation(sums, now, free)
        _require_scale(plain.variance, smallest)
        now, stride = _stretched(plain, now, stride), _LONGER * stride if free else 1.0
    raise NotConvergedError(
        f"Student-t regression did not converge in {max_iter} steps: the bound last rose by "
        f"{elbo[-1] - elbo[-2]:.2g}, wanted {rtol * (1 + abs(elbo[-1])):.2g}. Raise max_iter or "
        "rtol, or fix nu."
    )


def solve_nu(mean_excess: float) -> float:
    """Return nu with ``digamma(nu / 2) - log(nu / 2) = 1 + mean_excess``, in [0.05, 10,000].

    Args:
        mean_excess: mean of ``l_i - w_i``, < -1.
    """

    def excess(nu: float) -> float:
        return float(special.digamma(nu / 2)) - math.log(nu / 2) - 1 - mean_excess

    low, high = _NU_RANGE
    if excess(high) <= 0:
        return high
    if excess(low) >= 0:
        return low
    return float(scipy.optimize.brentq(excess, low, high, xtol=1e-12))


@final
@dataclass(frozen=True, eq=False)
class _Sums:
    """Everything that the M-step needs to know of the rows."""

    rows: int
    elbo: float
    gram: Matrix  # sum of w d d'
    moment: Vector  # sum of w d r
    square: float  # sum of w r^2
    mean_excess: float  # mean of l - w


def _expectation(regressors: Matrix, outcome: Vector, now: TParameters) -> _Sums:
    """Sum over the rows, in parts; no column of length n is made."""
    size, rows = regressors.shape
    gram, moment = np.zeros((size, size)), np.zeros(size)
    square = logs = total = 0.0
    for part in PARTS.of(rows):
        block = regressors[:, part]
        residual = outcome[part] - now.coefficients @ block
        spread = residual * residual
        spread *= 1 / (now.nu * now.variance)
        spread += 1
        logs += _sum_of_logs(spread)
        weight = np.divide((now.nu + 1) / now.nu, spread, out=spread)
        total += float(weight.sum())
        weighted = block * weight
        gram += weighted @ block.T
        moment += weighted @ residual
        weight *= residual
        square += float(weight @ residual)
    return _Sums(
        rows=rows,
        elbo=_bound(rows, now, logs),
        gram=gram,
        moment=moment,
        square=square,
        mean_excess=_mean_log_precision(rows, now, logs) - total / rows,
    )


def _maximisation(sums: _Sums, now: TParameters, free: bool) -> TParameters:
    """Solve for the change of the coefficients, which loses no digits, then for the scale."""
    step = solve(sums.gram, sums.moment)
    variance = (sums.square - float(step @ sums.moment)) / sums.rows
    nu = solve_nu(sums.mean_excess) if free else now.nu
    return TParameters(now.coefficients + step, variance, nu)


def _stretched(plain: TParameters, now: TParameters, stride: float) -> TParameters:
    """Go further than the plain step in log nu, which alone takes hundreds of steps."""
    if stride == 1 or plain.nu == now.nu:
        return plain
    nu = float(np.clip(now.nu * (plain.nu / now.nu) ** stride, *_NU_RANGE))
    return replace(plain, nu=nu)


def _bound(rows: int, now: TParameters, logs: float) -> float:
    """Return the evidence lower bound; after an E-step it is the log-likelihood."""
    half = (now.nu + 1) / 2
    constant = math.lgamma(half) - math.lgamma(now.nu / 2)
    return rows * (constant - 0.5 * math.log(now.nu * math.pi * now.variance)) - half * logs


def _mean_log_precision(rows: int, now: TParameters, logs: float) -> float:
    """Return the mean of ``l_i = digamma((nu + 1) / 2) - log(nu / 2 + r_i^2 / 2 sigma^2)``."""
    return float(special.digamma((now.nu + 1) / 2)) - math.log(now.nu / 2) - logs / rows


def _sum_of_logs(values: Vector) -> float:
    """Return the sum of logarithms of numbers >= 1, by one logarithm for eight numbers."""
    whole = len(values) // _GROUP * _GROUP
    with np.errstate(over="ignore"):
        products = np.multiply.reduce(values[:whole].reshape(_GROUP, -1), axis=0)
        found = float(np.log(products).sum()) + float(np.log(values[whole:]).sum())
    return found if math.isfinite(found) else float(np.log(values).sum())


def _bulk_variance(regressors: Matrix, outcome: Vector, start: TParameters) -> float:
    """Return a squared median of some rows: of residuals, or distances, which outliers spare."""
    some = some_rows(outcome.shape[0], _SAMPLE)
    residual = outcome[some] - start.coefficients @ regressors[:, some]
    distance = outcome[some] - np.median(outcome[some])
    found = [float(np.median(np.abs(one))) for one in (residual, distance)]
    return min(filter(None, found), default=0.0) ** 2


def _require_scale(variance: float, smallest: float) -> None:
    """Refuse a scale that runs to 0, where the likelihood has no maximum."""
    if not variance > smallest:
        raise InvalidValueError(
            "the scale of the Student-t errors collapses to 0, as most rows lie on the fitted line "
            "exactly. Use huber, winsorised or difference-in-means, or a larger nu."
        )


def t_influence(
    regressors: Matrix,
    outcome: Vector,
    fitted: TParameters,
    index: int,
    *,
    joint: bool = True,
    empty: Empty = np.empty,
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
        empty: makes the array that is returned.

    Raises:
        InvalidValueError: if the mean derivative is singular, as too few rows lie in the bulk.

    Source:
        Huber (1967); the derivatives are those of the Student-t score.
    """
    rows = outcome.shape[0]
    row = _inverse_row(_mean_jacobian(regressors, outcome, fitted, joint), index)
    inner = fitted.nu * fitted.variance
    influence: Vector = empty(rows)
    for part in PARTS.of(rows):
        block = regressors[:, part]
        residual = outcome[part] - fitted.coefficients @ block
        psi = residual * ((fitted.nu + 1) / (residual * residual + inner))
        influence[part] = (row[:-1] @ block) * psi + row[-1] * (psi * residual - 1)
    return np.negative(influence, out=influence)


def _mean_jacobian(regressors: Matrix, outcome: Vector, fitted: TParameters, joint: bool) -> Matrix:
    """Return the mean derivative of the scores by coefficients and ``sigma^2``.

    ``d psi / d r = (nu + 1) (nu sigma^2 - r^2) / (nu sigma^2 + r^2)^2``, ``dr / da = -d``.
    """
    size, rows = regressors.shape
    nu, inner = fitted.nu, fitted.nu * fitted.variance
    jacobian = np.zeros((size + 1, size + 1))
    for part in PARTS.of(rows):
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
    return np.asarray(jacobian / rows)


def fisher_errors(gram: Matrix, fitted: TParameters) -> Vector:
    """Return the standard errors that hold if the errors are Student-t.

    Roots of the diagonal of ``sigma^2 (nu + 3) / (nu + 1) (sum_i d_i d_i')^-1``.

    Args:
        gram: ``sum_i d_i d_i'``. Shape ``(k, k)``.
        fitted: parameters.
    """
    factor = fitted.variance * (fitted.nu + 3) / (fitted.nu + 1)
    inverse = [solve(gram, unit)[index] for index, unit in enumerate(np.eye(len(gram)))]
    return np.asarray(np.sqrt(factor * np.array(inverse)))


def _inverse_row(jacobian: Matrix, index: int) -> Vector:
    """Return one row of the inverse."""
    try:
        return np.asarray(np.linalg.solve(jacobian.T, np.eye(len(jacobian))[index]))
    except np.linalg.LinAlgError as error:
        raise InvalidValueError(
            "the sandwich error needs rows in the bulk of the residuals, the mean derivative of "
            "the score is singular. Use errors='bootstrap', or a larger nu."
        ) from error
