"""`aa_test`: how often an estimator cries wolf on one's own data."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import scipy

from dfl.abtest.base import AbstractEstimator
from dfl.abtest.rows.experiment import Experiment
from dfl.checks import check_count
from dfl.errors import InvalidValueError

__all__ = ["AaResult", "aa_test"]


@final
@dataclass(frozen=True, kw_only=True)
class AaResult:
    """What an estimator found where there was nothing to find.

    Args:
        runs: number of random splits.
        false_positive_rate: share of splits whose interval left 0 out.
        low: lower end of the exact 95 % interval of that rate.
        high: upper end.
        error_ratio: mean standard error over the standard deviation of the estimates; 1 is
            right, below 1 the errors are too small.
        level: confidence level of the intervals; ``1 - level`` false alarms are expected.
        verdict: the same in plain words.
    """

    runs: int
    false_positive_rate: float
    low: float
    high: float
    error_ratio: float
    level: float
    verdict: str


def aa_test(
    experiment: Experiment,
    estimator: AbstractEstimator,
    *,
    runs: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> AaResult:
    """Split the control at random, again and again, and read each split.

    Only control rows are used, whom the treatment did not touch; clusters stay whole. The parts
    are as uneven as the control and the smallest arm, which is where errors go wrong. Give the
    experiment a prediction first (`Experiment.with_prediction`), else every split makes its own.

    Args:
        experiment: with at least 4 units in its control.
        estimator: what is tried.
        runs: number of splits, >= 2.
        level: confidence level of the intervals, in (0, 1).
        seed: of the splits.

    Raises:
        InvalidValueError: if ``runs``, ``seed`` or ``level`` is out of range, the control is too
            small, or the estimator cannot read it.
        NotConvergedError: if an iteration does not reach its tolerance.
    """
    check_count("runs", runs, at_least=2)
    check_count("seed", seed, at_least=0)
    generator = np.random.default_rng(seed)
    found = np.array(
        [_read(split, estimator, level) for split in _splits(experiment, runs, generator)]
    )
    alarms = int(found[:, 2].sum())
    interval = scipy.stats.binomtest(alarms, runs).proportion_ci(0.95)
    ratio = float(found[:, 1].mean() / found[:, 0].std(ddof=1))
    return AaResult(
        runs=runs,
        false_positive_rate=alarms / runs,
        low=float(interval.low),
        high=float(interval.high),
        error_ratio=ratio,
        level=level,
        verdict=_verdict(alarms, runs, (interval.low, interval.high), 1 - level),
    )


def _read(
    split: Experiment, estimator: AbstractEstimator, level: float
) -> tuple[float, float, bool]:
    """Return estimate, error and whether the interval leaves out 0."""
    (effect,) = estimator.effects(split, level=level)
    return effect.estimate, effect.standard_error, not effect.low <= 0 <= effect.high


def _splits(
    experiment: Experiment, runs: int, generator: np.random.Generator
) -> Iterator[Experiment]:
    """Yield the control rows with some of their units, at random, called treated."""
    control = experiment.arm_of_rows == experiment.arms.index(experiment.control_arm)
    _, unit = np.unique(experiment.cluster_of_rows[control], return_inverse=True)
    units = int(unit.max()) + 1
    if units < 4:
        raise InvalidValueError(f"an A/A test needs at least 4 control units, got {units}.")
    smallest = min(experiment.unit_counts.values())
    treated = np.arange(units) < min(
        max(round(units * smallest / (units + smallest)), 2), units - 2
    )
    for _ in range(runs):
        labels = generator.permutation(treated).astype(np.int64)
        yield experiment.relabelled(control, labels[unit])


def _verdict(alarms: int, runs: int, interval: tuple[float, float], expected: float) -> str:
    found = (
        f"{alarms} of {runs} random splits of the control rows ({alarms / runs:.1%}, 95 % interval "
        f"{interval[0]:.1%} to {interval[1]:.1%}) were called significant; {expected:.1%} are "
        "expected."
    )
    if interval[0] > expected:
        return f"{found} Too many: do not trust these errors on this metric."
    if interval[1] < expected:
        return f"{found} Too few: the errors are too large, and effects go unseen."
    return f"{found} No sign that the errors are wrong on this metric."
