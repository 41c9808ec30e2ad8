"""`linearise`: turns the ratio of two totals into one number per unit."""

from typing import Literal, TypeAlias

from dfl.errors import InvalidValueError
from dfl.stats.arrays import Booleans, Vector

__all__ = ["Linearisation", "check_denominator", "linearise", "linearise_arms"]

Linearisation: TypeAlias = Literal["delta", "pooled", "control"]


def linearise(numerator: Vector, denominator: Vector, *, ratio: float, mean: float) -> Vector:
    """Return ``(numerator - ratio * denominator) / mean + ratio`` of every unit.

    Its mean estimates the ratio of the means; around the true ``ratio`` its variance over
    the number of units is that of the delta method.

    Args:
        numerator: total of each unit, such as money. Shape ``(n,)``.
        denominator: total of each unit, such as orders. Shape ``(n,)``.
        ratio: what the ratio is measured from, in units of numerator per denominator.
        mean: mean denominator per unit, > 0.

    Raises:
        InvalidValueError: if ``mean`` is not positive.

    Source:
        Budylin et al. (2018), Consistent transformation of ratio metrics,
        doi:10.1145/3159652.3159699; scaled to the unit of the ratio.
    """
    if not mean > 0:
        raise InvalidValueError(f"mean of the denominator must be > 0, got {mean:g}.")
    value: Vector = (numerator - ratio * denominator) / mean + ratio
    return value


def linearise_arms(
    numerator: Vector, denominator: Vector, treated: Booleans, kind: Linearisation
) -> Vector:
    """Linearise two arms; the difference in means estimates the difference of the ratios.

    Args:
        numerator: total of each unit. Shape ``(n,)``.
        denominator: total of each unit, each arm's sum > 0. Shape ``(n,)``.
        treated: which units are treated. Shape ``(n,)``.
        kind: ``"delta"``: around each arm's own ratio, so that the difference in means and
            its variance are exactly those of the delta method. ``"pooled"``: around the
            ratio of both arms, for estimators that bound outliers: an outlier in it moves
            both arms alike; equal up to effect on the denominator times effect on the
            ratio. ``"control"``: around the control's ratio, divided by the treated arm's
            mean; the difference in means is exact.

    Raises:
        InvalidValueError: if ``kind`` is unknown, or the denominator of an arm is 0.
    """
    if kind == "pooled":
        return linearise(
            numerator,
            denominator,
            ratio=_ratio(numerator, denominator),
            mean=float(denominator.mean()),
        )
    control = ~treated
    base = _ratio(numerator[control], denominator[control])
    mean = float(denominator[treated].mean())
    if kind == "control":
        return linearise(numerator, denominator, ratio=base, mean=mean)
    if kind != "delta":
        raise InvalidValueError(
            f"linearisation must be 'delta', 'pooled' or 'control', got {kind!r}."
        )
    value = linearise(numerator, denominator, ratio=base, mean=float(denominator[control].mean()))
    value[treated] = linearise(
        numerator[treated],
        denominator[treated],
        ratio=_ratio(numerator[treated], denominator[treated]),
        mean=mean,
    )
    return value


def check_denominator(numerator: Vector, denominator: Vector) -> None:
    """Refuse denominators that no ratio can be made of.

    A unit with 0 of both (no order, no money) is an ordinary unit and stays.

    Raises:
        InvalidValueError: if a denominator is negative, or 0 where the numerator is not.
    """
    negative = int((denominator < 0).sum())
    if negative:
        raise InvalidValueError(
            f"denominator must be >= 0, got {negative} negative of {denominator.size}, the "
            f"smallest {denominator.min():g}; correct the data (refunds belong to the numerator)."
        )
    empty = int(((denominator == 0) & (numerator != 0)).sum())
    if empty:
        raise InvalidValueError(
            f"denominator must be > 0 where the metric is not 0, got 0 in {empty} such rows; the "
            "two columns must count the same events."
        )


def _ratio(numerator: Vector, denominator: Vector) -> float:
    total = float(denominator.sum())
    if not total > 0:
        raise InvalidValueError(
            f"denominator must sum to more than 0 in every arm, got {total:g}; there is no ratio."
        )
    return float(numerator.sum()) / total
