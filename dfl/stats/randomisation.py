"""Tests of random assignment whose false alarms are as rare as promised, however small the arms."""

import math
import warnings
from collections.abc import Callable, Iterator

import numpy as np

from dfl.stats.arrays import Integers, Vector
from dfl.stats.intervals import two_sided_p_value

__all__ = [
    "counts_p_value",
    "location_p_value",
    "means_p_value",
    "shape_p_value",
    "table_p_value",
]

_DRAWS = 50_000
_SORTED = 100_000  # units of a sample that are sorted
_ENOUGH = 30  # draws as far out as the data: more of them tell nothing new
_NUMBERS = 2_000_000  # held at once
_SMALL = 0.1  # share of a standard error that one unit may hold where normal tails are trusted
_EXPECTED = 10  # units in the smallest cell where chi-square tails are trusted
_EXACT = (20, 1_000)  # units of the arms up to which shapes are tested exactly


def location_p_value(one: Vector, two: Vector, alarm: float) -> float:
    """Return the p-value of "both samples lie at the same place".

    Of their means where no unit weighs much in them, else of Wilcoxon's ranks (on up to 100,000
    units each); where a p-value of ranks below ``alarm`` rests on too few units or too many
    ties for the normal law, the units are dealt anew.

    Args:
        one: values of the units of an arm. Shape ``(n,)``.
        two: of another arm. Shape ``(m,)``.
        alarm: p-value that has consequences, > 0.
    """
    from scipy import stats  # loads on use

    usual, weight, _ = _sum_test(one, two)
    if weight < _SMALL:
        return usual
    one, two = _thinned(one), _thinned(two)
    rank = stats.rankdata(np.concatenate([one, two]))
    usual, weight, found = _sum_test(rank[: len(one)], rank[len(one) :])
    if usual >= alarm or weight < _SMALL:
        return usual
    rank -= rank.mean()
    few = min(len(one), len(two))

    def draw(generator: np.random.Generator, count: int) -> Vector:
        order = generator.random((count, len(rank)))
        picked = np.argpartition(order, few - 1, axis=1)[:, :few]
        far: Vector = np.abs(rank[picked].sum(axis=1))
        return far

    return _tail(draw, found * (1 - 1e-9), usual, len(rank))


def means_p_value(
    rows: tuple[int, int], apart: float, square: float, furthest: float
) -> float | None:
    """Return the p-value of "both samples have one mean" by sums, as `location_p_value` does.

    Args:
        rows: units of both, each >= 1.
        apart: difference of their means.
        square: sum of squares of all units about the mean of all.
        furthest: largest distance of a unit from that mean.

    Returns:
        None where one unit weighs so much in the means that ranks are compared instead.
    """
    found = abs(apart) * rows[0] * rows[1] / sum(rows)
    usual, weight = _normal_test(rows, found, square, furthest)
    return usual if weight < _SMALL else None


def _sum_test(one: Vector, two: Vector) -> tuple[float, float, float]:
    """Return p-value, largest weight of a unit in standard errors, and size of a centred sum."""
    units = len(one) + len(two)
    mean = (float(one.sum()) + float(two.sum())) / units
    first, second = one - mean, two - mean
    square = float(first @ first) + float(second @ second)
    furthest = max(first.max(), -first.min(), second.max(), -second.min())
    found = abs(float(first.sum()))
    return *_normal_test((len(one), len(two)), found, square, float(furthest)), found


def _normal_test(
    rows: tuple[int, int], found: float, square: float, furthest: float
) -> tuple[float, float]:
    """Return p-value and largest weight of a unit in standard errors, of a centred sum."""
    units = sum(rows)
    error = math.sqrt(square * rows[0] * rows[1] / (units * (units - 1)))
    return (two_sided_p_value(found / error), furthest / error) if error else (1.0, 0.0)


def _thinned(values: Vector) -> Vector:
    """Return at most so many values as are sorted, evenly over the rows."""
    return values[:: -(-len(values) // _SORTED)]


def shape_p_value(one: Vector, two: Vector) -> float:
    """Return the p-value of "both samples have one law", by Kolmogorov and Smirnov's distance.

    On up to 100,000 units each.
    """
    from scipy import stats  # loads on use

    one, two = _thinned(one), _thinned(two)
    few, many = sorted((len(one), len(two)))
    exact = few <= _EXACT[0] and many <= _EXACT[1]
    with warnings.catch_warnings():  # where counting paths fails it falls back by itself
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(stats.ks_2samp(one, two, method="exact" if exact else "asymp").pvalue)


def table_p_value(counts: Integers, alarm: float) -> float:
    """Return the p-value of "rows and columns of a table of counts are independent".

    Pearson's chi-square; by tables with the same margins where it would raise an alarm that
    cells with a handful of units cannot carry. The order of rows and columns plays no part.

    Args:
        counts: shape ``(r, c)``, both at least 2.
        alarm: p-value that has consequences, > 0.
    """
    from scipy import stats  # loads on use

    by_size = np.argsort(counts.sum(axis=1)), np.argsort(counts.sum(axis=0))
    counts = counts[np.ix_(*by_size)]
    found = stats.chi2_contingency(counts, correction=False)
    usual = float(found.pvalue)
    if usual >= alarm or float(found.expected_freq.min()) >= _EXPECTED:
        return usual
    table = stats.random_table(counts.sum(axis=1), counts.sum(axis=0))

    def draw(generator: np.random.Generator, count: int) -> Vector:
        drawn = table.rvs(size=count, random_state=generator)
        return _distance(drawn, found.expected_freq)

    return _tail(draw, float(found.statistic) * (1 - 1e-9), usual, counts.size)


def counts_p_value(counts: Integers, expected: Vector) -> float:
    """Return the p-value of counts against a plan: chi-square, or exactly where it is small."""
    from scipy import stats  # loads on use

    usual = float(stats.chisquare(counts, expected).pvalue)
    if float(expected.min()) >= _EXPECTED:
        return usual
    shares = expected / expected.sum()
    if len(counts) == 2:
        return float(stats.binomtest(int(counts[0]), int(counts.sum()), shares[0]).pvalue)

    def draw(generator: np.random.Generator, count: int) -> Vector:
        return _distance(generator.multinomial(int(counts.sum()), shares, size=count), expected)

    found = float(((counts - expected) ** 2 / expected).sum())
    return _tail(draw, found * (1 - 1e-9), usual, counts.size)


def _distance(drawn: Vector | Integers, expected: Vector) -> Vector:
    """Return Pearson's statistic of each drawn table."""
    found: Vector = ((drawn - expected) ** 2 / expected).reshape(len(drawn), -1).sum(axis=1)
    return found


def _tail(
    draw: Callable[[np.random.Generator, int], Vector], found: float, usual: float, width: int
) -> float:
    """Return how often a draw is as far out; the usual p-value where none is."""
    generator = np.random.default_rng(0)
    far = done = 0
    for count in _batches(max(_NUMBERS // width, 1)):
        far += int((draw(generator, count) >= found).sum())
        done += count
        if far >= _ENOUGH:
            break
    return (1 + far) / (1 + done) if far else usual


def _batches(most: int) -> Iterator[int]:
    """Yield growing batches, so that a false alarm is told by the first."""
    left, size = _DRAWS, 500
    while left > 0:
        count = min(size, most, left)
        yield count
        left, size = left - count, 4 * size
