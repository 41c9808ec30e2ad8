"""Outcomes predicted from features for rows that did not take part in the prediction."""

from dataclasses import dataclass
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
    the penalty is the one of the smallest squared error on rows left out, and may be infinite
    (levels alone). A treatment under which the outcome never varies, such as one with a list
    price, is predicted as that number. Rows are left out one by one, in closed form, so that no
    draw of folds and no order of rows takes part; groups are left out in ten folds of whole
    groups, by their ids. A feature that is the same within every treatment, up to rounding, takes
    no part.

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
    fold = np.unique(groups, return_inverse=True)[1].reshape(-1) % _FOLDS
    found = np.empty((len(outcomes), len(treatment), arms))
    for number in np.unique(fold):
        own = fold == number
        rest = own if own.all() else ~own  # one group alone: there is no other
        for column, outcome in enumerate(outcomes):
            fit = _Ridge.fit(features[rest], treatment[rest], outcome[rest], arms)
            found[column, own] = fit.on_rows(features[own])
    return found


@final
@dataclass(frozen=True, eq=False)
class _Ridge:
    """A fit of one outcome, with what leaving out each of its rows needs.

    Args:
        fixed: treatments under which the outcome never varies. Shape ``(M,)``.
        level: mean outcome of each treatment. Shape ``(M,)``.
        centre: mean features of each treatment. Shape ``(M, F)``.
        axes: turns features into units and directions that are uncorrelated within
            treatments. Shape ``(F, F)``.
        slopes: along those axes. Shape ``(F,)``.
        scale: inverse of the penalised weight of each axis. Shape ``(F,)``.
        row: rows that took part: those of treatments that are not fixed. Shape ``(L,)``.
        arm: their treatment.
        turned: their features from the centre, along the axes. Shape ``(L, F)``.
        missed: their outcomes less the fit.
        leverage: of each of them on its own fit.
    """

    fixed: Booleans
    level: Vector
    centre: Matrix
    axes: Matrix
    slopes: Vector
    scale: Vector
    row: Integers
    arm: Integers
    turned: Matrix
    missed: Vector
    leverage: Vector

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
        turned = within @ axes
        pull, squares = turned.T @ left, turned**2

        def penalised(penalty: float) -> tuple[Vector, Vector, Vector]:
            scale = 1 / (np.maximum(weight, 0) + penalty * max(len(row), 1))
            return scale, left - turned @ (pull * scale), squares @ scale + 1 / rows[arm]

        def error(fit: tuple[Vector, Vector, Vector]) -> float:
            return float((_left_out(*fit[1:]) ** 2).sum())

        scale, missed, leverage = min(map(penalised, _PENALTIES), key=error)
        return cls(
            fixed, level, centre, axes, pull * scale, scale, row, arm, turned, missed, leverage
        )

    def on_rows(self, features: Matrix) -> Matrix:
        """Predict other rows. (N, M)."""
        index = features @ (self.axes @ self.slopes)
        level = self.level - self.centre @ (self.axes @ self.slopes)
        return np.where(self.fixed, self.level, level + index[:, None])

    def on_own_rows(self, features: Matrix) -> Matrix:
        """Predict each row of the fit as if it had not taken part. (N, M)."""
        found = self.on_rows(features)
        toward = (self.turned * self.scale) @ (self.centre @ self.axes).T  # (L, M)
        mine = np.arange(len(self.row)), self.arm
        share = (self.turned**2 @ self.scale + toward[mine])[:, None] - toward
        share[mine] = self.leverage
        share[:, self.fixed] = 0
        found[self.row] -= share * _left_out(self.missed, self.leverage)[:, None]
        return found


def _left_out(missed: Vector, leverage: Vector) -> Vector:
    """Return the errors of predictions without the row itself, from those with it."""
    without = 1 - leverage
    return np.divide(missed, without, out=np.zeros_like(missed), where=without > _ALONE)
