"""Covariates of the arms compared: by sums and some of the rows, or by means of clusters."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from dfl.abtest.checks.assignment import LEAK_ALARM, Leak, leak_between
from dfl.abtest.streamed.clusters import Clusters
from dfl.abtest.streamed.gathered import Gathered
from dfl.abtest.streamed.past import Past
from dfl.stats.arrays import Matrix
from dfl.stats.moments import Moments
from dfl.stats.randomisation import location_p_value, means_p_value, shape_p_value

__all__ = ["leaks_of"]


def leaks_of(data: Gathered, control: str, names: Sequence[str]) -> tuple[Leak, ...]:
    """Compare the covariates of the arms; as `find_leaks`.

    Args:
        data: all rows.
        control: label of the control.
        names: of the covariates; empty: their positions.
    """
    columns = data.past[control].kept.shape[1]
    names = names or [f"covariate {column}" for column in range(columns)]
    if not columns:
        return ()
    if data.clusters is None:
        return _by_sums(next(iter(data.sums.values())), data.past, control, names)
    rows = next(iter(data.rows.values()))
    return _by_clusters(rows.covariates, data.clusters, control, names)


def _by_sums(
    arms: Mapping[str, Moments], past: Mapping[str, Past], control: str, names: Sequence[str]
) -> tuple[Leak, ...]:
    """Compare means by sums over all rows, ranks and shapes among some of the rows."""
    columns = len(names)
    pairs = [(arm, column) for arm in arms if arm != control for column in range(columns)]
    alarm = LEAK_ALARM / max(2 * len(pairs), 1)
    leaks = []
    for arm, column in pairs:
        both = Moments.merged([arms[arm], arms[control]])
        place = column - columns  # behind the metric
        square = float(both.products[place, place])
        apart = float(arms[arm].mean[place] - arms[control].mean[place])
        ends = np.stack([past[arm].ends[:, column], past[control].ends[:, column]])
        furthest = float(np.abs(ends - both.mean[place]).max())
        one, two = past[arm].kept[:, column], past[control].kept[:, column]
        by_means = means_p_value((arms[arm].rows, arms[control].rows), apart, square, furthest)
        place_p = location_p_value(one, two, alarm) if by_means is None else by_means
        p_value = min(place_p, shape_p_value(one, two))
        if p_value < alarm:
            gap = apart / math.sqrt(square / both.rows)
            leaks.append(Leak(column=names[column], arm=arm, difference=gap, p_value=p_value))
    return tuple(leaks)


def _by_clusters(
    covariates: Matrix | None, clusters: Clusters, control: str, names: Sequence[str]
) -> tuple[Leak, ...]:
    """Compare the means of the clusters, one column at a time."""
    arms = [arm for arm in clusters.arms if arm != control]
    alarm = LEAK_ALARM / max(2 * len(arms) * len(names), 1)
    found = []
    for name, column in zip(names, () if covariates is None else covariates.T, strict=True):
        values = clusters.means(column)
        untreated = values[clusters.members(control)]
        for arm in arms:
            leak = leak_between(values[clusters.members(arm)], untreated, (name, arm), alarm)
            found += [] if leak is None else [leak]
    return tuple(sorted(found, key=lambda leak: arms.index(leak.arm)))
