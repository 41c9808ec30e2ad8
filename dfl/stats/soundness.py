"""What no metric or ratio is made of: `Soundness`, counts over blocks of rows, and refusals."""

import math
from dataclasses import dataclass
from typing import NoReturn, Self, final

import numpy as np

from dfl.errors import InvalidValueError
from dfl.stats.arrays import Vector, not_finite

__all__ = [
    "Soundness",
    "refuse_copy",
    "require_squares",
    "require_varying",
    "unmoved",
]

_WIDEST = 1e70  # its fourth power and that of its inverse are still numbers


@final
@dataclass(frozen=True, kw_only=True)
class Soundness:
    """What was seen of a metric, and of its denominator where it is a ratio.

    Args:
        rows: number of rows.
        odd: numbers of the metric that are NaN or infinite.
        low: smallest number of the metric.
        high: largest one.
        ratio: whether there is a denominator.
        odd_below: numbers of the denominator that are NaN or infinite.
        negative: denominators below 0.
        smallest: denominator.
        lost: rows with a denominator of 0 whose metric is not 0.
    """

    rows: int
    odd: int
    low: float
    high: float
    ratio: bool = False
    odd_below: int = 0
    negative: int = 0
    smallest: float = math.inf
    lost: int = 0

    @classmethod
    def of(cls, metric: Vector, denominator: Vector | None) -> Self:
        """Look at some rows; there may be none. Shape ``(n,)`` each."""
        odd, low, high = _seen(metric)
        if denominator is None:
            return cls(rows=len(metric), odd=odd, low=low, high=high)
        odd_below, smallest, _ = _seen(denominator)
        return cls(
            rows=len(metric),
            odd=odd,
            low=low,
            high=high,
            ratio=True,
            odd_below=odd_below,
            negative=int(np.count_nonzero(denominator < 0)) if smallest < 0 else 0,
            smallest=smallest,
            lost=int(np.count_nonzero((denominator == 0) & (metric != 0))),
        )

    @property
    def finite(self) -> bool:
        """Whether all numbers are."""
        return not self.odd and not self.odd_below

    def joined(self, other: Self) -> Self:
        """Return what was seen of all rows together."""
        return type(self)(
            rows=self.rows + other.rows,
            odd=self.odd + other.odd,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            ratio=self.ratio,
            odd_below=self.odd_below + other.odd_below,
            negative=self.negative + other.negative,
            smallest=min(self.smallest, other.smallest),
            lost=self.lost + other.lost,
        )

    def fault(self) -> InvalidValueError | None:
        """Return the error about what cannot be read; None where all can.

        That is NaN or infinite numbers, denominators that are negative, or 0 where the metric is
        not, and a metric without one that does not vary. A unit with 0 of both metric and
        denominator (no order, no money) is an ordinary unit.
        """
        for name, odd in (("metric", self.odd), ("denominator", self.odd_below)):
            if odd:
                return not_finite(name, odd, self.rows)
        if self.negative:
            return InvalidValueError(
                f"denominator must be >= 0, got {self.negative} negative of {self.rows}, the "
                f"smallest {self.smallest:g}; correct the data (refunds belong to the numerator)."
            )
        if self.lost:
            return InvalidValueError(
                f"denominator must be > 0 where the metric is not 0, got 0 in {self.lost} such "
                "rows; the two columns must count the same events."
            )
        if not self.ratio and self.low == self.high:
            return unmoved(self.low, self.rows)
        return None


def unmoved(value: float, rows: int) -> InvalidValueError:
    """Return the error about a metric that is the same in all rows."""
    return InvalidValueError(
        f"metric must vary, got {value:g} in all {rows} rows; choose a metric that somebody moved."
    )


def _seen(values: Vector) -> tuple[int, float, float]:
    """Return how many numbers are not finite, the smallest and the largest."""
    if not len(values):
        return 0, math.inf, -math.inf
    low, high = float(values.min()), float(values.max())
    finite = math.isfinite(low) and math.isfinite(high)
    return 0 if finite else len(values) - int(np.isfinite(values).sum()), low, high


def refuse_copy() -> NoReturn:
    """Refuse a metric of which nothing is left within the arms.

    Raises:
        InvalidValueError: always.
    """
    raise InvalidValueError(
        "metric must vary within the arms, its difference has a standard error of 0; a "
        "covariate may be a copy of the metric."
    )


def require_squares(name: str, ranges: float | Vector) -> None:
    """Refuse numbers of which sums of squares cannot be computed.

    Args:
        name: of the argument, for the error.
        ranges: largest less smallest number, of each column; 0: a constant, which is let through.

    Raises:
        InvalidValueError: if a range is neither 0 nor between 1e-70 and 1e70.
    """
    every = np.atleast_1d(ranges)
    wrong = every[(every != 0) & ~((every > 1 / _WIDEST) & (every < _WIDEST))]
    if len(wrong):
        raise InvalidValueError(
            f"{name} must vary by {1 / _WIDEST:g} to {_WIDEST:g}, or squares cannot be computed, "
            f"got {float(wrong[0]):g}; give them, or the denominator of a ratio, in another unit."
        )


def require_varying(prediction: Vector) -> Vector:
    """Return a prediction that tells units apart.

    Raises:
        InvalidValueError: if it is the same for all rows, or varies by more or less than squares
            can hold.
    """
    require_squares("prediction", float(np.ptp(prediction)))
    if float(np.ptp(prediction)) == 0:
        raise InvalidValueError(
            f"prediction must vary, got {prediction[0]:g} for every row: the covariates explain "
            "nothing to this regressor. Use difference-in-means, or another regressor."
        )
    return prediction
