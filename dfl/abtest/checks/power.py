"""`PowerPlan`: how many users an experiment needs, and what it can see."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import final

from scipy import special

from dfl.abtest.base import Effect
from dfl.checks import check_number
from dfl.errors import InvalidValueError
from dfl.stats.intervals import interval_factor

__all__ = ["PowerPlan"]

_NORMAL = NormalDist()
_CERTAIN = 1e4  # standard errors: beyond them an effect shows, and the law is not computed
_MOST = 1e15  # rows
_MANY = 10_000.0  # degrees of freedom from which t is normal to five digits


@final
@dataclass(frozen=True, kw_only=True)
class PowerPlan:
    """Links effect, number of units and power of a two-sided t test.

    The standard error of ``n`` rows is ``deviation * sqrt(design) / sqrt(n * share * (1 -
    share))`` with the design effect ``design = 1 + (cluster_rows - 1) * correlation``; degrees
    of freedom are ``n / cluster_rows - 2``. Units are counted in rows: without clusters these are
    what was randomised. Clusters are taken to be as large as each other; with sizes that differ
    by a coefficient of variation ``v``, give ``mean size * (1 + v^2)`` as ``cluster_rows``, which
    is a little too careful. Skewed metrics in small arms need more than it says.

    Args:
        deviation: standard deviation of one row, in units of the metric, > 0; what a better
            estimator makes smaller. `of` takes it from a result.
        share: of the units that are treated, in (0, 1).
        level: confidence level of the interval, in (0, 1).
        cluster_rows: rows of each cluster that is randomised whole, >= 1.
        correlation: of the rows of one cluster, in [0, 1].

    Raises:
        InvalidValueError: if a number is out of range.

    Source:
        Kish (1965), Survey Sampling, for the design effect.
    """

    deviation: float
    share: float = 0.5
    level: float = 0.95
    cluster_rows: float = 1.0
    correlation: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        interval_factor(self.level)
        check_number("deviation", self.deviation, above=0)
        check_number("share", self.share, above=0, below=1)
        check_number("cluster_rows", self.cluster_rows, at_least=1)
        check_number("correlation", self.correlation, at_least=0, at_most=1)

    @classmethod
    def of(cls, effect: Effect) -> "PowerPlan":
        """Return the plan of a next experiment like this one, read by the same estimator.

        Its deviation holds whatever the result's clusters added to the error, so that the plan
        counts rows in clusters like those; its degrees of freedom grow with the rows.

        Args:
            effect: result of an earlier experiment, or of a split without treatment.
        """
        rows = effect.treated_rows + effect.control_rows
        share = effect.treated_rows / rows
        deviation = effect.standard_error * math.sqrt(rows * share * (1 - share))
        size = 1.0 if effect.degrees is None else max(rows / (effect.degrees + 2), 1.0)
        return cls(deviation=deviation, share=share, level=effect.level, cluster_rows=size)

    def power(self, effect: float, units: float) -> float:
        """Return the probability that an effect shows.

        Args:
            effect: true effect, in units of the metric; the sign plays no part.
            units: rows of both arms together, those of 3 clusters or more.

        Raises:
            InvalidValueError: if ``effect`` is no number, or ``units`` is out of range.
        """
        check_number("effect", effect, finite=False)
        degrees = self._degrees(units)
        shift = min(abs(effect) / self._error(units), _CERTAIN)
        if degrees >= _MANY:
            z = interval_factor(self.level)
            return _NORMAL.cdf(shift - z) + _NORMAL.cdf(-shift - z)
        t = -float(special.stdtrit(degrees, (1 - self.level) / 2))
        below, above = (float(special.nctdtr(degrees, shift, end)) for end in (-t, t))
        return 1 - above + (0.0 if math.isnan(below) else below)  # NaN below 1e-15

    def units(self, effect: float, *, power: float = 0.8) -> int:
        """Return how many rows, in both arms together, show an effect with a given power.

        Args:
            effect: true effect, in units of the metric, not 0.
            power: wanted probability, in (1 - level, 1).

        Raises:
            InvalidValueError: if an argument is out of range.
        """
        check_number("effect", effect)
        check_number("effect", abs(effect), above=0)
        self._check_power(power)
        high = math.ceil(3 * self.cluster_rows)
        low = high - 1  # too few for any error
        while self.power(effect, high) < power:
            low, high = high, 2 * high
            if high > _MOST:
                raise InvalidValueError(
                    f"effect must show in {_MOST:g} rows or less, {effect:g} does not."
                )
        while high - low > 1:
            middle = (low + high) // 2
            if self.power(effect, middle) < power:
                low = middle
            else:
                high = middle
        return high

    def detectable(self, units: float, *, power: float = 0.8) -> float:
        """Return the smallest effect that shows with a given power.

        Args:
            units: rows of both arms together, those of 3 clusters or more.
            power: wanted probability, in (1 - level, 1).

        Raises:
            InvalidValueError: if an argument is out of range.
        """
        self._check_power(power)
        self._degrees(units)
        low, high = 0.0, self._error(units)
        while self.power(high, units) < power:
            low, high = high, 2 * high
        while high - low > 1e-9 * high:
            middle = (low + high) / 2
            if self.power(middle, units) < power:
                low = middle
            else:
                high = middle
        return high

    def _error(self, units: float) -> float:
        design = 1 + (self.cluster_rows - 1) * self.correlation
        return self.deviation * math.sqrt(design / (units * self.share * (1 - self.share)))

    def _degrees(self, units: float) -> float:
        check_number("units", units, at_least=3 * self.cluster_rows)
        return units / self.cluster_rows - 2

    def _check_power(self, power: float) -> None:
        check_number("power", power, above=1 - self.level, below=1)
