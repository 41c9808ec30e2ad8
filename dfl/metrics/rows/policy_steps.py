"""`PolicySteps`: what logged rows say of a model's choice, at every multiplier at once."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError
from dfl.metrics.rows.plateaus import Events, Plateaus
from dfl.metrics.rows.randomised_rows import PolicyEstimator, RandomisedRows, check_predictions
from dfl.solvers.passes.hull import hull_steps
from dfl.stats.arrays import Counts, Integers, Matrix

__all__ = ["PolicySteps"]

_NOBODY = 1e-9  # a sum of weights, about 1 per head, that is 0 up to rounding


@final
@dataclass(frozen=True, eq=False)
class PolicySteps:
    """Rows stepping from treatment to treatment as the multiplier falls.

    Everyone starts at the treatment that the model thinks cheapest and walks up its hull; a step
    changes the baseline's part of the estimate, and the row's own outcome where the treatment
    received is entered or left. The walk is found once; a bootstrap draw only brings other
    counts.

    Args:
        rows: the logs.
        events: multipliers at which steps are taken.
        row: row of each step, by falling multiplier. Shape ``(S,)``.
        arm: treatment that row received. Shape ``(S,)``.
        predicted: change of the baseline of cost and of revenue, in currency; where sums are
            divided by those of `RandomisedRows.matching`, of that as well. ``(2 or 3, S)``.
        missed: what the row's own outcome adds, negative where it is left. ``(2 or 3, S)``.
        start: baseline and own outcome of everyone before the first step. ``(2, 2 or 3, N)``.
        cheapest: the treatment with the smallest mean cost in the logs.
    """

    rows: RandomisedRows
    events: Events
    row: Integers
    arm: Integers
    predicted: Matrix
    missed: Matrix
    start: tuple[Matrix, Matrix]
    cheapest: int

    @classmethod
    def of(
        cls, data: UpliftData, revenue: Tensor, cost: Tensor, estimator: PolicyEstimator
    ) -> "PolicySteps":
        """Walk every row up its hull and sort the steps.

        Raises:
            ShapeError: if predictions do not fit the rows.
            InvalidValueError: if predictions are not finite, the rows are observational and
                carry no propensity, or the estimator is unknown.
        """
        rows = RandomisedRows.of(data, estimator)
        baseline, missed = rows.baseline, rows.missed
        if rows.matching is not None:
            baseline = np.broadcast_to(0.0, (3, *baseline.shape[1:]))
            missed = np.vstack([missed, rows.matching])
        check_predictions(revenue, cost, len(data), data.treatments)
        steps = hull_steps(revenue.to("cpu", torch.float64), cost.to("cpu", torch.float64))
        events = Events.at(steps.multiplier.numpy())
        row, before, after = (
            one.numpy()[events.order] for one in (steps.row, steps.previous, steps.treatment)
        )
        everyone, base = np.arange(len(data)), steps.base.numpy()
        arm = rows.treatment[row]
        entered = (after == arm).astype(np.int8) - (before == arm).astype(np.int8)
        return cls(
            rows,
            events,
            row,
            arm,
            baseline[:, row, after] - baseline[:, row, before],
            missed[:, row] * entered,
            (baseline[:, everyone, base], missed * (base == rows.treatment)),
            int(rows.arm_means(rows.as_logged())[0].argmin()),
        )

    def plateaus(self, counts: Counts) -> Plateaus:
        """Return spend and value per head on every plateau.

        Args:
            counts: how often each row comes. Shape ``(N,)``.

        Raises:
            InvalidValueError: if self-normalised finds nobody who received what is chosen.
        """
        times, scale = counts.astype(np.float64), self.rows.scale(counts)
        head = 1 / times.sum()
        present, weight = times[self.row], scale[self.arm]
        own = times * scale[self.rows.treatment]
        cost, revenue, *matched = (
            self.events.accumulate(
                float(head * (times @ self.start[0][k]) + own @ self.start[1][k]),
                present * (head * self.predicted[k] + weight * self.missed[k]),
            )
            for k in range(len(self.missed))
        )
        for total in matched:
            if not bool((total > _NOBODY).all()):
                raise InvalidValueError(
                    "self-normalised values a policy by the rows that received what it chooses, "
                    "and at some price of money there is none; use more rows, or doubly-robust."
                )
            cost, revenue = cost / total, revenue / total
        of_arms = self.rows.arm_means(counts)
        return Plateaus(cost, revenue, *(float(mean[self.cheapest]) for mean in of_arms))
