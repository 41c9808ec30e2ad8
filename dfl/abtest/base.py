"""The interface of estimators: a contrast in, an estimate and its error out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import final

from dfl.abtest.checks.assignment import check_experiment
from dfl.abtest.rows.contrast import Contrast, Linearisation
from dfl.abtest.rows.experiment import Experiment
from dfl.errors import InvalidValueError
from dfl.stats.arrays import Matrix, Vector
from dfl.stats.intervals import interval_factor
from dfl.stats.small_samples import Spread

__all__ = ["AbstractEstimator", "Effect", "Fit", "effect_of"]

_HANDFUL = 10  # degrees of freedom


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Fit:
    """The number that an estimator found on a `Contrast`.

    Args:
        estimate: of the effect, in units of the metric.
        standard_error: of the estimate, same unit.
        influence: what each row adds to ``n`` times the estimate. Shape ``(n,)``.
        diagnostics: numbers that say how the estimate came about.
        caveat: what the reader must know, in plain words, or empty.
        bessel: whether the influence makes up for the arms' means, as that of
            `Contrast.mean_difference` does.
        design: regressors that were fitted to the outcome, one per row, or None for the arms'
            means alone. Shape ``(k, n)``.
        least_units: of each arm, below which intervals are not known to hold.
    """

    estimate: float
    standard_error: float
    influence: Vector
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    caveat: str = ""
    bessel: bool = False
    design: Matrix | None = None
    least_units: int = 2


@final
@dataclass(frozen=True, kw_only=True)
class Effect:
    """The effect of one arm against the control.

    Args:
        arm: label of the arm.
        control: label of the control.
        estimate: of the effect, in units of the metric (of the ratio, for a ratio).
        standard_error: of the estimate, same unit; for small or clustered samples corrected,
            see `spread_of`.
        low: lower end of the interval.
        high: upper end.
        p_value: of "no effect", two-sided; below ``1 - level`` where the interval leaves out 0.
        level: confidence level of the interval, in (0, 1).
        control_value: mean of the metric, or the ratio, in the control arm.
        treated_rows: rows of the arm.
        control_rows: rows of the control.
        degrees: of freedom of the t law behind interval and p-value; None: the normal law.
        diagnostics: numbers that say how the estimate came about.
        verdict: the result in plain words.
    """

    arm: str
    control: str
    estimate: float
    standard_error: float
    low: float
    high: float
    p_value: float
    level: float
    control_value: float
    treated_rows: int
    control_rows: int
    degrees: float | None
    diagnostics: Mapping[str, float]
    verdict: str

    @property
    def relative(self) -> float | None:
        """The effect as a share of the control's size, its sign kept; None where that is 0."""
        return self.estimate / abs(self.control_value) if self.control_value else None


class AbstractEstimator(ABC):
    """Estimates the effect of each arm against the control."""

    @property
    @abstractmethod
    def linearisation(self) -> Linearisation:
        """How a ratio metric becomes one number per row, see `linearise_arms`."""

    @abstractmethod
    def fit(self, contrast: Contrast) -> Fit:
        """Estimate the effect in one contrast.

        Args:
            contrast: treated and control rows; not modified.

        Returns:
            Estimate, standard error > 0 and influence, in units of the outcome.

        Raises:
            InvalidValueError: if the estimator cannot read this contrast; says why.
            NotConvergedError: if an iteration does not reach its tolerance.
        """

    def estimate(self, experiment: Experiment, *, level: float = 0.95) -> tuple[Effect, ...]:
        """Return the effect of every arm, after checking the experiment.

        Args:
            experiment: rows of all arms.
            level: confidence level of the intervals, in (0, 1).

        Raises:
            SampleRatioError: if the arms' sizes contradict the plan.
            InvalidValueError: if the estimator cannot read the experiment, or ``level`` is out
                of range.
            NotConvergedError: if an iteration does not reach its tolerance.
        """
        check_experiment(experiment)
        return self.effects(experiment, level=level)

    def effects(self, experiment: Experiment, *, level: float = 0.95) -> tuple[Effect, ...]:
        """Return the effect of every arm; sample ratio and leaks were checked before.

        Args:
            experiment: rows of all arms.
            level: confidence level of the intervals, in (0, 1).

        Raises:
            InvalidValueError: if the estimator cannot read the experiment, or ``level`` is out
                of range.
            NotConvergedError: if an iteration does not reach its tolerance.
        """
        return tuple(self.effect(experiment, arm, level=level) for arm in experiment.treated_arms)

    def effect(self, experiment: Experiment, arm: object, *, level: float = 0.95) -> Effect:
        """Return the effect of one arm; sample ratio and leaks were checked before.

        Args:
            experiment: rows of all arms.
            arm: its label.
            level: confidence level of the interval, in (0, 1).

        Raises:
            InvalidValueError: if the estimator cannot read the arm, or an argument is none.
            NotConvergedError: if an iteration does not reach its tolerance.
        """
        return self.read(
            experiment.contrast(arm, self.linearisation),
            (str(arm), str(experiment.control_arm)),
            level=level,
            value=experiment.value_of(experiment.control_arm),
        )

    def read(
        self, contrast: Contrast, labels: tuple[str, str], *, level: float, value: float
    ) -> Effect:
        """Return the effect in one contrast; sample ratio and leaks were checked before.

        Args:
            contrast: treated and control rows.
            labels: of the arm and the control.
            level: confidence level of the interval, in (0, 1).
            value: of the metric in the control.

        Raises:
            InvalidValueError: if the estimator cannot read the contrast, or ``level`` is none.
            NotConvergedError: if an iteration does not reach its tolerance.
        """
        factor = interval_factor(level)
        fit = self.fit(contrast)
        contrast.require_units(fit.least_units)
        spread = contrast.spread(
            fit.standard_error, fit.influence, bessel=fit.bessel, design=fit.design
        )
        return effect_of(
            labels,
            fit.estimate,
            spread,
            factor,
            level,
            value=value,
            rows=(contrast.treated_rows, contrast.rows - contrast.treated_rows),
            diagnostics=fit.diagnostics,
            caveat=fit.caveat,
        )


def effect_of(
    labels: tuple[str, str],
    estimate: float,
    spread: Spread,
    factor: float,
    level: float,
    *,
    value: float,
    rows: tuple[int, int],
    diagnostics: Mapping[str, float],
    caveat: str = "",
) -> Effect:
    """Put an estimate, its error and its law into words and numbers.

    Args:
        labels: of the arm and the control.
        estimate: of the effect, in units of the metric.
        spread: its error and law.
        factor: quantile of the normal law.
        level: confidence level.
        value: of the metric in the control.
        rows: of the arm and the control.
        diagnostics: numbers that say how the estimate came about.
        caveat: what the reader must know, or empty.

    Raises:
        InvalidValueError: if a number is NaN or infinite.
    """
    low, high = spread.interval(estimate, factor, level)
    p_value = spread.p_value(estimate)
    if not all(map(math.isfinite, (estimate, spread.error, low, high, p_value))):
        raise InvalidValueError(
            f"the effect must be finite, got {estimate:g} in [{low:g}, {high:g}], p = "
            f"{p_value:g}; give the metric in another unit, or read more rows."
        )
    said = [_say(estimate, low, high, p_value, level), caveat, _few(spread)]
    return Effect(
        arm=labels[0],
        control=labels[1],
        estimate=estimate,
        standard_error=spread.error,
        low=low,
        high=high,
        p_value=p_value,
        level=level,
        control_value=value,
        treated_rows=rows[0],
        control_rows=rows[1],
        degrees=spread.degrees if math.isfinite(spread.degrees) else None,
        diagnostics=dict(diagnostics),
        verdict=" ".join(filter(None, said)),
    )


def _say(estimate: float, low: float, high: float, p_value: float, level: float) -> str:
    """Say the result in one sentence."""
    share = (Decimal(str(level)) * 100).normalize()  # 99.5, not 100
    interval = f"{share:f}% interval {low:.4g} to {high:.4g}"
    if p_value < 1 - level:
        word = "raised" if estimate > 0 else "lowered"
        return f"The arm {word} the metric by {abs(estimate):.4g} ({interval})."
    return f"No effect is shown: {estimate:+.4g} ({interval}), which includes 0."


def _few(spread: Spread) -> str:
    """Warn of intervals that rest on a handful of units."""
    if spread.degrees >= _HANDFUL:
        return ""
    return (
        f"Few units carry this: its interval has {spread.degrees:.1f} degrees of freedom, and "
        "holds if the units of an arm vary alike."
    )
