"""`bootstrap_error`: the spread of an estimate over units drawn again."""

from collections.abc import Callable

import numpy as np

from dfl.abtest.rows.contrast import Contrast
from dfl.stats.arrays import Integers

__all__ = ["bootstrap_error"]


def bootstrap_error(
    contrast: Contrast, estimate: Callable[[Integers], float], *, draws: int, seed: int
) -> float:
    """Return the standard deviation of an estimate over draws with replacement.

    Rows are drawn, or whole clusters; each arm keeps its number of them.

    Args:
        contrast: arms and clusters.
        estimate: from the positions of the drawn rows, some of which come more than once.
        draws: number of draws, >= 2.
        seed: of the draws.

    Source:
        Efron (1979), doi:10.1214/aos/1176344552.
    """
    generator = np.random.default_rng(seed)
    units = _units_of_arms(contrast)
    found = [
        estimate(np.concatenate([_draw(unit, generator) for unit in units])) for _ in range(draws)
    ]
    return float(np.std(found, ddof=1))


def _units_of_arms(contrast: Contrast) -> list[list[Integers]]:
    """Return the rows of each unit, arm by arm; one array where each row is a unit."""
    arms = [np.flatnonzero(contrast.treated), np.flatnonzero(~contrast.treated)]
    if contrast.clusters is None:
        return [[rows] for rows in arms]
    found = []
    for rows in arms:
        cluster = contrast.clusters[rows]
        order = np.argsort(cluster, kind="stable")
        cuts = np.flatnonzero(np.diff(cluster[order])) + 1
        found.append(np.split(rows[order], cuts))
    return found


def _draw(units: list[Integers], generator: np.random.Generator) -> Integers:
    """Draw as many units as there are, with replacement, and return their rows."""
    if len(units) == 1:
        rows = units[0]
        return rows[generator.integers(0, len(rows), len(rows))]
    return np.concatenate([units[one] for one in generator.integers(0, len(units), len(units))])
