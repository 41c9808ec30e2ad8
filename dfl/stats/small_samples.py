"""`spread_of`: the error of a difference between arms of few, uneven or skewed units."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.errors import InvalidValueError
from dfl.stats.arrays import Integers, Vector

__all__ = ["Arm", "Spread", "spread_of"]

_NORMAL = 200.0  # degrees of freedom from which t and normal quantiles differ by less than 0.6 %
_SKEWED = 0.1  # skewness of a difference, from which its two tails are measured
_FEW = 100  # units of the smaller arm, below which they always are
_DRAWS = 500  # assignments that are drawn to measure them, and dealt in both directions
_MORE_DRAWS = 10_000  # of few units, whose heavy tails take many
_SHUFFLED = 2_000  # units up to which all of them are put in order at once to draw some
_SCARCE = 10  # units of the smaller arm, below which measured tails are not trusted all the way
_TRUST = 0.8  # so far, where arms are uneven; by half where they are not
_EVEN = 0.4  # share of the smaller arm
_MANY = 5_000  # units of the smaller arm above which they never are
_DOMINATED = 2 / 3
_TAILS = (0.4, 0.25, 0.1, 0.05, 0.025)  # in which a difference may lie, where they are measured
_TIED = 1e-9  # relative; what differs by less is one number


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Arm:
    """What the randomised units of one arm add to an estimate.

    Args:
        parts: of the difference, one per unit; about mean 0. Shape ``(units,)``.
        size: what each unit weighs in its arm, such as its rows or events, >= 0. Shape
            ``(units,)``.
        used: degrees of freedom that slopes have taken, beside the one of the mean.
    """

    parts: Vector
    size: Vector
    used: float = 0.0


@final
@dataclass(frozen=True, kw_only=True)
class Spread:
    """The error of a difference, and the law of the difference over its error.

    Args:
        error: standard error.
        degrees: of freedom of the t law; infinite: the normal law.
        above: factors of the t law's upper quantiles, beyond which a difference lies in .4, .25,
            .1, .05 and .025 of all draws; in between, reaches are interpolated, and farther out the
            last factor holds. 1 where the difference is not skewed.
        below: the same of the lower quantiles.
    """

    error: float
    degrees: float = math.inf
    above: tuple[float, ...] = (1.0,) * len(_TAILS)
    below: tuple[float, ...] = (1.0,) * len(_TAILS)

    def interval(self, estimate: float, factor: float, level: float) -> tuple[float, float]:
        """Return the ends of the confidence interval.

        Args:
            estimate: the difference.
            factor: quantile of the normal law.
            level: confidence level.
        """
        if math.isfinite(self.degrees):
            (factor,) = self._quantiles(((1 - level) / 2,))
        above, below = (self._reach(factor, one) for one in (self.above, self.below))
        return estimate - above * self.error, estimate + below * self.error

    def p_value(self, estimate: float) -> float:
        """Return the two-sided p-value of "no difference"; it fits the interval at any level."""
        from scipy import special  # loads on use

        z = self._quantile_of(
            abs(estimate) / self.error, self.above if estimate > 0 else self.below
        )
        if math.isfinite(self.degrees):
            return 2 * float(special.stdtr(self.degrees, -z))
        return math.erfc(z / math.sqrt(2))

    def _reach(self, z: float, factors: tuple[float, ...]) -> float:
        """Return how many errors a quantile of the t law amounts to."""
        usual, reaches = self._knots(factors)
        return factors[-1] * z if z >= usual[-1] else float(np.interp(z, usual, reaches))

    def _quantile_of(self, distance: float, factors: tuple[float, ...]) -> float:
        """Return which quantile of the t law amounts to so many errors; the least of tied."""
        usual, reaches = self._knots(factors)
        inside = distance * (1 - _TIED)
        if not inside < reaches[-1]:
            return distance / factors[-1]
        return float(np.interp(inside, reaches, usual))

    def _knots(self, factors: tuple[float, ...]) -> tuple[Vector, Vector]:
        """Return quantiles of the t law, and how many errors they amount to, both from 0 on."""
        usual = np.array(self._quantiles(_TAILS))
        reaches = np.minimum.accumulate((usual * factors)[::-1])[::-1]
        return np.append(0, usual), np.append(0, reaches)

    def _quantiles(self, tails: tuple[float, ...]) -> list[float]:
        """Return what the t law exceeds with given probabilities."""
        from scipy import special  # loads on use

        law = (
            special.stdtrit(self.degrees, tails)
            if math.isfinite(self.degrees)
            else special.ndtri(tails)
        )
        return [-float(one) for one in law]


def spread_of(treated: Arm, control: Arm) -> Spread:
    """Return the error of a difference from what the units add to it.

    Each unit's part is divided by what the fitted mean leaves of it, ``1 - h``, ``h`` its share
    of the arm, or less where one cluster's mean varies as much as any other's; without
    clusters that is Welch's variance. Degrees of freedom are Satterthwaite's, with estimated
    and with equal variances, the smaller ones. Where the arms are small, or unequal and skewed, the
    quantiles are those of the difference over its error when the units' parts are dealt to the
    arms anew.

    Args:
        treated: at least 2 units.
        control: at least 2 units.

    Raises:
        InvalidValueError: if one unit outweighs all others of its arm, slopes leave no degrees
            of freedom, or most units weigh nothing.

    Source:
        Welch (1947); Bell and McCaffrey (2002), Survey Methodology 28, the working model with
        equal variances of cluster means; Janssen (1997), Chung and Romano (2013),
        doi:10.1214/13-AOS1090, studentised permutations.
    """
    read = [_read(name, arm) for name, arm in (("treated", treated), ("control", control))]
    variance = sum(one.variance for one in read)
    if not variance > 0:
        raise InvalidValueError("the units of neither arm differ; there is no error to speak of.")
    weights = [one.evenness for one in read]
    found = variance**2 / sum(one.variance**2 / one.degrees for one in read)
    equal = sum(weights) ** 2 / sum(
        weight**2 / one.degrees for weight, one in zip(weights, read, strict=True)
    )
    degrees = min(found, equal)
    few, units = min(len(treated.size), len(control.size)), len(treated.size) + len(control.size)
    if few < _SCARCE / 2 and few < _EVEN * units and units < 2 * _SCARCE:
        raise InvalidValueError(
            f"arms of {len(treated.size)} treated and {len(control.size)} control units are too "
            "few and too uneven to tell chance from effect; take at least 5 in each, or as many "
            "in both."
        )
    above, below = _tails(treated, control, read, degrees)
    return Spread(
        error=math.sqrt(variance),
        degrees=degrees if degrees < _NORMAL else math.inf,
        above=tuple(above.tolist()),
        below=tuple(below.tolist()),
    )


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class _Read:
    variance: float
    degrees: float
    evenness: float  # sum of squared shares: variance of the mean of like units
    scaled: Vector  # parts, made up for what the mean has taken of them


def _read(name: str, arm: Arm) -> _Read:
    total = float(arm.size.sum())
    share = arm.size / total
    if float(share.max()) > _DOMINATED:
        raise InvalidValueError(
            f"one unit holds {float(share.max()):.0%} of the {name} arm; what chance does to it "
            "cannot be told from the others. Read it apart, or randomise more and smaller units."
        )
    squares = float(share @ share)
    left = 1 - share - np.maximum(share - squares, 0)
    scaled = arm.parts / np.sqrt(left)
    degrees = _degrees(share, squares, left) - arm.used
    if not degrees > 0.5:
        raise InvalidValueError(
            f"the {name} arm must have more units than the covariates take, got {len(share)}; "
            "use difference-in-means."
        )
    return _Read(variance=float(scaled @ scaled), degrees=degrees, evenness=squares, scaled=scaled)


def _degrees(share: Vector, squares: float, left: Vector) -> float:
    """Return Satterthwaite's degrees of freedom if all units' means vary alike.

    ``trace(B)^2 / trace(B^2)``, ``B`` the quadratic form of the variance; its double sum over
    units is written as products of sums.
    """
    weight = share**2 / left
    one, two, three = (float((weight * share**power).sum()) for power in range(3))
    own = 1 - 2 * share + squares
    cross = squares**2 * one**2 - 4 * squares * one * two + 2 * one * three + 2 * two**2
    cross += float((weight**2 * (own**2 - (squares - 2 * share) ** 2)).sum())
    return float((weight * own).sum()) ** 2 / cross


def _tails(treated: Arm, control: Arm, read: list[_Read], degrees: float) -> tuple[Vector, Vector]:
    """Return the upper and lower quantiles over those of the t law. Shape of `_TAILS` each."""
    from scipy import special  # loads on use

    units = [len(treated.size), len(control.size)]
    few, many, usual_tails = min(units), sum(units), (np.ones(len(_TAILS)), np.ones(len(_TAILS)))
    if few > _MANY or 2 * few == many < _SCARCE:
        return usual_tails
    totals = [float(treated.size.sum()), -float(control.size.sum())]
    parts = np.concatenate([one.scaled * total for one, total in zip(read, totals, strict=True)])
    size = np.concatenate([treated.size, control.size])
    skewness = float((parts * parts * parts).mean()) / float((parts * parts).mean()) ** 1.5
    skewness *= (many - 2 * few) / math.sqrt(many * few * (many - few))
    if few >= _FEW and abs(skewness) <= _SKEWED:
        return usual_tails
    deals = _deals(many, few)
    dealt = _dealt_both_ways(parts, size, deals)
    if len(dealt) < len(deals):
        raise InvalidValueError(
            f"the denominator must be above 0 in more units: most assignments of {few} units of "
            f"{many} have an arm without any, so chance cannot be told. Randomise more units."
        )
    if units[0] > units[1]:
        dealt = -dealt
    if units[0] == units[1]:  # who is called treated plays no part
        dealt = np.concatenate([dealt, -dealt])
    usual = special.stdtrit(degrees, _TAILS)
    above, below = (np.quantile(one, _TAILS) / usual for one in (-dealt, dealt))
    least = 0.1
    if few < _SCARCE:  # few assignments, and of parts that are known badly
        trust = _TRUST if few < _EVEN * many else 0.5
        above, below = (np.maximum(one, trust * one + 1 - trust) for one in (above, below))
        least = 1.0 if many < _SCARCE else least
    return np.maximum(above, least), np.maximum(below, least)


def _deals(many: int, few: int) -> Integers:
    """Draw the units of the smaller arm again and again. Shape ``(draws, few)``."""
    generator = np.random.default_rng(0)
    if few < _SCARCE < many / 2:
        drawn = np.sort(generator.integers(many, size=(_MORE_DRAWS, few)), axis=1)
        return drawn[(np.diff(drawn, axis=1) > 0).all(axis=1)]
    if many <= _SHUFFLED:
        order = generator.random((_DRAWS, many))
        return np.argpartition(order, few, axis=1)[:, :few]
    picked = [generator.choice(many, few, replace=False, shuffle=False) for _ in range(_DRAWS)]
    return np.stack(picked)


def _dealt_both_ways(parts: Vector, size: Vector, picked: Integers) -> Vector:
    """Return the difference over its error; other signs of all parts change its sign alone.

    Each choice counts twice, among the parts in rising and in falling order, so that neither the
    order of the rows nor the sign of the metric plays a part. Shape ``(2 * draws,)``, or less
    where arms were drawn that weigh nothing.
    """
    order = np.lexsort((size, parts))
    rising, size = parts[order], size[order]
    turned = np.argsort(-rising, kind="stable")  # of equal parts the smaller unit stays in front
    falling = _dealt(-rising[turned], size[turned], picked)
    return np.concatenate([_dealt(rising, size, picked), -falling])


def _dealt(parts: Vector, size: Vector, picked: Integers) -> Vector:
    """Return the difference over its error, for each choice of the smaller arm."""
    share = size[picked].sum(axis=1) / size.sum()
    picked = picked[(share > 0) & (share < 1 - 1e-12)]  # an arm that weighs nothing has no mean
    part, weight = parts[picked], size[picked]
    total = weight.sum(axis=1)
    mean = part.sum(axis=1) / total
    left = np.maximum(1 - weight / total[:, None], 1e-3)
    variance = ((part - mean[:, None] * weight) ** 2 / left).sum(axis=1) / total**2
    rest = size.sum() - total
    rest_mean = (parts.sum() - part.sum(axis=1)) / rest
    square = parts @ parts - (part * part).sum(axis=1)
    square -= 2 * rest_mean * (parts @ size - (part * weight).sum(axis=1))
    square += rest_mean**2 * (size @ size - (weight * weight).sum(axis=1))
    others = len(parts) - picked.shape[1]
    variance += np.maximum(square, 0) / rest**2 * others / (others - 1)
    found: Vector = (mean - rest_mean) / np.sqrt(np.maximum(variance, 1e-300))
    return found
