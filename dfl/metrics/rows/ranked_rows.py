"""`RankedRows`: a two-armed experiment sorted by a score, equal scores averaged over orders."""

from dataclasses import dataclass
from typing import final, get_args

import numpy as np
from torch import Tensor

from dfl.checks import check_choice
from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError, UnsupportedProblemError
from dfl.metrics.rows.randomised_rows import (
    PolicyEstimator,
    amounts_of,
    baselines_of,
    check_data,
    check_score,
)
from dfl.stats.arrays import Booleans, Counts, Integers, Matrix, Vector

__all__ = ["Increments", "RankedRows", "running"]

_ROUNDING = 1e-12  # of all that was added and taken away; sums differ by less in another order


@final
@dataclass(frozen=True, eq=False)
class Increments:
    """What treating more and more people adds, per head, known where a tie ends.

    Inside a tie every order of its people is equally good; averaged over them all, the running
    increment is the straight line between the tie's ends. That is the curve used here: exact,
    and the same whatever the order of the rows.

    Args:
        people: number of people up to the end of each tie, from 0. Shape ``(G + 1,)``.
        cost: running increment of cost there, in currency, from 0. Shape ``(G + 1,)``.
        revenue: that of revenue.
    """

    people: Integers
    cost: Vector
    revenue: Vector

    def row_by_row(self, amount: Vector) -> Vector:
        """Return `cost` or `revenue` after every person, shape ``(N + 1,)``."""
        found: Vector = np.interp(np.arange(self.people[-1] + 1), self.people, amount)
        return found

    def area(self, amount: Vector) -> float:
        """Return the area under the curve over the share of people treated."""
        steps = np.diff(self.people)
        return float(steps @ (amount[1:] + amount[:-1]) / (2 * self.people[-1]))


@final
@dataclass(frozen=True, eq=False)
class RankedRows:
    """Rows of a binary experiment, best score first.

    Args:
        order: the rows by falling score. Shape ``(N,)``.
        treated: whether the person was treated, in that order. Shape ``(N,)``.
        amounts: cost and revenue, in currency, less what `cross_fitted` predicts of both
            treatments together where the estimator is doubly robust: the same for treated and
            untreated, so that it takes away noise and nothing else. Shape ``(2, N)``.
        tie: number of people up to the end of each tie. Shape ``(G,)``.
    """

    order: Integers
    treated: Booleans
    amounts: Matrix
    tie: Integers

    @classmethod
    def of(
        cls, data: UpliftData, score: Tensor, estimator: PolicyEstimator = "horvitz-thompson"
    ) -> "RankedRows":
        """Sort a binary experiment by score, highest first.

        Raises:
            UnsupportedProblemError: if there are not two treatments, or the propensity
                differs between rows.
            DTypeError: if ``score`` is no tensor of real numbers.
            ShapeError: if ``score`` is not ``(N,)``.
            InvalidValueError: if ``score`` is not finite, the rows are observational, or the
                estimator is unknown.
        """
        _check(data)
        score = check_score(score, len(data))
        check_choice("estimator", estimator, get_args(PolicyEstimator))
        amounts = amounts_of(data)
        if estimator == "doubly-robust":
            rows = data.arm_counts.flip(0).cpu().numpy()  # what is rare in an arm weighs more there
            amounts = amounts - baselines_of(data) @ (rows / len(data))
        falling, order = (one.numpy() for one in score.sort(descending=True, stable=True))
        tie = np.append(np.flatnonzero(falling[1:] != falling[:-1]) + 1, len(falling))
        treated = (data.treatment.cpu().numpy() == 1)[order]
        return cls(order, treated, amounts[:, order], tie)

    def increments(self, counts: Counts | None = None) -> Increments:
        """Return the running increments per head, down the ranking.

        ``sum_{treated so far} y / n_treated - sum_{untreated so far} y / n_untreated`` with
        the sizes of the whole arms. Divided after summing, so that counts stay exact.

        Args:
            counts: how often each row of the data comes, shape ``(N,)``; None: once.
        """
        times = np.ones(len(self.treated)) if counts is None else counts[self.order].astype(float)
        people = np.cumsum(times)[self.tie - 1]
        drawn = np.append(people[0] > 0, people[1:] > people[:-1])  # ties that somebody is of
        ends, treated = self.tie[drawn] - 1, float(times @ self.treated)
        untreated = float(people[-1]) - treated
        sign = times * np.where(self.treated, untreated, -treated)
        cost, revenue = (
            running(sign * amount, ends) / (treated * untreated) for amount in self.amounts
        )
        return Increments(np.append(0, people[drawn].astype(np.int64)), cost, revenue)


def running(change: Vector, ends: Integers) -> Vector:
    """Return the sums up to each end, from 0; a total that only rounding leaves is 0.

    Args:
        change: by falling score. Shape ``(N,)``.
        ends: last row of each tie. Shape ``(G,)``.

    Returns:
        Shape ``(G + 1,)``.
    """
    sums = np.append(0.0, np.cumsum(change)[ends])
    if abs(sums[-1]) <= _ROUNDING * np.abs(change).sum():
        sums[-1] = 0
    return sums


def _check(data: UpliftData) -> None:
    check_data(data)
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
