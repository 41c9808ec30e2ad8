"""Covariates of the arms compared, by sums and some rows or by means of clusters; segments."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from dfl.abtest.checks.assignment import LEAK_ALARM, Leak, leak_between, segment_leak
from dfl.abtest.streamed.clusters import Clusters
from dfl.abtest.streamed.gathered import Gathered
from dfl.abtest.streamed.kept import KeptRows
from dfl.abtest.streamed.numbering import Numbering
from dfl.abtest.streamed.past import Past
from dfl.scale import PARTS
from dfl.stats.arrays import Counts, Integers, Matrix
from dfl.stats.moments import Moments
from dfl.stats.randomisation import location_p_value, means_p_value, shape_p_value

__all__ = ["leaks_of"]


def leaks_of(data: Gathered, control: str, names: Sequence[str]) -> tuple[Leak, ...]:
    """Compare the covariates and the segments of the arms; as `find_leaks`.

    Args:
        data: all rows.
        control: label of the control.
        names: of the covariates; empty: their positions.
    """
    columns = data.past[control].kept.shape[1]
    names = names or [f"covariate {column}" for column in range(columns)]
    rows = next(iter(data.rows.values()), None)
    codes = None if rows is None else rows.segment_codes
    alarm = LEAK_ALARM / max(2 * columns * (len(data.past) - 1) + (codes is not None), 1)
    leaks: list[Leak] = []
    if rows is not None and codes is not None:
        leaks += segment_leak(_segment_counts(rows, codes, data.clusters), alarm)
    if rows is not None and data.clusters is not None:
        return (*leaks, *_by_clusters(rows.covariates, data.clusters, control, names, alarm))
    arms = next(iter(data.sums.values()))
    return (*leaks, *_by_sums(arms, data.past, control, names, alarm))


def _segment_counts(rows: KeptRows, codes: Counts, clusters: Clusters | None) -> Integers:
    """Return units by segment and arm, those that are there; one in two segments counts in both."""
    shape = len(rows.segments), len(rows.arms)
    found = np.zeros(shape[0] * shape[1], np.int64)
    if clusters is None:
        for part in PARTS.of(rows.rows):
            cell = codes[part].astype(np.int64) * shape[1] + rows.codes[part]
            found += np.bincount(cell, minlength=len(found))
    else:
        units = len(clusters.places)
        pairs = Numbering.of(
            codes[part].astype(np.int64) * units + clusters.of_rows[part]
            for part in PARTS.of(rows.rows)
        ).known
        cell = pairs // units * shape[1] + clusters.places[pairs % units]
        found += np.bincount(cell, minlength=len(found))
    counts = found.reshape(shape)
    return counts[np.ix_(counts.any(axis=1), counts.any(axis=0))]


def _by_sums(
    arms: Mapping[str, Moments],
    past: Mapping[str, Past],
    control: str,
    names: Sequence[str],
    alarm: float,
) -> tuple[Leak, ...]:
    """Compare means by sums over all rows, ranks and shapes among some of the rows."""
    columns = len(names)
    pairs = [(arm, column) for arm in arms if arm != control for column in range(columns)]
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
    covariates: Matrix | None,
    clusters: Clusters,
    control: str,
    names: Sequence[str],
    alarm: float,
) -> tuple[Leak, ...]:
    """Compare the means of the clusters, one column at a time."""
    arms = [arm for arm in clusters.arms if arm != control]
    found = []
    for name, column in zip(names, () if covariates is None else covariates.T, strict=True):
        values = clusters.means(column)
        untreated = values[clusters.members(control)]
        for arm in arms:
            leak = leak_between(values[clusters.members(arm)], untreated, (name, arm), alarm)
            found += [] if leak is None else [leak]
    return tuple(sorted(found, key=lambda leak: arms.index(leak.arm)))
