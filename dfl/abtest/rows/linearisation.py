"""How a ratio becomes one number per row."""

import numpy as np

from dfl.abtest.rows.contrast import Linearisation, check_linearisation
from dfl.checks import check_number
from dfl.errors import InvalidValueError
from dfl.scale import PARTS, Empty
from dfl.stats.arrays import Booleans, Vector

__all__ = ["linearise", "linearise_arms", "ratio_of"]


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
    check_number("mean of the denominator", mean, above=0)
    value: Vector = (numerator - ratio * denominator) / mean + ratio
    return value


def linearise_arms(
    numerator: Vector,
    denominator: Vector,
    treated: Booleans,
    kind: Linearisation,
    empty: Empty = np.empty,
) -> Vector:
    """Linearise two arms; the difference in means estimates the difference of the ratios.

    Args:
        numerator: total of each unit. Shape ``(n,)``.
        denominator: total of each unit, each arm's sum > 0. Shape ``(n,)``.
        treated: which units are treated. Shape ``(n,)``.
        kind: ``"delta"``: around each arm's own ratio, so that the difference in means and
            its variance are exactly those of the delta method. ``"pooled"``: around the
            ratio of both arms, for estimators that bound outliers: an outlier in it moves
            both arms alike. ``"control"``: around the control's ratio, divided by the
            treated arm's mean. The difference in means is exact by all three.
        empty: makes the array that is returned.

    Raises:
        InvalidValueError: if ``kind`` is unknown, or the denominator of an arm is 0.
    """
    check_linearisation(kind)
    sums = np.zeros((2, 3))  # control and treated: rows, numerator, denominator
    for part in PARTS.of(len(numerator)):
        for arm, rows in enumerate((~treated[part], treated[part])):
            above, below = numerator[part][rows], denominator[part][rows]
            sums[arm] += len(above), float(above.sum()), float(below.sum())
    ratios = [ratio_of(above, below) for _, above, below in sums.tolist()]
    means = (sums[:, 2] / sums[:, 0]).tolist()
    if kind == "control":
        ratios[1], means[0] = ratios[0], means[1]
    if kind == "pooled":
        ratios = [float(sums[:, 1].sum() / sums[:, 2].sum())] * 2
    value: Vector = empty(len(numerator))
    for part in PARTS.of(len(numerator)):
        zero, one = (
            linearise(numerator[part], denominator[part], ratio=ratio, mean=mean)
            for ratio, mean in zip(ratios, means, strict=True)
        )
        value[part] = np.where(treated[part], one, zero)
    return value


def ratio_of(numerator: float, denominator: float) -> float:
    """Return the ratio of two sums over an arm, or over all of them.

    Raises:
        InvalidValueError: if the denominator is not positive.
    """
    if not denominator > 0:
        raise InvalidValueError(
            f"denominator must sum to more than 0 in every arm, got {denominator:g}; there is no "
            "ratio."
        )
    return numerator / denominator
