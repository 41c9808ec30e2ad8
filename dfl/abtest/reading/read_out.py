"""`read_out`: every metric, segment and estimator of an experiment at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from typing import Any, final

from dfl.abtest.base import AbstractEstimator, Effect
from dfl.abtest.checks.aa import AaResult, aa_test
from dfl.abtest.checks.assignment import Leak, SampleRatio, check_experiment
from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.rows.experiment import Experiment
from dfl.checks import check_count
from dfl.errors import DflError, InvalidValueError
from dfl.stats.multiple_testing import Correction, adjust_p_values, check_correction

__all__ = ["Findings", "ReadOut", "Reading", "Refusal", "read_out"]


@final
@dataclass(frozen=True, kw_only=True)
class Reading:
    """One effect, and where it was read.

    Args:
        metric: name of the metric.
        segment: label of the segment, or None for all rows.
        estimator: name of the estimator.
        effect: what it found.
        adjusted_p_value: the p-value after the correction for reading many.
    """

    metric: str
    segment: str | None
    estimator: str
    effect: Effect
    adjusted_p_value: float

    @property
    def significant(self) -> bool:
        """Whether the adjusted p-value is below ``1 - level``."""
        return self.adjusted_p_value < 1 - self.effect.level


@final
@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What could not be read, and why.

    Args:
        metric: name of the metric.
        segment: label of the segment, or None for all rows.
        arm: its label, or None for all arms.
        estimator: name of the estimator, or None for all of them.
        reason: what was said.
    """

    metric: str
    segment: str | None = None
    arm: str | None = None
    estimator: str | None = None
    reason: str

    def __str__(self) -> str:
        """Say in one line what is missing, and why."""
        where = [self.metric]
        where += [] if self.segment is None else [f"in {self.segment}"]
        where += [] if self.arm is None else [f"arm {self.arm}"]
        who = "every estimator" if self.estimator is None else self.estimator
        return f"{' '.join(where)}, {who}: not read, {self.reason}"


@final
@dataclass(frozen=True, kw_only=True)
class ReadOut:
    """Everything that was read.

    Args:
        readings: effects, metric by metric.
        refusals: what could not be read, and why.
        sample_ratio: sizes of the arms beside the plan.
        leaks: covariates that differ between the arms.
        correction: how p-values were adjusted, over metrics, arms and segments of one
            estimator.
        splits: metric to estimator to its A/A test, or to why it could not be made; empty
            without.
    """

    readings: tuple[Reading, ...]
    refusals: tuple[Refusal, ...]
    sample_ratio: SampleRatio
    leaks: tuple[Leak, ...]
    correction: Correction
    splits: Mapping[str, Mapping[str, AaResult | str]] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """Return everything as plain values, to be written as JSON."""
        content = asdict(self)
        content["aa"] = {
            metric: {
                name: {"refused": one} if isinstance(one, str) else one for name, one in by.items()
            }
            for metric, by in content.pop("splits").items()
        }
        for written, reading in zip(content["readings"], self.readings, strict=True):
            written["effect"]["relative"] = reading.effect.relative
        return content


def read_out(
    experiments: Mapping[str, Experiment],
    estimators: Mapping[str, AbstractEstimator],
    *,
    level: float = 0.95,
    correction: Correction = "holm",
    cross_fit: CrossFit | None = None,
    splits: int = 0,
    seed: int = 0,
) -> ReadOut:
    """Read several metrics of one experiment by several estimators, overall and by segment.

    The assignment is checked once, before anything that takes long. Covariates are turned into a
    prediction once per metric, for all estimators, arms, segments and A/A tests. Each reading
    stands alone: what cannot be read is noted with its reason, unless nothing at all can be.

    Args:
        experiments: metric name to the experiment with that metric; all else alike.
        estimators: name to estimator.
        level: confidence level of the intervals, in (0, 1).
        correction: see `adjust_p_values`; over all metrics, arms and segments that one
            estimator reads.
        cross_fit: makes the predictions; None: two folds of histogram gradient boosting.
        splits: of the control, in an A/A test of each estimator on each metric, >= 2; 0: none.
        seed: of the A/A tests.

    Raises:
        InvalidValueError: if there is no metric or no estimator, or a number is out of range.
        DflError: if the assignment fails its check, or no estimator can read anything.

    Warns:
        LeakWarning: if a covariate differs between the arms more than chance allows.
    """
    if not experiments or not estimators:
        raise InvalidValueError("read_out needs at least one metric and one estimator.")
    check_correction(correction)
    check_count("seed", seed, at_least=0)
    check_count("splits", splits, at_least=0 if splits == 0 else 2)
    ratio, leaks = check_experiment(next(iter(experiments.values())))
    predicted = {metric: _predicted(one, cross_fit) for metric, one in experiments.items()}
    findings = Findings()
    for metric, experiment in predicted.items():
        for segment, part in _parts(experiment):
            if isinstance(part, DflError):
                findings.refuse(metric, segment, part)
                continue
            read = partial(_effect, part, level)
            findings.read(metric, segment, estimators, part.treated_arms, read)
    return ReadOut(
        readings=findings.adjusted(correction),
        refusals=tuple(findings.refusals),
        sample_ratio=ratio,
        leaks=leaks,
        correction=correction,
        splits={
            metric: {
                name: _split(experiment, estimator, runs=splits, level=level, seed=seed)
                for name, estimator in estimators.items()
            }
            for metric, experiment in predicted.items()
            if splits
        },
    )


@final
class Findings:
    """Collects effects, and what could not be read."""

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []
        self._found: list[tuple[str, str | None, str, Effect]] = []
        self._failure: DflError | None = None

    def refuse(self, metric: str, segment: str | None, reason: DflError) -> None:
        """Note that all of a metric or segment cannot be read."""
        self.refusals.append(Refusal(metric=metric, segment=segment, reason=str(reason)))

    def read(
        self,
        metric: str,
        segment: str | None,
        estimators: Mapping[str, AbstractEstimator],
        arms: Sequence[Any],
        effect: Callable[[AbstractEstimator, Any], Effect],
    ) -> None:
        """Read every arm by every estimator.

        Args:
            metric: name of the metric.
            segment: label of the segment, or None for all rows.
            estimators: name to estimator.
            arms: labels of the treated arms.
            effect: reads an arm, or raises why it cannot.
        """
        for (name, estimator), arm in product(estimators.items(), arms):
            try:
                self._found.append((metric, segment, name, effect(estimator, arm)))
            except DflError as error:
                self._failure = self._failure or error
                where = str(arm) if len(arms) > 1 else None
                self.refusals.append(
                    Refusal(
                        metric=metric,
                        segment=segment,
                        arm=where,
                        estimator=name,
                        reason=str(error),
                    )
                )

    def adjusted(self, correction: Correction) -> tuple[Reading, ...]:
        """Return the readings, p-values adjusted over all that one estimator read.

        Raises:
            DflError: the first that was met, if nothing could be read.
        """
        if not self._found and self._failure is not None:
            raise self._failure
        adjusted: dict[int, float] = {}
        for name in {name: None for _, _, name, _ in self._found}:
            own = [place for place, (_, _, one, _) in enumerate(self._found) if one == name]
            p_values = [self._found[place][3].p_value for place in own]
            values = adjust_p_values(p_values, correction=correction)
            adjusted.update(zip(own, values.tolist(), strict=True))
        return tuple(
            Reading(
                metric=metric,
                segment=segment,
                estimator=name,
                effect=effect,
                adjusted_p_value=adjusted[place],
            )
            for place, (metric, segment, name, effect) in enumerate(self._found)
        )


def _effect(
    experiment: Experiment, level: float, estimator: AbstractEstimator, arm: object
) -> Effect:
    return estimator.effect(experiment, arm, level=level)


def _predicted(experiment: Experiment, cross_fit: CrossFit | None) -> Experiment:
    """Give the experiment a prediction where it has covariates only."""
    if experiment.covariates is None or experiment.prediction is not None:
        return experiment
    try:
        return experiment.with_prediction(cross_fit)
    except DflError:  # estimators that need one will say so, the others read on
        return experiment


def _parts(experiment: Experiment) -> Iterator[tuple[str | None, Experiment | DflError]]:
    """Yield all rows, then each segment, or why it is none."""
    yield None, experiment
    for segment in () if experiment.segments is None else experiment.segment_labels:
        try:
            yield str(segment), experiment.segment(segment)
        except DflError as error:
            yield str(segment), error


def _split(
    experiment: Experiment, estimator: AbstractEstimator, *, runs: int, level: float, seed: int
) -> AaResult | str:
    """Return the A/A test, or why it could not be made."""
    try:
        return aa_test(experiment, estimator, runs=runs, level=level, seed=seed)
    except DflError as error:
        return str(error)
