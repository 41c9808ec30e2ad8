"""The interface of estimators: a contrast in, an estimate and its error out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from dfl.abtest.checks.assignment import check_experiment
from dfl.abtest.rows.contrast import Contrast, Linearisation
from dfl.abtest.rows.experiment import Experiment
from dfl.stats.arrays import Vector
from dfl.stats.intervals import interval_factor, two_sided_p_value

__all__ = ["AbstractEstimator", "Effect", "Fit"]


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
    """

    estimate: float
    standard_error: float
    influence: Vector
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    caveat: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Effect:
    """The effect of one arm against the control.

    Args:
        arm: label of the arm.
        control: label of the control.
        estimate: of the effect, in units of the metric (of the ratio, for a ratio).
        standard_error: of the estimate, same unit.
        low: lower end of the normal interval.
        high: upper end.
        p_value: of "no effect", two-sided, from the normal distribution.
        level: confidence level of the interval, in (0, 1).
        control_value: mean of the metric, or the ratio, in the control arm.
        treated_rows: rows of the arm.
        control_rows: rows of the control.
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
    diagnostics: Mapping[str, float]
    verdict: str

    @property
    def relative(self) -> float | None:
        """The effect as a share of the control's value; None where that is 0."""
        return self.estimate / self.control_value if self.control_value else None


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
        return tuple(self._effect(experiment, arm, level) for arm in experiment.treated_arms)

    def _effect(self, experiment: Experiment, arm: object, level: float) -> Effect:
        contrast = experiment.contrast(arm, self.linearisation)
        fit = self.fit(contrast)
        reach = interval_factor(level) * fit.standard_error
        p_value = two_sided_p_value(fit.estimate / fit.standard_error)
        low, high = fit.estimate - reach, fit.estimate + reach
        said = _say(fit.estimate, low, high, p_value, level)
        return Effect(
            arm=str(arm),
            control=str(experiment.control_arm),
            estimate=fit.estimate,
            standard_error=fit.standard_error,
            low=low,
            high=high,
            p_value=p_value,
            level=level,
            control_value=experiment.value_of(experiment.control_arm),
            treated_rows=contrast.treated_rows,
            control_rows=contrast.rows - contrast.treated_rows,
            diagnostics=dict(fit.diagnostics),
            verdict=f"{said} {fit.caveat}".strip(),
        )


def _say(estimate: float, low: float, high: float, p_value: float, level: float) -> str:
    """Say the result in one sentence."""
    interval = f"{level:.0%} interval {low:.4g} to {high:.4g}"
    if p_value < 1 - level:
        word = "raised" if estimate > 0 else "lowered"
        return f"The arm {word} the metric by {abs(estimate):.4g} ({interval})."
    return f"No effect is shown: {estimate:+.4g} ({interval}), which includes 0."
