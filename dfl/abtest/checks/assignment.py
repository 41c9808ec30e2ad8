"""`check_experiment`: was the assignment random as planned, and the past untouched by it?"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from dfl.abtest.rows.experiment import Experiment, is_share
from dfl.errors import InvalidValueError, SampleRatioError
from dfl.stats.arrays import Integers, Vector
from dfl.stats.randomisation import (
    counts_p_value,
    location_p_value,
    shape_p_value,
    table_p_value,
)

__all__ = [
    "LEAK_ALARM",
    "Leak",
    "LeakWarning",
    "SampleRatio",
    "check_experiment",
    "check_sample_ratio",
    "describe_leaks",
    "find_leaks",
    "leak_between",
    "require_plan",
    "sample_ratio",
    "sample_ratio_of",
    "segment_leak",
    "warn_of_leaks",
]

_MISMATCH = 5e-4  # one false alarm in 2,000 sound experiments
LEAK_ALARM = 1e-3
"""Chance that a sound experiment is warned about, over all tests together."""


@final
@dataclass(frozen=True, kw_only=True)
class SampleRatio:
    """Sizes of the arms beside the plan.

    Args:
        observed: arm to its number of randomised units.
        expected: arm to the number that the plan expects.
        p_value: of sizes this far from the plan, if the plan was followed.
    """

    observed: Mapping[str, int]
    expected: Mapping[str, float]
    p_value: float


def sample_ratio(experiment: Experiment) -> SampleRatio:
    """Test the sizes of the arms against the planned shares by Pearson's chi-square.

    By sizes drawn from the plan where it expects less than 10 units in an arm.

    Args:
        experiment: its randomised units (clusters where there are any) are counted.

    Source:
        Fabijan et al. (2019), doi:10.1145/3292500.3330722.
    """
    return sample_ratio_of(experiment.unit_counts, experiment.shares)


def sample_ratio_of(observed: Mapping[Any, int], shares: Mapping[Any, float] | None) -> SampleRatio:
    """Test sizes of arms against planned shares; see `sample_ratio`.

    Args:
        observed: arm to its number of randomised units.
        shares: planned share of each arm, any positive scale; None: equal shares.

    Raises:
        InvalidValueError: if an arm has no planned share, one is not positive and finite, or a
            planned arm has no units.
    """
    shares = shares or dict.fromkeys(observed, 1.0)
    empty = [arm for arm in shares if arm not in observed]
    if empty:
        raise InvalidValueError(
            f"every planned arm must have rows, {empty} are empty; the arms are {list(observed)}."
        )
    lacking = [arm for arm in observed if not is_share(shares.get(arm, 0))]
    if lacking:
        raise InvalidValueError(
            f"shares must be > 0 and finite for every arm, got none for {lacking}."
        )
    plain, units = {arm: float(share) for arm, share in shares.items()}, sum(observed.values())
    parts = {arm: share / max(plain.values()) for arm, share in plain.items()}
    expected = {arm: units * parts[arm] / sum(parts.values()) for arm in observed}
    counts, plan = np.array(list(observed.values())), np.array(list(expected.values()))
    return SampleRatio(
        observed={str(arm): count for arm, count in observed.items()},
        expected={str(arm): count for arm, count in expected.items()},
        p_value=counts_p_value(counts, plan),
    )


def check_sample_ratio(experiment: Experiment) -> SampleRatio:
    """Return the sample ratio, or fail where it cannot be chance.

    Raises:
        SampleRatioError: if the p-value is below 0.0005.
    """
    return require_plan(sample_ratio(experiment), planned=bool(experiment.shares))


def require_plan(found: SampleRatio, *, planned: bool) -> SampleRatio:
    """Return sizes of arms, or fail where they cannot be chance.

    Args:
        found: sizes beside the plan.
        planned: whether shares were given.

    Raises:
        SampleRatioError: if the p-value is below 0.0005.
    """
    if found.p_value < _MISMATCH:
        sizes = ", ".join(
            f"{arm}: {count:,} for {found.expected[arm]:,.0f} planned"
            for arm, count in found.observed.items()
        )
        plan = "by shares" if planned else "as equal shares were assumed"
        raise SampleRatioError(
            f"sample ratio mismatch (p = {found.p_value:.1e}), {sizes}, {plan}. Units were lost or "
            "assigned otherwise than planned, and no estimate can repair that: find out why "
            "before reading any metric. If the plan was another one, say so by shares."
        )
    return found


@final
class LeakWarning(UserWarning):
    """Something that should have been known before the experiment differs between the arms."""


@final
@dataclass(frozen=True, kw_only=True)
class Leak:
    """A column that differs between the arms more than chance allows.

    Args:
        column: name of the covariate, or "prediction" or "segments".
        arm: the arm that differs from the control; "all" for segments.
        difference: of the means, in standard deviations; 0 for segments.
        p_value: of a difference this large by chance.
    """

    column: str
    arm: str
    difference: float
    p_value: float


def find_leaks(experiment: Experiment) -> tuple[Leak, ...]:
    """Compare every covariate, the prediction and the segments between the arms.

    Random assignment makes all of them alike. Locations are compared by means, or by ranks where
    single units weigh much in these; distributions by the test of Kolmogorov and Smirnov;
    segments by chi-square. Arms too small for these laws are dealt anew. Clusters count once, by
    their mean. A column is reported where ``p < 0.001 / number of tests``.

    Args:
        experiment: its covariates, prediction and segments are compared.
    """
    columns = _columns(experiment)
    arms = experiment.treated_arms
    tests = 2 * len(columns) * len(arms) + (experiment.segments is not None)
    alarm = LEAK_ALARM / max(tests, 1)
    control = experiment.unit_arms == experiment.arms.index(experiment.control_arm)
    found = list(_segment_leak(experiment, alarm))
    for arm in arms:
        treated = experiment.unit_arms == experiment.arms.index(arm)
        for name, values in columns.items():
            leak = leak_between(values[treated], values[control], (name, str(arm)), alarm)
            found += [] if leak is None else [leak]
    return tuple(found)


def leak_between(one: Vector, two: Vector, called: tuple[str, str], alarm: float) -> Leak | None:
    """Compare a column between an arm and the control; return the leak if there is one.

    Args:
        one: values of the units of the arm. Shape ``(n,)``.
        two: of the control. Shape ``(m,)``.
        called: names of the column and the arm.
        alarm: p-value below which they differ.
    """
    p_value = min(location_p_value(one, two, alarm), shape_p_value(one, two))
    if p_value >= alarm:
        return None
    return Leak(column=called[0], arm=called[1], difference=_difference(one, two), p_value=p_value)


def warn_of_leaks(experiment: Experiment) -> tuple[Leak, ...]:
    """Return the leaks, after warning of them.

    Warns:
        LeakWarning: if there are any; names the columns.
    """
    leaks = find_leaks(experiment)
    if leaks:
        warnings.warn(describe_leaks(leaks), LeakWarning, stacklevel=4)
    return leaks


def describe_leaks(leaks: Sequence[Leak]) -> str:
    """Say which columns leak, and what to do."""
    named = ", ".join(
        f"{leak.column} ({leak.arm}: {leak.difference:+.2f} sd, p = {leak.p_value:.0e})"
        for leak in leaks
    )
    return (
        f"these columns differ between the arms more than chance allows: {named}. Measured after "
        "the treatment began, they take part of its effect away; leave them out, or measure them "
        "before."
    )


def check_experiment(experiment: Experiment) -> tuple[SampleRatio, tuple[Leak, ...]]:
    """Check that the assignment was random as planned, and the covariates untouched by it.

    Args:
        experiment: rows of all arms.

    Raises:
        SampleRatioError: if the arms' sizes contradict the plan.

    Warns:
        LeakWarning: if a covariate differs between the arms more than chance allows.
    """
    return check_sample_ratio(experiment), warn_of_leaks(experiment)


def _columns(experiment: Experiment) -> dict[str, Vector]:
    """Return covariates and prediction by name, one value per randomised unit."""
    columns: dict[str, Vector] = {}
    given = experiment.columns
    if given.covariates is not None:
        for index, values in enumerate(given.covariates.T):
            columns[experiment.covariate_name(index)] = values
    if given.prediction is not None:
        columns["prediction"] = given.prediction
    if given.clusters is None:
        return columns
    cluster = experiment.cluster_of_rows
    rows = np.bincount(cluster)
    return {name: np.bincount(cluster, weights=values) / rows for name, values in columns.items()}


def _difference(one: Vector, two: Vector) -> float:
    """Return the difference of the means in standard deviations."""
    return float(one.mean() - two.mean()) / float(np.concatenate([one, two]).std())


def _segment_leak(experiment: Experiment, alarm: float) -> Iterator[Leak]:
    """Test whether segments and arms are independent."""
    segments = experiment.columns.segments
    if segments is None:
        return
    _, segment = np.unique(segments, return_inverse=True)
    yield from segment_leak(_counts(segment, experiment), alarm)


def segment_leak(counts: Integers, alarm: float) -> Iterator[Leak]:
    """Yield the leak of segments and arms that depend on each other, if they do.

    Args:
        counts: randomised units by segment and arm, each with some. Shape ``(segments, arms)``.
        alarm: p-value below which they do.
    """
    if counts.shape[0] > 1:
        p_value = table_p_value(counts, alarm)
        if p_value < alarm:
            yield Leak(column="segments", arm="all", difference=0.0, p_value=p_value)


def _counts(segment: Integers, experiment: Experiment) -> Any:
    """Return randomised units by segment and arm; a unit in two segments counts in both."""
    arms = len(experiment.arms)
    pairs = np.unique(np.stack([segment, experiment.cluster_of_rows]), axis=1)
    cell = pairs[0] * arms + experiment.unit_arms[pairs[1]]
    return np.bincount(cell, minlength=(int(segment.max()) + 1) * arms).reshape(-1, arms)
