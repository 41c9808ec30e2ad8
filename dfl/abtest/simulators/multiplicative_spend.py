"""`MultiplicativeSpend`: money that a treatment multiplies."""

from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.abtest.simulators.population import AbstractDesign, Population
from dfl.checks import check_count
from dfl.stats.arrays import Vector

__all__ = ["MultiplicativeSpend"]


@final
@dataclass(frozen=True, kw_only=True)
class MultiplicativeSpend(AbstractDesign):
    """Money that a treatment multiplies by 1.05, mostly seen in the tail: STATE fails.

    Four in ten spend nothing; the others ``exp(2.9 + 0.5 x + 1.2 e)``, ``x`` and ``e`` standard
    normal, so that a few spend most.
    """

    def draw(self, people: int, *, generator: np.random.Generator) -> Population:
        """Draw a population.

        Raises:
            InvalidValueError: if ``people`` is no whole number above 0.
        """
        check_count("people", people, at_least=1)
        x = generator.standard_normal((people, 1))
        buys = generator.random(people) < 0.6
        mean = 0.6 * np.exp(2.9 + 0.5 * x[:, 0] + 0.72)

        def spend() -> Vector:
            amount = np.exp(2.9 + 0.5 * x[:, 0] + 1.2 * generator.standard_normal(people))
            return np.where(buys, amount, 0.0)

        return Population(
            covariates=x,
            outcome=(spend(), 1.05 * spend()),
            denominator=None,
            lift=0.05 * mean,
            outlier=np.zeros(people, dtype=np.bool_),
            oracle=mean,
        )
