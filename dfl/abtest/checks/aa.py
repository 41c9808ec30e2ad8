"""`aa_test`: how often an estimator cries wolf on one's own data."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
import scipy

from dfl.abtest.base import AbstractEstimator, Effect
from dfl.abtest.rows.experiment import Experiment
from dfl.checks import check_count
from dfl.errors import DflError, InvalidValueError
from dfl.scale import Chunks
from dfl.stats.arrays import Booleans

__all__ = ["AaResult", "aa_of", "aa_test", "splits"]

_DEALT = Chunks(1 << 20)  # units that are shuffled at once
_MOST = 10**9  # numpy's hypergeometric law
_SAME = 1e-9  # standard errors by which estimates may differ by rounding


@final
@dataclass(frozen=True, kw_only=True)
class AaResult:
    """What an estimator found where there was nothing to find.

    Args:
        runs: number of random splits that could be read.
        refused: number of those that could not.
        false_positive_rate: share of splits whose interval left 0 out.
        low: lower end of the exact 95 % interval of that rate.
        high: upper end.
        error_ratio: mean standard error over the standard deviation of the estimates; 1 is
            right, below 1 the errors are too small; None where all estimates are the same.
        level: confidence level of the intervals; ``1 - level`` false alarms are expected.
        verdict: the same in plain words.
    """

    runs: int
    refused: int
    false_positive_rate: float
    low: float
    high: float
    error_ratio: float | None
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
    Splits that the estimator cannot read are counted apart.

    Args:
        experiment: with at least 4 units in its control.
        estimator: what is tried.
        runs: number of splits, >= 2.
        level: confidence level of the intervals, in (0, 1).
        seed: of the splits.

    Raises:
        InvalidValueError: if ``runs``, ``seed`` or ``level`` is out of range, or the control is
            too small.
        DflError: why the first split could not be read, if less than 2 can.
    """
    control = experiment.arm_of_rows == experiment.arms.index(experiment.control_arm)
    _, unit = np.unique(experiment.cluster_of_rows[control], return_inverse=True)
    units, smallest = int(unit.max()) + 1, min(experiment.unit_counts.values())

    def effect(treated: Iterator[Booleans]) -> Effect:
        parts = [one.astype(np.int64) for one in treated]
        split = experiment.relabelled(control, np.concatenate(parts)[unit])
        (found,) = estimator.effects(split, level=level)
        return found

    dealt = splits(units, smallest, runs=runs, seed=seed)
    return aa_of((partial(effect, treated) for treated in dealt), level)


def splits(units: int, smallest: int, *, runs: int, seed: int) -> Iterator[Iterator[Booleans]]:
    """Yield which units of the control are called treated, split by split and part by part.

    As many as make the parts as uneven as the control and the smallest arm; every choice of so
    many is equally likely. Parts of a split hold 1,048,576 units, the last one fewer: what of
    them is treated is hypergeometric, and which ones a permutation tells. The parts of a split
    must be taken before the next split.

    Args:
        units: of the control.
        smallest: units of the smallest arm.
        runs: number of splits, >= 2.
        seed: of the splits.

    Raises:
        InvalidValueError: if an argument is out of range.
    """
    check_count("runs", runs, at_least=2)
    check_count("seed", seed, at_least=0)
    if not 4 <= units < _MOST:
        raise InvalidValueError(
            f"an A/A test needs 4 to {_MOST - 1:,} control units, got {units:,}."
        )
    treated = min(max(round(units * smallest / (units + smallest)), 2), units - 2)
    generator = np.random.default_rng(seed)
    for _ in range(runs):
        yield _dealt(units, treated, generator)


def _dealt(units: int, treated: int, generator: np.random.Generator) -> Iterator[Booleans]:
    for part in _DEALT.of(units):
        size, own = part.stop - part.start, treated
        if part.stop < units:
            own = int(generator.hypergeometric(treated, units - part.start - treated, size))
        treated -= own
        yield generator.permutation(np.arange(size) < own)


def aa_of(effects: Iterable[Callable[[], Effect]], level: float) -> AaResult:
    """Count what was found where there was nothing to find.

    Args:
        effects: one per split, at least 2; reads it, or raises why it cannot.
        level: confidence level of their intervals.

    Raises:
        DflError: why the first split could not be read, if less than 2 can.
    """
    read, reasons = [], []
    for effect in effects:
        try:
            one = effect()
        except DflError as error:
            reasons.append(error.with_traceback(None))  # which would hold on to the rows
        else:
            read.append((one.estimate, one.standard_error, not one.low <= 0 <= one.high))
    if len(read) < 2 and reasons:
        raise reasons[0]
    found = np.array(read)
    runs, alarms = len(found), int(found[:, 2].sum())
    interval = scipy.stats.binomtest(alarms, runs).proportion_ci(0.95)
    stated, true = float(found[:, 1].mean()), float(found[:, 0].std(ddof=1))
    verdict = _verdict(alarms, runs, (interval.low, interval.high), 1 - level)
    if reasons:
        verdict += f" {len(reasons)} more could not be read, the first because {reasons[0]}"
    return AaResult(
        runs=runs,
        refused=len(reasons),
        false_positive_rate=alarms / runs,
        low=float(interval.low),
        high=float(interval.high),
        error_ratio=stated / true if true > _SAME * stated else None,
        level=level,
        verdict=verdict,
    )


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
