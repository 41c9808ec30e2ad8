"""`RankedRows`, `RankedSteps`: experiments sorted by a score, equal scores averaged over orders."""

from dataclasses import dataclass
from typing import final, get_args

import numpy as np
import torch
from torch import Tensor

from dfl.checks import check_choice
from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.metrics.rows.randomised_rows import (
    PolicyEstimator,
    amounts_of,
    baselines_of,
    check_data,
    check_real,
    check_score,
)
from dfl.stats.arrays import Booleans, Counts, Integers, Matrix, Vector

__all__ = ["Increments", "RankedRows", "RankedSteps", "running"]

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
        check_data(data)
        if data.treatments != 2:
            raise UnsupportedProblemError(
                f"AUCC and Qini compare two treatments, got {data.treatments}; use mt_aucc or "
                "expected_outcome, or keep the rows of two treatments."
            )
        _check_randomised(data)
        score = check_score(score, len(data))
        check_choice("estimator", estimator, get_args(PolicyEstimator))
        amounts = amounts_of(data)
        if estimator == "doubly-robust":
            rows = data.arm_counts.flip(0).cpu().numpy()  # what is rare in an arm weighs more there
            amounts = amounts - baselines_of(data) @ (rows / len(data))
        order, tie = _sorted(score)
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
        people, ends = _ends(times, self.tie)
        treated = float(times @ self.treated)
        untreated = float(people[-1]) - treated
        sign = times * np.where(self.treated, untreated, -treated)
        cost, revenue = (
            running(sign * amount, ends) / (treated * untreated) for amount in self.amounts
        )
        return Increments(people, cost, revenue)


@final
@dataclass(frozen=True, eq=False)
class RankedSteps:
    """Steps to the next treatment, best score first: rows that took one, rows that did not.

    A row of treatment t took the step from t - 1 to t, and did not take that from t to t + 1; so
    it comes twice, but for those of the first and of the last treatment.

    Args:
        row: of each entry, by falling score. Shape ``(E,)``.
        sign: 1 where the row took the step, -1 where it did not. Shape ``(E,)``.
        treatment: of each row. Shape ``(N,)``.
        amounts: cost and revenue of each row, in currency. Shape ``(2, N)``.
        tie: number of entries up to the end of each tie. Shape ``(G,)``.
    """

    row: Integers
    sign: Vector
    treatment: Integers
    amounts: Matrix
    tie: Integers

    @classmethod
    def of(cls, data: UpliftData, score: Tensor) -> "RankedSteps":
        """Sort the steps of an experiment by score, highest first.

        Raises:
            UnsupportedProblemError: if there is one treatment, or the propensity differs
                between rows.
            DTypeError: if ``score`` is no tensor of real numbers.
            ShapeError: if ``score`` is not ``(N, M - 1)``.
            InvalidValueError: if ``score`` is not finite, or the rows are observational.
        """
        check_data(data)
        rows, last = len(data), data.treatments - 1
        if not last:
            raise UnsupportedProblemError("MT-AUCC compares two or more treatments, got 1.")
        _check_randomised(data)
        check_real("score", score)
        if tuple(score.shape) != (rows, last):
            raise ShapeError(
                f"score must be {(rows, last)}, one per row and step to the next treatment, got "
                f"{tuple(score.shape)}."
            )
        given = check_score(score.reshape(-1), rows * last).reshape(rows, last)
        treatment = data.treatment.cpu()
        took, left = (treatment > 0).nonzero()[:, 0], (treatment < last).nonzero()[:, 0]
        row = torch.cat([took, left])
        step = torch.cat([treatment[took] - 1, treatment[left]])
        order, tie = _sorted(given[row, step])
        sign = np.repeat([1.0, -1.0], [len(took), len(left)])
        return cls(row.numpy()[order], sign[order], treatment.numpy(), amounts_of(data), tie)

    def increments(self, counts: Counts) -> Increments:
        """Return the running increments per head, down the ranking of steps.

        Args:
            counts: how often each row of the data comes. Shape ``(N,)``.
        """
        weight = counts / np.bincount(self.treatment, weights=counts)[self.treatment]
        people, ends = _ends(counts[self.row].astype(float), self.tie)
        cost, revenue = (
            running(self.sign * (weight * amount)[self.row], ends) for amount in self.amounts
        )
        return Increments(people, cost, revenue)


def _sorted(score: Tensor) -> tuple[Integers, Integers]:
    """Return the order of falling scores, and the number of them up to the end of each tie."""
    falling, order = (one.numpy() for one in score.sort(descending=True, stable=True))
    return order, np.append(np.flatnonzero(falling[1:] != falling[:-1]) + 1, len(falling))


def _ends(times: Vector, tie: Integers) -> tuple[Integers, Integers]:
    """Return the people from 0 up to each tie that somebody is of, and its last row."""
    people = np.cumsum(times)[tie - 1]
    drawn = np.append(people[0] > 0, people[1:] > people[:-1])
    return np.append(0, people[drawn].astype(np.int64)), tie[drawn] - 1


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


def _check_randomised(data: UpliftData) -> None:
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
