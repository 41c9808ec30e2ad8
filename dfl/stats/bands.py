"""Bands that hold along a whole curve at once."""

from collections.abc import Sequence

import numpy as np

from dfl.stats.bootstrap import Estimate
from dfl.stats.intervals import interval_factor

__all__ = ["simultaneous_factor"]


def simultaneous_factor(points: Sequence[Estimate], level: float) -> float:
    """Return how many standard errors a band must reach to hold at all points together.

    The quantile, over the bootstrap draws, of the largest deviation along the curve in standard
    errors of its point; each draw is one set of multinomial weights for all points, so that
    neighbours move together. Never below the factor of a single interval.

    Args:
        points: of one curve, from the same draws.
        level: probability that the whole curve lies within, in (0, 1).

    Raises:
        InvalidValueError: if ``level`` is not in (0, 1).

    Source:
        Chernozhukov, Chetverikov and Kato (2014), doi:10.1214/14-AOS1235 (bootstrap of suprema).
    """
    single = interval_factor(level)
    uncertain = [point for point in points if point.standard_error > 0]
    if not uncertain:
        return single
    away = np.stack(
        [((one.draws - one.draws.mean()) / one.standard_error).numpy() for one in uncertain]
    )
    return max(single, float(np.quantile(np.abs(away).max(axis=0), level)))
