"""Step functions of the multiplier: built from events, searched for a budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from dfl.solvers.prices.crossing import last_within
from dfl.stats.arrays import Integers, Vector

__all__ = ["Events", "Mix", "Plateaus"]

_ROUNDING = 1e-12  # relative; a price of money is a quotient of differences


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
        """Sort events; those that differ by rounding happen at once.

        Where treatments lie on one line, rounding says whether a person walks along it in one step
        or in several, of multipliers that differ in their last bits: all steps are taken together.

        Args:
            position: multiplier at which each event happens, > 0. Shape ``(E,)``.
        """
        order = np.argsort(-position, kind="stable")
        falling = position[order]
        apart = falling[1:] < falling[:-1] * (1 - _ROUNDING)
        first = np.flatnonzero(np.append(len(falling) > 0, apart))
        return cls(order, np.append(first, len(falling)), np.append(falling[first], 0.0))

    def accumulate(self, start: float, change: Vector) -> Vector:
        """Sum changes up to every plateau.

        Args:
            start: before the first event.
            change: change at each event, in the order of ``order``. Shape ``(E,)``.

        Returns:
            Totals, shape ``(P,)``.
        """
        totals = np.empty(len(change) + 1)
        totals[0], totals[1:] = start, change
        return np.cumsum(totals, out=totals)[self.end]


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

    def mixes(self, budgets: Sequence[float]) -> list[Mix]:
        """Mix two policies so that each budget is spent exactly.

        The two are the plateau that `last_within` finds and the next one, which spends more. A
        budget that multiplier 0 does not use up takes that plateau alone. Where every plateau
        spends more than the budget, the one of least spend is mixed with the cheapest
        treatment, up to giving that to everyone.

        Args:
            budgets: money per head, in currency.
        """
        amounts = torch.tensor(budgets, dtype=torch.float64)
        within = last_within(torch.from_numpy(self.cost), amounts).tolist()
        return [self._mix(*pair) for pair in zip(budgets, within, strict=True)]

    def _mix(self, budget: float, within: int) -> Mix:
        if within == len(self.cost) - 1:
            return Mix(float(self.cost[-1]), float(self.value[-1]), within, 0.0)
        if within < 0:
            over = int(self.cost.argmin())
            cost, value, plateau = self.cheapest_cost, self.cheapest_value, over
        else:
            over = within + 1
            cost, value, plateau = float(self.cost[within]), float(self.value[within]), within
        if cost < budget:  # else by rounding, or in a draw in which the cheapest costs more
            share = (budget - cost) / (float(self.cost[over]) - cost)
            cost, value = budget, value + share * (float(self.value[over]) - value)
        else:
            share = 0.0
        return Mix(cost, value, plateau, 0.0 if within >= 0 else 1 - share)
