"""`RankedRows`: a two-armed experiment sorted by a score, and redrawn in that order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.metrics.rows.redrawn import redrawn
from dfl.stats.arrays import Booleans, Vector
from dfl.stats.bootstrap import Bootstrap

__all__ = ["RankedRows"]


@final
@dataclass(frozen=True, eq=False)
class RankedRows:
    """Rows of a binary experiment, best score first.

    Rows of equal score keep the order of the data, which is part of the result: a score with
    many ties says little about the order inside a tie, so shuffle the rows beforehand if
    their order could carry meaning.

    Args:
        treated: whether the person was treated. Shape ``(N,)``.
        revenue: observed revenue, in currency. Shape ``(N,)``.
        cost: observed cost, in currency. Shape ``(N,)``.
    """

    treated: Booleans
    revenue: Vector
    cost: Vector

    @classmethod
    def of(cls, data: UpliftData, score: Tensor) -> "RankedRows":
        """Sort a binary experiment by score, highest first, ties in the order of the data.

        Raises:
            UnsupportedProblemError: if there are not two treatments, or the propensity
                differs between rows.
            ShapeError: if ``score`` is not ``(N,)``.
            InvalidValueError: if ``score`` is not finite or the rows are observational.
        """
        _check(data, score)
        order = score.cpu().argsort(descending=True, stable=True)
        return cls(
            (data.treatment.cpu()[order] == 1).numpy(),
            data.revenue.cpu().double()[order].numpy(),
            data.cost.cpu().double()[order].numpy(),
        )

    def increments(self, outcome: Vector) -> Vector:
        """Return the running increment of an outcome per head, down the ranking.

        ``sum_{treated so far} y / n_treated - sum_{untreated so far} y / n_untreated`` with
        the sizes of the whole arms. Divided after summing, so that counts stay exact.

        Args:
            outcome: `revenue` or `cost`. Shape ``(N,)``.
        """
        treated = float(np.count_nonzero(self.treated))
        untreated = len(self.treated) - treated
        running = np.cumsum(np.where(self.treated, untreated, -treated) * outcome)
        running /= treated * untreated
        return running

    @staticmethod
    def redrawn(data: UpliftData, score: Tensor, bootstrap: Bootstrap) -> Iterator["RankedRows"]:
        """Yield every bootstrap draw, ranked; rows drawn twice stand twice."""
        ranked = RankedRows.of(data, score)
        order = score.cpu().argsort(descending=True, stable=True).numpy()
        places = np.arange(len(order))
        for counts in redrawn(data, bootstrap):
            picked = np.repeat(places, counts[order])
            yield RankedRows(ranked.treated[picked], ranked.revenue[picked], ranked.cost[picked])


def _check(data: UpliftData, score: Tensor) -> None:
    if data.treatments != 2:
        raise UnsupportedProblemError(
            f"AUCC and Qini compare two treatments, got {data.treatments}; use expected_outcome, "
            "or keep the rows of two treatments."
        )
    if data.source == "obs" and data.propensity is None:
        raise InvalidValueError(
            "AUCC and Qini need randomised rows, these are observational; keep randomised rows "
            "for evaluation."
        )
    if data.propensity is not None and not bool((data.propensity == data.propensity[:1]).all()):
        raise UnsupportedProblemError(
            "AUCC and Qini compare raw arm means, so everyone must have the same propensity; use "
            "expected_outcome, which weights rows."
        )
    if tuple(score.shape) != (len(data),):
        raise ShapeError(f"score must be ({len(data)},), one per row, got {tuple(score.shape)}.")
    if not bool(score.isfinite().all()):
        raise InvalidValueError("score must be finite, got NaN or infinity.")
