"""The pieces of STATE's simulations: covariates, metric, noise and outliers."""

import numpy as np

from dfl.abtest.simulators.population import Pair, Population
from dfl.checks import check_count, check_number
from dfl.stats.arrays import Booleans, Matrix, Vector

__all__ = [
    "CENTRES",
    "check_share",
    "count_base",
    "count_lift",
    "count_population",
    "covariates",
    "noise",
    "with_outliers",
]

# Means of the five covariates, drawn once from 0 to 9 by the published script.
CENTRES = np.array([5.0, 0.0, 3.0, 3.0, 7.0])
_NEAR, _FAR = 4, 20  # outliers lie so many standard deviations above the mean


def check_share(share: float) -> None:
    """Refuse a share of outliers that is none.

    Raises:
        InvalidValueError: if it is not in [0, 1).
    """
    check_number("the share of outliers", share, at_least=0, below=1)


def covariates(people: int, generator: np.random.Generator) -> Matrix:
    """Draw five covariates, normal around their centres with variance 1. Shape ``(people, 5)``.

    Raises:
        InvalidValueError: if ``people`` is no whole number above 0.
    """
    check_count("people", people, at_least=1)
    return CENTRES + generator.standard_normal((people, len(CENTRES)))


def noise(scale: float, people: int, generator: np.random.Generator) -> Vector:
    """Draw normal noise with mean 0. Shape ``(people,)``."""
    return scale * generator.standard_normal(people)


def count_base(x: Matrix) -> Vector:
    """Return the mean of the count metric under control. Shape ``(people,)``."""
    base: Vector = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 6 * x[:, 2] ** 2
    base += 10 * np.abs(x[:, 3]) + 5 * np.abs(x[:, 4]) + 50
    return base


def count_lift(x: Matrix) -> Vector:
    """Return what the treatment adds to the count metric. Shape ``(people,)``."""
    lift: Vector = x[:, 0] * x[:, 2] + np.logaddexp(0, x[:, 1])
    return lift


def count_population(
    x: Matrix, lift: Vector, outliers: float, generator: np.random.Generator
) -> Population:
    """Draw both outcomes of people whose effect is given."""
    people, base = len(x), count_base(x)
    outlier = np.arange(people) < round(outliers * people)
    control = base + noise(25, people, generator)
    treated = base + lift + noise(25, people, generator)
    return Population(
        covariates=x,
        outcome=with_outliers((control, treated), outlier, generator),
        denominator=None,
        lift=np.where(outlier, 0, lift),
        outlier=outlier,
        oracle=base,
    )


def with_outliers(pair: Pair, outlier: Booleans, generator: np.random.Generator) -> Pair:
    """Replace both potential values of some people, independently, by whole numbers far above."""
    mean, spread = float(pair[1].mean()), float(pair[1].std())
    low, high = round(mean + _NEAR * spread), round(mean + _FAR * spread)
    count = int(outlier.sum())
    control, treated = pair[0].copy(), pair[1].copy()
    control[outlier] = generator.integers(low, high, count, endpoint=True)
    treated[outlier] = generator.integers(low, high, count, endpoint=True)
    return control, treated
