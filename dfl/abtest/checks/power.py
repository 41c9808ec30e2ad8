"""`PowerPlan`: how many users an experiment needs, and what it can see."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import final

from dfl.abtest.base import Effect
from dfl.checks import check_number
from dfl.stats.intervals import interval_factor

__all__ = ["PowerPlan"]

_NORMAL = NormalDist()


@final
@dataclass(frozen=True, kw_only=True)
class PowerPlan:
    """Links effect, number of units and power of a two-sided normal test.

    The standard error of ``n`` units is ``deviation / sqrt(n * share * (1 - share))``.

    Args:
        deviation: standard deviation of one unit, in units of the metric, > 0; what a better
            estimator makes smaller. `of` takes it from a result.
        share: of the units that are treated, in (0, 1).
        level: confidence level of the interval, in (0, 1).

    Raises:
        InvalidValueError: if a number is out of range.
    """

    deviation: float
    share: float = 0.5
    level: float = 0.95

    def __post_init__(self) -> None:
        """Check the ranges."""
        interval_factor(self.level)
        check_number("deviation", self.deviation, above=0)
        check_number("share", self.share, above=0, below=1)

    @classmethod
    def of(cls, effect: Effect) -> "PowerPlan":
        """Return the plan of a next experiment like this one, read by the same estimator.

        Args:
            effect: result of an earlier experiment, or of a split without treatment.
        """
        rows = effect.treated_rows + effect.control_rows
        share = effect.treated_rows / rows
        deviation = effect.standard_error * math.sqrt(rows * share * (1 - share))
        return cls(deviation=deviation, share=share, level=effect.level)

    def power(self, effect: float, units: int) -> float:
        """Return the probability that an effect shows.

        Args:
            effect: true effect, in units of the metric; the sign plays no part.
            units: in both arms together, > 0.

        Raises:
            InvalidValueError: if ``units`` is not positive.
        """
        check_number("units", units, above=0)
        shift = abs(effect) / self._error(units)
        z = interval_factor(self.level)
        return _NORMAL.cdf(shift - z) + _NORMAL.cdf(-shift - z)

    def units(self, effect: float, *, power: float = 0.8) -> int:
        """Return how many units, in both arms together, show an effect with a given power.

        Args:
            effect: true effect, in units of the metric, not 0.
            power: wanted probability, in (1 - level, 1).

        Raises:
            InvalidValueError: if an argument is out of range.
        """
        check_number("effect", abs(effect), above=0)
        wanted = self._shift(power) * self.deviation / abs(effect)
        return math.ceil(wanted**2 / (self.share * (1 - self.share)))

    def detectable(self, units: int, *, power: float = 0.8) -> float:
        """Return the smallest effect that shows with a given power.

        Args:
            units: in both arms together, > 0.
            power: wanted probability, in (1 - level, 1).

        Raises:
            InvalidValueError: if an argument is out of range.
        """
        check_number("units", units, above=0)
        return self._shift(power) * self._error(units)

    def _error(self, units: int) -> float:
        return self.deviation / math.sqrt(units * self.share * (1 - self.share))

    def _shift(self, power: float) -> float:
        """Return the effect in standard errors; the far tail is left out, as is usual."""
        check_number("power", power, above=1 - self.level, below=1)
        return interval_factor(self.level) + _NORMAL.inv_cdf(power)
