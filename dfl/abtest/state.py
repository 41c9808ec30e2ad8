"""`State`: regression with Student-t errors, for heavy-tailed metrics."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, final

import numpy as np

from dfl.abtest.base import AbstractEstimator, Fit
from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.regression.linear import (
    TREATMENT,
    LeastSquares,
    check_stop,
    huber_regression,
    least_squares,
    regressors,
)
from dfl.abtest.robust.student_t import (
    Nu,
    StudentTFit,
    TParameters,
    check_nu,
    fisher_errors,
    fit_t_rows,
    start_at,
    t_influence,
)
from dfl.abtest.robust.verdict import (
    SameEffectCheck,
    WeightSummary,
    bulk_verdict,
    dealt_check,
    same_effect_check,
    summarise_weights,
)
from dfl.abtest.rows.contrast import Contrast, Linearisation, check_linearisation
from dfl.checks import check_choice, check_count
from dfl.errors import InvalidValueError, UnsupportedProblemError
from dfl.scale import PARTS, some_rows
from dfl.stats.arrays import Integers, Matrix, Vector

__all__ = ["State"]

_MANY = 400_000  # rows above which a sample of them is fitted first
_SAMPLE = 50_000
_TIE_ROWS = 2_001


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class State(AbstractEstimator):
    """Coefficient of T in ``Y = a0 + a1 T + a2 g + e``, ``e`` Student-t, fitted by EM.

    ``g`` is a cross-fitted prediction; without prediction and covariates it is left out. Rows
    far from the line count less, ``w = (nu + 1) / (nu + r^2 / sigma^2)``, so the variance does
    not explode with outliers. The price: ``a1`` is the effect on the bulk of users. It is the
    mean effect if the treatment shifts everyone alike, and can miss most of it if the effect
    sits in the tail. Every result therefore carries a check against the regression by least
    squares, which measures the mean effect, and a verdict.

    Args:
        nu: degrees of freedom, > 0; small is more robust and farther from the mean effect.
            ``"free"`` estimates it, which under contamination drifts to 2 to 6.
        errors: ``"sandwich"``: holds whatever the law of the errors, scale estimated jointly;
            ``"fisher"``: if the errors are Student-t; ``"bootstrap"``: units drawn again, arm
            by arm, prediction held fixed.
        draws: bootstrap draws, >= 2.
        seed: of the bootstrap.
        rtol: EM stops when the bound rises by at most ``rtol * (1 + |bound|)``, >= 0.
        max_iter: largest number of EM steps, >= 1.
        cross_fit: makes the prediction where the contrast has covariates only.
        linearisation: how a ratio becomes one number per row, see `linearise_arms`.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Zhou et al. (2024), STATE, arXiv:2407.16337, whose text was not at hand: model, EM and the
        fixed ``nu`` are those of a public script, probably the authors'. Ours: the joint M-step,
        standard errors of one experiment, the check and the linearisation of ratios.
    """

    nu: Nu = 10.0
    errors: Literal["sandwich", "fisher", "bootstrap"] = "sandwich"
    draws: int = 200
    seed: int = 0
    rtol: float = 1e-10
    max_iter: int = 1000
    cross_fit: CrossFit = field(default_factory=CrossFit)
    linearisation: Linearisation = "pooled"

    def __post_init__(self) -> None:
        """Check the options."""
        check_nu(self.nu)
        check_choice("errors", self.errors, ("sandwich", "fisher", "bootstrap"))
        check_count("draws", self.draws, at_least=2)
        check_count("seed", self.seed, at_least=0)
        check_stop(self.rtol, self.max_iter)
        check_linearisation(self.linearisation)

    def fit(self, contrast: Contrast) -> Fit:
        """Return the coefficient of the treatment, the check and the verdict.

        Raises:
            InvalidValueError: if more than half of the outcomes are the same, the prediction is
                constant, or the scale collapses.
            UnsupportedProblemError: if Fisher errors are asked for clustered rows.
            NotConvergedError: if ``max_iter`` is reached.
        """
        if self.errors == "fisher" and contrast.clusters is not None:
            raise UnsupportedProblemError(
                "errors='fisher' takes rows as independent, but they are clustered; use "
                "'sandwich' or 'bootstrap'."
            )
        _refuse_ties(contrast.outcome)
        problem = _Problem.of(contrast, regressors(contrast, self.cross_fit))
        found = self._fit_problem(problem)
        estimate = float(found.parameters.coefficients[TREATMENT]) * problem.scale
        influence = t_influence(
            problem.rows, problem.outcome, found.parameters, TREATMENT, empty=contrast.empty
        )
        influence *= problem.scale
        mean = problem.mean_effect(contrast)
        check = same_effect_check(contrast, (estimate, influence), mean, problem.rows)
        del mean
        check = dealt_check(check, contrast, problem.rows, problem.outcome, found.parameters)
        weights = summarise_weights(contrast, problem.rows, problem.outcome, found.parameters)
        return Fit(
            estimate=estimate,
            standard_error=self._error(contrast, problem, found, influence),
            influence=influence,
            design=problem.rows,
            diagnostics=_diagnostics(found, problem.scale, check, weights),
            caveat=bulk_verdict(estimate, check, weights),
        )

    def _fit_problem(self, problem: "_Problem") -> StudentTFit:
        """Run EM, from a fit of a sample where there are many rows."""
        rows, outcome = problem.rows, problem.outcome
        start = start_at(problem.scaled_fit, self.nu)
        if self.nu == "free" or self.nu < 1:  # far from normal: least squares may mislead
            robust = huber_regression(rows, outcome)
            start = TParameters(robust.coefficients, robust.scale**2, start.nu)
        if outcome.shape[0] > _MANY:
            some = some_rows(outcome.shape[0], _SAMPLE)
            start = self._run(rows[:, some], outcome[some], start).parameters
        return self._run(rows, outcome, start)

    def _run(self, rows: Matrix, outcome: Vector, start: TParameters) -> StudentTFit:
        free = self.nu == "free"
        return fit_t_rows(rows, outcome, start, free, rtol=self.rtol, max_iter=self.max_iter)

    def _error(
        self, contrast: Contrast, problem: "_Problem", found: StudentTFit, influence: Vector
    ) -> float:
        """Return the standard error that was asked for."""
        if self.errors == "fisher":
            errors = fisher_errors(problem.mean_fit.gram, found.parameters)
            return float(errors[TREATMENT]) * problem.scale
        if self.errors == "sandwich":
            return contrast.standard_error(influence, size=contrast.bulk)

        def estimate(picked: Integers) -> float:
            rows, start = np.ascontiguousarray(problem.rows[:, picked]), found.parameters
            if len(rows) > 2 and not _varies(rows):  # a rare value of the prediction was not drawn
                rows, start = rows[:2], replace(start, coefficients=start.coefficients[:2])
            drawn = self._run(rows, problem.outcome[picked], start)
            return float(drawn.parameters.coefficients[TREATMENT])

        return problem.scale * _bootstrap_error(
            contrast, estimate, draws=self.draws, seed=self.seed
        )


@final
@dataclass(frozen=True, eq=False)
class _Problem:
    """The regression in a unit of about one residual, and its fit by least squares."""

    rows: Matrix  # (k, n)
    outcome: Vector  # (n,), divided by the scale
    scale: float
    mean_fit: LeastSquares  # in the outcome's own unit

    @classmethod
    def of(cls, contrast: Contrast, rows: Matrix) -> "_Problem":
        mean_fit = least_squares(rows, contrast.outcome)
        scale = _robust_scale(rows, contrast.outcome, mean_fit)
        outcome = np.divide(contrast.outcome, scale, out=contrast.empty(contrast.rows))
        return cls(rows, outcome, scale, mean_fit)

    @property
    def scaled_fit(self) -> LeastSquares:
        fit = self.mean_fit
        return replace(
            fit, coefficients=fit.coefficients / self.scale, variance=fit.variance / self.scale**2
        )

    def mean_effect(self, contrast: Contrast) -> tuple[float, Vector]:
        """Return the estimate of the mean effect and its influences."""
        influence = self.mean_fit.influence(self.rows, contrast.outcome, TREATMENT, contrast.empty)
        return float(self.mean_fit.coefficients[TREATMENT]), influence


def _varies(rows: Matrix) -> bool:
    """Say whether the prediction varies within an arm."""
    treated = rows[TREATMENT] > 0
    return any(float(np.ptp(rows[2, arm])) > 0 for arm in (treated, ~treated))


def _bootstrap_error(
    contrast: Contrast, estimate: Callable[[Integers], float], *, draws: int, seed: int
) -> float:
    """Return the standard deviation of an estimate over draws with replacement.

    Rows are drawn, or whole clusters; each arm keeps its number of them.

    Args:
        contrast: arms and clusters.
        estimate: from the positions of the drawn rows, some of which come more than once.
        draws: number of draws, >= 2.
        seed: of the draws.

    Source:
        Efron (1979), doi:10.1214/aos/1176344552.
    """
    generator = np.random.default_rng(seed)
    units = _units_of_arms(contrast)
    found = [
        estimate(np.concatenate([_draw(unit, generator) for unit in units])) for _ in range(draws)
    ]
    return float(np.std(found, ddof=1))


def _units_of_arms(contrast: Contrast) -> list[list[Integers]]:
    """Return the rows of each unit, arm by arm; one array where each row is a unit."""
    arms = [np.flatnonzero(contrast.treated), np.flatnonzero(~contrast.treated)]
    if contrast.clusters is None:
        return [[rows] for rows in arms]
    found = []
    for rows in arms:
        cluster = contrast.clusters[rows]
        order = np.argsort(cluster, kind="stable")
        cuts = np.flatnonzero(np.diff(cluster[order])) + 1
        found.append(np.split(rows[order], cuts))
    return found


def _draw(units: list[Integers], generator: np.random.Generator) -> Integers:
    """Draw as many units as there are, with replacement, and return their rows."""
    if len(units) == 1:
        rows = units[0]
        return rows[generator.integers(0, len(rows), len(rows))]
    return np.concatenate([units[one] for one in generator.integers(0, len(units), len(units))])


def _refuse_ties(outcome: Vector) -> None:
    """Refuse an outcome of which more than half is one value, usually 0.

    Such a value is, but for rare luck, among the two most frequent of a sample.

    Raises:
        InvalidValueError: if there is such a value.
    """
    sample = outcome
    if len(outcome) > _TIE_ROWS:
        sample = outcome[np.random.default_rng(0).integers(len(outcome), size=_TIE_ROWS)]
    values, counts = np.unique(sample, return_counts=True)
    for value in values[np.argsort(counts)[-2:]]:
        same = sum(np.count_nonzero(outcome[part] == value) for part in PARTS.of(len(outcome)))
        share = same / outcome.shape[0]
        if share > 0.5:
            raise InvalidValueError(
                f"metric must not be the same in more than half of the rows for state, got "
                f"{value:g} in {share:.1%}: its scale would shrink to 0. Use winsorised or "
                "difference-in-means, or read only users who did something before the experiment."
            )


def _robust_scale(rows: Matrix, outcome: Vector, mean_fit: LeastSquares) -> float:
    """Return the size of the residuals in the bulk, from a part of the rows.

    It only sets the unit that EM calculates in.

    Raises:
        InvalidValueError: if there are no residuals.
    """
    some = some_rows(outcome.shape[0], _SAMPLE)
    residual = mean_fit.residual(rows[:, some], outcome[some])
    spread = float(outcome[some].std())
    scale = float(np.median(np.abs(residual))) or math.sqrt(mean_fit.variance)
    if not scale > 1e-12 * spread:
        raise InvalidValueError(
            "metric must not be a copy of the covariates: the regression leaves no residuals."
        )
    return scale


def _diagnostics(
    found: StudentTFit, scale: float, check: SameEffectCheck, weights: WeightSummary
) -> dict[str, float]:
    return {
        "nu": found.parameters.nu,
        "sigma": math.sqrt(found.parameters.variance) * scale,
        "iterations": float(len(found.elbo)),
        "hardly_counted": weights.hardly_counted,
        "mean_weight_treated": weights.mean_treated,
        "mean_weight_control": weights.mean_control,
        "mean_weight_z": weights.z,
        "check_difference": check.difference,
        "check_standard_error": check.standard_error,
        "check_p_value": check.p_value,
        "check_detectable": check.detectable,
    }
