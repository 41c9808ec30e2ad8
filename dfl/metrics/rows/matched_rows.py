"""`MatchedRows`: which logged rows speak for a model's choice, at every multiplier at once."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.metrics.rows.plateaus import Events, Plateaus
from dfl.metrics.rows.randomised_rows import RandomisedRows, check_predictions
from dfl.solvers.passes.match_intervals import match_intervals
from dfl.stats.arrays import Counts, Integers, Vector

__all__ = ["MatchedRows"]


@final
@dataclass(frozen=True, eq=False)
class MatchedRows:
    """Rows entering and leaving agreement with a model as the multiplier falls.

    The sorting is done once; a bootstrap draw only brings other weights.

    Args:
        rows: the logs.
        events: multipliers at which a row enters or leaves.
        row: row of each event, by falling multiplier. Shape ``(E,)``.
        arm: treatment that row received. Shape ``(E,)``.
        cost: its cost, in currency, negative where it leaves. Shape ``(E,)``.
        revenue: its revenue, in currency, negated likewise. Shape ``(E,)``.
        cheapest: the treatment with the smallest mean cost in the logs.
    """

    rows: RandomisedRows
    events: Events
    row: Integers
    arm: Integers
    cost: Vector
    revenue: Vector
    cheapest: int

    @classmethod
    def of(cls, data: UpliftData, revenue: Tensor, cost: Tensor) -> "MatchedRows":
        """Find every row's interval and sort its ends.

        Raises:
            ShapeError: if predictions do not fit the rows.
            InvalidValueError: if predictions are not finite, or the rows are observational
                and carry no propensity.
        """
        rows = RandomisedRows.of(data)
        check_predictions(revenue, cost, len(data), data.treatments)
        low, high = (
            end.numpy()
            for end in match_intervals(
                revenue.to("cpu", torch.float64),
                cost.to("cpu", torch.float64),
                data.treatment.cpu(),
            )
        )
        ever = (high > low) & (high > 0)
        enters, leaves = np.flatnonzero(ever), np.flatnonzero(ever & (low > 0))
        events = Events.at(np.concatenate([high[enters], low[leaves]]))
        row = np.concatenate([enters, leaves])[events.order]
        sign = np.where(events.order < len(enters), 1.0, -1.0)
        cheapest = int(rows.arm_means(rows.as_logged())[0].argmin())
        logged = rows.treatment[row], sign * rows.cost[row], sign * rows.revenue[row]
        return cls(rows, events, row, *logged, cheapest)

    def plateaus(self, counts: Counts) -> Plateaus:
        """Return spend and value per head on every plateau.

        Args:
            counts: how often each row comes. Shape ``(N,)``.
        """
        present = counts[self.row] * self.rows.scale(counts)[self.arm]
        cost, revenue = self.rows.arm_means(counts)
        return Plateaus(
            self.events.accumulate(present * self.cost),
            self.events.accumulate(present * self.revenue),
            float(cost[self.cheapest]),
            float(revenue[self.cheapest]),
        )
