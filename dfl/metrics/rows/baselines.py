"""Outcomes predicted from features for rows that did not take part in the prediction."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from dfl.stats.arrays import Booleans, Cube, Integers, Matrix, Vector

__all__ = ["cross_fitted"]

_PENALTIES = (*np.logspace(-3, 1, 9).tolist(), np.inf)  # per row, on features of spread 1
_FOLDS = 10
_CONSTANT = 1e-12  # a feature that varies by less of its size does not vary
_ALONE = 1e-9  # a row whose own leverage is 1 up to rounding has nobody to learn from


def cross_fitted(
    features: Matrix,  # (N, F)
    treatment: Integers,  # (N,)
    outcomes: Matrix,  # (K, N)
    arms: int,
    groups: Integers | None,
) -> Cube:  # (K, N, M)
    """Predict what every row would bring under every treatment, without looking at the row.

    ``m_j(x) = level_j + x @ slopes``: a level per treatment and shared slopes, ridge-penalised;
    the penalty is the one of the smallest squared error on rows left out, with their groups where
    there are some, and may be infinite (levels alone). A treatment under which the outcome never
    varies, such as one with a list price, is predicted as that number. Rows are left out one by
    one, in closed form, so that no draw of folds and no order of rows takes part; groups are left
    out in ten folds of whole groups, dealt by their ids so that every fold has its share of each
    treatment. Where a fold has all groups of a treatment still, as that of one group alone,
    everyone's mean outcome is predicted. A feature that is the same within every treatment, up to
    rounding, takes no part.

    Args:
        features: known before treatment.
        treatment: received, in ``0 .. M-1``.
        outcomes: one after the other, in any unit.
        arms: number of treatments M.
        groups: rows of one id are left out together, or None.

    Source:
        Lin (2013), doi:10.1214/12-AOAS583 (adjusting experiments by regression); Wu and
        Gagnon-Bartsch (2018), doi:10.1177/0193841X18808003 (leaving rows out one by one).
    """
    if groups is None:
        fits = [_Ridge.fit(features, treatment, outcome, arms) for outcome in outcomes]
        return np.stack([fit.on_own_rows(features) for fit in fits])
    fold = _folds(groups, treatment, arms)
    in_fold = np.zeros((_FOLDS, arms), bool)
    in_fold[fold, treatment] = True
    alone = in_fold.sum(axis=0) < 2
    own = [np.flatnonzero(fold == number) for number in np.unique(fold)]
    return np.stack([_by_folds(features, treatment, one, own, alone) for one in outcomes])


def _folds(groups: Integers, treatment: Integers, arms: int) -> Integers:
    """Deal groups to folds, those of one treatment in turn; ids may follow the treatments. (N,)."""
    names, group = np.unique(groups, return_inverse=True)
    group = group.reshape(-1)
    pairs, first = np.unique(treatment * len(names) + group), np.zeros(arms, np.int64)
    arm, member = np.divmod(pairs, len(names))
    first[arm[::-1]] = member[::-1]  # its first group tells treatments of as many groups apart
    rarest = np.empty(arms, np.int64)
    rarest[np.lexsort((first, np.bincount(arm, minlength=arms)))] = np.arange(arms)
    key = np.full(len(names), arms)
    np.minimum.at(key, member, rarest[arm])
    fold = np.empty(len(names), np.int64)
    fold[np.argsort(key, kind="stable")] = np.arange(len(names)) % _FOLDS
    return fold[group]


def _by_folds(
    features: Matrix, treatment: Integers, outcome: Vector, own: list[Integers], alone: Booleans
) -> Matrix:
    """Predict the rows of each fold from the others, ``alone`` treatments as one number. (N, M)."""
    found = np.full((len(outcome), len(alone)), outcome.mean())
    if not alone.all():
        fits = []
        for rows in own:
            rest = np.ones(len(outcome), bool)
            rest[rows] = False
            fit = _Ridge.fit(features[rest], treatment[rest], outcome[rest], len(alone))
            fits.append(fit.lines())
        errors = np.array(
            [
                lines.errors(features[rows], treatment[rows], outcome[rows])
                for lines, rows in zip(fits, own, strict=True)
            ]
        )
        elsewhere = (errors.sum(axis=0) - errors).argmin(axis=1)  # on the rows of other folds
        for lines, rows, penalty in zip(fits, own, elsewhere.tolist(), strict=True):
            found[np.ix_(rows, ~alone)] = lines.at(features[rows], penalty)[:, ~alone]
    for arm in np.flatnonzero(alone):
        received = outcome[treatment == arm]
        if len(received) and np.ptp(received) == 0:
            found[:, arm] = received[0]
    return found


@final
@dataclass(frozen=True, eq=False)
class _Lines:
    """What is predicted of other rows, for each penalty.

    Args:
        fixed: treatments under which the outcome never varies. Shape ``(M,)``.
        level: mean outcome of each treatment. Shape ``(M,)``.
        centre: mean features of each treatment. Shape ``(M, F)``.
        slopes: of the features, per penalty. Shape ``(P, F)``.
    """

    fixed: Booleans
    level: Vector
    centre: Matrix
    slopes: Matrix

    def at(self, features: Matrix, penalty: int) -> Matrix:
        """Predict rows with a penalty, by its place. (N, M)."""
        slopes = self.slopes[penalty]
        level = self.level - self.centre @ slopes
        return np.where(self.fixed, self.level, level + (features @ slopes)[:, None])

    def errors(self, features: Matrix, treatment: Integers, outcome: Vector) -> Vector:
        """Return the squared error of each penalty on rows. (P,)."""
        row = np.flatnonzero(~self.fixed[treatment])
        arm = treatment[row]
        away = (features[row] - self.centre[arm]) @ self.slopes.T
        errors: Vector = (((outcome[row] - self.level[arm])[:, None] - away) ** 2).sum(axis=0)
        return errors


@final
@dataclass(frozen=True, eq=False)
class _Ridge:
    """A fit of one outcome for all penalties, with what leaving out each of its rows needs.

    Args:
        fixed: treatments under which the outcome never varies. Shape ``(M,)``.
        level: mean outcome of each treatment. Shape ``(M,)``.
        centre: mean features of each treatment. Shape ``(M, F)``.
        axes: turns features into units and directions that are uncorrelated within
            treatments. Shape ``(F, F)``.
        weight: of each axis, its sum of squares. Shape ``(F,)``.
        share: one over the rows of each row's treatment. Shape ``(L,)``.
        row: rows that took part: those of treatments that are not fixed. Shape ``(L,)``.
        arm: their treatment.
        turned: their features from the centre, along the axes. Shape ``(L, F)``.
        left: their outcomes from the level.
    """

    fixed: Booleans
    level: Vector
    centre: Matrix
    axes: Matrix
    weight: Vector
    share: Vector
    row: Integers
    arm: Integers
    turned: Matrix
    left: Vector

    @classmethod
    def fit(cls, features: Matrix, treatment: Integers, outcome: Vector, arms: int) -> "_Ridge":
        rows, everyone = np.bincount(treatment, minlength=arms), np.ones(len(treatment), bool)
        groups = [treatment == arm if rows[arm] else everyone for arm in range(arms)]
        level = np.array([outcome[group].mean() for group in groups])
        centre = np.stack([features[group].mean(axis=0) for group in groups])
        fixed = np.array([np.ptp(outcome[group]) == 0 for group in groups])
        level[fixed] = [outcome[group][0] for group in np.array(groups)[fixed]]
        row = np.flatnonzero(~fixed[treatment])
        arm = treatment[row]
        within, left = features[row] - centre[arm], outcome[row] - level[arm]
        spread = np.sqrt((within**2).sum(axis=0) / max(len(row), 1))
        rounding = _CONSTANT + np.finfo(float).eps * len(row)  # running sums lose a bit a row
        constant = spread <= rounding * np.abs(centre).max(axis=0)
        within[:, constant], spread[constant] = 0, 1
        weight, axes = np.linalg.eigh((within / spread).T @ (within / spread))
        axes /= spread[:, None]
        share = 1 / rows[arm]
        return cls(fixed, level, centre, axes, weight, share, row, arm, within @ axes, left)

    @cached_property
    def pull(self) -> Vector:
        """Products of features and outcomes along the axes. (F,)."""
        return self.turned.T @ self.left

    def scale(self, penalty: float) -> Vector:
        """Return the inverse of the penalised weight of each axis. (F,)."""
        return 1 / (np.maximum(self.weight, 0) + penalty * max(len(self.row), 1))

    def lines(self) -> _Lines:
        """Return what is predicted of other rows, for each of the penalties."""
        slopes = np.stack([self.axes @ (self.pull * self.scale(one)) for one in _PENALTIES])
        return _Lines(self.fixed, self.level, self.centre, slopes)

    def on_own_rows(self, features: Matrix) -> Matrix:
        """Predict each row of the fit as if it had not taken part. (N, M)."""
        squares = self.turned**2

        def without(penalty: float) -> Vector:
            scale = self.scale(penalty)
            missed = self.left - self.turned @ (self.pull * scale)
            return _left_out(missed, squares @ scale + self.share)

        errors = [float((without(one) ** 2).sum()) for one in _PENALTIES]
        best = int(np.argmin(errors))
        scale = self.scale(_PENALTIES[best])
        found = self.lines().at(features, best)
        toward = (self.turned * scale) @ (self.centre @ self.axes).T  # (L, M)
        mine = np.arange(len(self.row)), self.arm
        share = (squares @ scale + toward[mine])[:, None] - toward
        share[mine] = squares @ scale + self.share
        share[:, self.fixed] = 0
        found[self.row] -= share * without(_PENALTIES[best])[:, None]
        return found


def _left_out(missed: Vector, leverage: Vector) -> Vector:
    """Return the errors of predictions without the row itself, from those with it."""
    without = 1 - leverage
    return np.divide(missed, without, out=np.zeros_like(missed), where=without > _ALONE)
