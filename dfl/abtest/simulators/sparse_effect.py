"""`SparseEffect`: one person in ten reacts, strongly."""

from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.abtest.simulators.heavy_tails import CENTRES, check_share, count_population, covariates
from dfl.abtest.simulators.population import AbstractDesign, Population

__all__ = ["SparseEffect"]


@final
@dataclass(frozen=True, kw_only=True)
class SparseEffect(AbstractDesign):
    """`HeavyTailedCount` where only one person in ten reacts, strongly: STATE fails.

    The effect is ``5 X1 X3 + log(1 + exp X2)`` for people with X4 above its 90 % point, 0 for
    the others.

    Args:
        outliers: share of the people, in [0, 1).

    Raises:
        InvalidValueError: if ``outliers`` is out of range.
    """

    outliers: float = 0.002

    def __post_init__(self) -> None:
        """Check the share."""
        check_share(self.outliers)

    def draw(self, people: int, *, generator: np.random.Generator) -> Population:
        """Draw a population."""
        x = covariates(people, generator)
        lift = 5 * x[:, 0] * x[:, 2] + np.logaddexp(0, x[:, 1])
        reacts = x[:, 3] > CENTRES[3] + 1.2815515655446004
        return count_population(x, np.where(reacts, lift, 0), self.outliers, generator)
