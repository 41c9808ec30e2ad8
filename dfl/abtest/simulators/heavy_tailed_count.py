"""`HeavyTailedCount`: the design of STATE's simulation."""

from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.abtest.simulators.heavy_tails import check_share, count_lift, count_population, covariates
from dfl.abtest.simulators.population import AbstractDesign, Population

__all__ = ["HeavyTailedCount"]


@final
@dataclass(frozen=True, kw_only=True)
class HeavyTailedCount(AbstractDesign):
    """STATE's simulation of a count metric.

    ``Y(0) = 10 sin(pi X1 X2) + 6 X3^2 + 10 |X4| + 5 |X5| + 50 + e0`` and ``Y(1)`` with ``X1 X3 +
    log(1 + exp X2)`` more and its own noise; ``X ~ N((5, 0, 3, 3, 7), 1)``, ``e ~ N(0, 25^2)``.
    Outliers are whole numbers 4 to 20 standard deviations above the mean of ``Y(1)``, drawn
    for each arm apart, without an effect and unrelated to X.

    Args:
        outliers: share of the people, in [0, 1).

    Raises:
        InvalidValueError: if ``outliers`` is out of range.

    Source:
        A public script, probably of the authors of Zhou et al. (2024), STATE, arXiv:2407.16337.
    """

    outliers: float = 0.002

    def __post_init__(self) -> None:
        """Check the share."""
        check_share(self.outliers)

    def draw(self, people: int, *, generator: np.random.Generator) -> Population:
        """Draw a population."""
        x = covariates(people, generator)
        return count_population(x, count_lift(x), self.outliers, generator)
