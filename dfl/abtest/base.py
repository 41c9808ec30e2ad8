"""The interface of estimators: a contrast in, an estimate and its error out."""

from abc import ABC, abstractmethod

from dfl.abtest.checks.before_reading import check_experiment
from dfl.abtest.rows.contrast import Contrast
from dfl.abtest.rows.effect import Effect, Fit
from dfl.abtest.rows.experiment import Experiment
from dfl.abtest.rows.linearise import Linearisation
from dfl.stats.intervals import interval_factor, two_sided_p_value

__all__ = ["AbstractEstimator"]


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
