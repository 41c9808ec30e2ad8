"""`ConstantShift`: the same effect for everyone, under heavy tails."""

from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.abtest.simulators.population import AbstractDesign, Population
from dfl.checks import check_count
from dfl.stats.arrays import Vector

__all__ = ["ConstantShift"]


@final
@dataclass(frozen=True, kw_only=True)
class ConstantShift(AbstractDesign):
    """The same effect for everyone under heavy tails: what STATE is made for.

    ``Y(0) = x + 2 e``, ``e`` Student-t with 2.5 degrees of freedom, ``Y(1)`` 0.2 more.
    """

    def draw(self, people: int, *, generator: np.random.Generator) -> Population:
        """Draw a population.

        Raises:
            InvalidValueError: if ``people`` is no whole number above 0.
        """
        check_count("people", people, at_least=1)
        x = generator.standard_normal((people, 1))

        def outcome(shift: float) -> Vector:
            found: Vector = x[:, 0] + shift + 2 * generator.standard_t(2.5, people)
            return found

        return Population(
            covariates=x,
            outcome=(outcome(0), outcome(0.2)),
            denominator=None,
            lift=np.full(people, 0.2),
            outlier=np.zeros(people, dtype=np.bool_),
            oracle=x[:, 0],
        )
