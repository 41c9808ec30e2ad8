"""Step functions of the multiplier: built from events, searched for a budget."""

from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.stats.arrays import Integers, Vector

__all__ = ["Events", "Mix", "Plateaus"]

_SLACK = 1e-9  # relative to the spend at multiplier 0; sums in another order differ by rounding


@final
@dataclass(frozen=True, eq=False)
class Events:
    """Where spend and value change as the multiplier falls from infinity to 0.

    Args:
        order: the events by falling multiplier. Shape ``(E,)``.
        end: number of events at or above each plateau. Shape ``(P,)``.
        multiplier: lower end of each plateau, falling, the last 0. Shape ``(P,)``.
    """

    order: Integers
    end: Integers
    multiplier: Vector

    @classmethod
    def at(cls, position: Vector) -> "Events":
        """Sort events.

        Args:
            position: multiplier at which each event happens, > 0, infinity for what holds
                from the start. Shape ``(E,)``.
        """
        order = np.argsort(-position, kind="stable")
        falling = position[order]
        forever = int(np.isinf(falling).sum())
        steps = falling[forever:]
        last = np.flatnonzero(np.append(steps[1:] != steps[:-1], True)) if len(steps) else order[:0]
        end = np.concatenate([[forever], forever + last + 1])
        return cls(order, end, np.append(steps[last], 0.0))

    def accumulate(self, change: Vector) -> Vector:
        """Sum changes up to every plateau.

        Args:
            change: change at each event, in the order of ``order``. Shape ``(E,)``.

        Returns:
            Totals, shape ``(P,)``.
        """
        totals = np.zeros(len(change) + 1)
        np.cumsum(change, out=totals[1:])
        return totals[self.end]


@final
@dataclass(frozen=True)
class Mix:
    """What is earned at a budget, per head.

    Args:
        cost: spend, in currency.
        value: revenue, in currency.
        plateau: index of the plateau that sets the multiplier.
        cheapest: share given the cheapest treatment because no multiplier meets the budget.
    """

    cost: float
    value: float
    plateau: int
    cheapest: float


@final
@dataclass(frozen=True, eq=False)
class Plateaus:
    """Spend and value per head on every plateau, multiplier falling.

    Args:
        cost: spend, in currency. Shape ``(P,)``.
        value: revenue, in currency. Shape ``(P,)``.
        cheapest_cost: mean cost of the cheapest treatment.
        cheapest_value: its mean revenue.
    """

    cost: Vector
    value: Vector
    cheapest_cost: float
    cheapest_value: float

    def mix_at(self, budget: float) -> Mix:
        """Mix two policies so that the budget is spent exactly.

        The two are the neighbours that a bisection over all plateaus ends on: one spends
        more than the budget, the other at most it. Where the largest multiplier overspends,
        the bisection starts from the plateau of least spend; where even that is above the
        budget, it is mixed with the cheapest treatment, up to giving that to everyone. A
        budget that multiplier 0 does not use up takes that plateau alone.

        Args:
            budget: money per head, in currency.
        """
        last = len(self.cost) - 1
        limit = budget + _SLACK * abs(float(self.cost[last]))
        if self.cost[last] <= limit:
            return Mix(float(self.cost[last]), float(self.value[last]), last, 0.0)
        tight = 0 if self.cost[0] <= limit else int(self.cost.argmin())
        if self.cost[tight] > limit:
            low = self.cheapest_cost, self.cheapest_value
            cost, value, share = self._mix(low, tight, budget)
            return Mix(cost, value, tight, 1 - share)
        under = self._bisect(tight, limit)
        low = float(self.cost[under]), float(self.value[under])
        cost, value, _ = self._mix(low, under + 1, budget)
        return Mix(cost, value, under, 0.0)

    def _bisect(self, under: int, limit: float) -> int:
        """Return a plateau within the limit whose next one is above it."""
        over = len(self.cost) - 1
        while over - under > 1:
            middle = (under + over) // 2
            if self.cost[middle] <= limit:
                under = middle
            else:
                over = middle
        return under

    def _mix(
        self, low: tuple[float, float], over: int, budget: float
    ) -> tuple[float, float, float]:
        """Return cost and value of the mix and its share of plateau ``over``."""
        cost, value = float(self.cost[over]), float(self.value[over])
        if low[0] >= budget:  # by rounding, or a draw in which the cheapest costs more
            return *low, 0.0
        share = (budget - low[0]) / (cost - low[0])
        return budget, low[1] + share * (value - low[1]), share
