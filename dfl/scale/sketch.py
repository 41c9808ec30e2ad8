"""`Sketch`: what a budget buys, roughly, from sums that add up over blocks of rows."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from dfl.errors import InvalidValueError

__all__ = ["Bracket", "Sketch"]

_MANTISSA = 52  # bits of a float64 after its leading one
_ROUNDING = 1e-9  # of a budget: sums in another order differ by less


@final
@dataclass(frozen=True)
class Bracket:
    """Two multipliers between which the one lies that meets a budget.

    Args:
        low: lower end, >= 0.
        high: upper end, > low, or equal where one multiplier alone is left.
        steps: how many steps have theirs in between.
    """

    low: float
    high: float
    steps: int


@final
@dataclass(frozen=True, eq=False)
class Sketch:
    """A histogram of steps by multiplier, in bins of equal relative width, with their sums.

    A bin holds the multipliers that share sign, exponent and ``digits`` further bits: 10 of
    them make bins of one part in a thousand, 52 one bin for each number. Bins fall, B of them.

    Args:
        digits: bits of the multiplier after its leading one that tell bins apart.
        bins: their leading bits, falling, each once. int64, shape ``(B,)``.
        steps: how many. int64, ``(B,)``.
        cost: cost that they add, in currency. float64, ``(B,)``.
        revenue: revenue that they add. float64, ``(B,)``.
        rows: people.
        spent: total cost before all these steps, of everyone's cheapest treatment and of steps
            of larger multipliers that no bin holds.
        earned: total revenue there.
        dearest: total cost of everyone's dearest treatment.
    """

    digits: int
    bins: NDArray[np.int64]
    steps: NDArray[np.int64]
    cost: NDArray[np.float64]
    revenue: NDArray[np.float64]
    rows: int
    spent: float
    earned: float
    dearest: float

    @staticmethod
    def of(
        multiplier: NDArray[np.float64],
        cost: NDArray[np.float64],
        revenue: NDArray[np.float64],
        *,
        digits: int,
        rows: int,
        spent: float,
        earned: float,
        dearest: float,
    ) -> "Sketch":
        """Sum up steps.

        Args:
            multiplier: of each step, > 0. Shape ``(S,)``.
            cost: that it adds. Shape ``(S,)``.
            revenue: that it adds. Shape ``(S,)``.
            digits: as above.
            rows: as above.
            spent: as above.
            earned: as above.
            dearest: as above.
        """
        bins = multiplier.view(np.int64) >> (_MANTISSA - digits)
        sums = _summed(bins, (np.ones_like(cost), cost, revenue))
        return Sketch(digits, *_sums(*sums), rows, spent, earned, dearest)

    @staticmethod
    def merged(sketches: Iterable["Sketch"]) -> "Sketch":
        """Return the sketch of all rows together, whatever the order of the blocks.

        Raises:
            InvalidValueError: if there is none, or they tell bins apart by different digits.
        """
        given = list(sketches)
        if len({one.digits for one in given}) != 1:
            raise InvalidValueError(
                "sketches must be some of equal digits, got digits "
                f"{[one.digits for one in given]}."
            )
        columns = ([getattr(one, name) for one in given] for name in ("steps", "cost", "revenue"))
        bins = np.concatenate([one.bins for one in given])
        sums = _summed(bins, tuple(np.concatenate(column) for column in columns))
        totals = (
            math.fsum(getattr(one, name) for one in given)
            for name in ("spent", "earned", "dearest")
        )
        rows = sum(one.rows for one in given)
        return Sketch(given[0].digits, *_sums(*sums), rows, *totals)

    def bracket(self, budget: float, *, spare: int = 0) -> Bracket:
        """Say between which multipliers the one lies that meets a budget.

        Where the budget buys everything, from 0 to the lowest multiplier that a step has.

        Args:
            budget: in currency, at least ``spent``.
            spare: at least so many steps that the budget does not buy also lie inside, if there
                are so many: what is left after rounding down is spent on them.
        """
        spent = self.spent + np.cumsum(self.cost)
        slack = _ROUNDING * abs(budget)
        first = int(np.searchsorted(spent, budget - slack, side="right"))
        last = int(np.searchsorted(spent, budget + slack, side="right"))
        if last < len(self.bins):
            beyond = np.cumsum(self.steps[last + 1 :])
            last += min(int(np.searchsorted(beyond, spare)) + (spare > 0), len(beyond))
        inside = slice(first, last + 1)
        low = 0.0 if last >= len(self.bins) else self._edge(int(self.bins[last]), last=False)
        if first < len(self.bins):
            high = self._edge(int(self.bins[first]), last=True)
        else:
            high = self._edge(int(self.bins[-1]), last=False) if len(self.bins) else 1.0
        return Bracket(low, high, int(self.steps[inside].sum()))

    def _edge(self, leading: int, *, last: bool) -> float:
        """Return the smallest or largest number of a bin."""
        shift = _MANTISSA - self.digits
        bits = (leading << shift) + ((1 << shift) - 1 if last else 0)
        return float(np.int64(bits).view(np.float64))


def _summed(
    bins: NDArray[np.int64], columns: tuple[NDArray[np.float64], ...]
) -> tuple[NDArray[np.int64], list[NDArray[np.float64]]]:
    """Add columns up by bin, bins falling."""
    if not len(bins):
        return bins, [column[:0].astype(np.float64) for column in columns]
    lowest, width = int(bins.min()), int(bins.max() - bins.min()) + 1
    if width > max(4 * len(bins), 1 << 16):
        known, place = np.unique(bins, return_inverse=True)
    else:
        known, place = np.arange(lowest, lowest + width), bins - lowest
    sums = [np.bincount(place, column, len(known)).astype(np.float64) for column in columns]
    there = np.flatnonzero(sums[0])[::-1]
    return known[there], [column[there] for column in sums]


def _sums(
    bins: NDArray[np.int64], sums: list[NDArray[np.float64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    steps, cost, revenue = sums
    return bins, steps.astype(np.int64), cost, revenue
