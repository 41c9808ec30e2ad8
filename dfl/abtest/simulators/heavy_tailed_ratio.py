"""`HeavyTailedRatio`: a ratio of two heavy-tailed totals."""

from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.abtest.simulators.heavy_tails import (
    check_share,
    count_base,
    count_lift,
    covariates,
    noise,
    with_outliers,
)
from dfl.abtest.simulators.population import AbstractDesign, Population

__all__ = ["HeavyTailedRatio"]


@final
@dataclass(frozen=True, kw_only=True)
class HeavyTailedRatio(AbstractDesign):
    """A ratio metric: the numerator of `HeavyTailedCount` over ``Z = c(X) + T tau(X) + h``.

    ``c = 10 sin(pi X4) X5 + 15 (X2 + X3)^2 + 5 |X1| + 30``, ``tau = X2^2 + 3 log(1 + exp X4 +
    |X5|)``, ``h ~ N(0, 10^2)``. Outliers of numerator and denominator are drawn on separate
    people; a denominator below 1 is set to 1, so that ratios exist.

    Args:
        outliers: share of the people with an outlying numerator, and again with an outlying
            denominator, in [0, 0.5).

    Raises:
        InvalidValueError: if ``outliers`` is out of range.

    Source:
        Zhou et al. (2024), arXiv:2407.16337, as read by an independent implementation.
    """

    outliers: float = 0.002

    def __post_init__(self) -> None:
        """Check the share."""
        check_share(2 * self.outliers)

    def draw(self, people: int, *, generator: np.random.Generator) -> Population:
        """Draw a population."""
        x = covariates(people, generator)
        base, lift = count_base(x), count_lift(x)
        base_z = 10 * np.sin(np.pi * x[:, 3]) * x[:, 4] + 15 * (x[:, 1] + x[:, 2]) ** 2
        base_z += 5 * np.abs(x[:, 0]) + 30
        lift_z = x[:, 1] ** 2 + 3 * np.log(1 + np.exp(x[:, 3]) + np.abs(x[:, 4]))
        place, count = np.arange(people), round(self.outliers * people)
        above, below = place < count, (place >= count) & (place < 2 * count)
        outcome = (
            base + noise(25, people, generator),
            base + lift + noise(25, people, generator),
        )
        events = (
            base_z + noise(10, people, generator),
            base_z + lift_z + noise(10, people, generator),
        )
        outcome = with_outliers(outcome, above, generator)
        events = with_outliers(events, below, generator)
        ratio = base.sum() / base_z.sum()
        return Population(
            covariates=x,
            outcome=outcome,
            denominator=(np.maximum(events[0], 1), np.maximum(events[1], 1)),
            lift=np.where(above, 0, lift),
            outlier=above | below,
            oracle=(base - ratio * base_z) / base_z.mean(),
        )
