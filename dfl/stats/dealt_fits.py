"""`deal_fits`: least squares and Student-t regression fitted anew to units dealt anew."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self, final

import numpy as np

from dfl.stats.arrays import Cube, Integers, Matrix, Vector

__all__ = ["deal_fits"]

_AT_ONCE = 100  # deals
_MOST = 1_000
_ENOUGH = 20  # deals as far out as the data: more of them tell nothing new
_STEPS = 60  # of EM, which ends where no deal moves by more than that share of its scale:
_RTOL = 1e-4
_COLLAPSED = 1e-24  # in squares of the unit that STATE calculates in, about one residual
_TIED = 1e-9


def deal_fits(
    design: Matrix, outcome: Vector, clusters: Integers | None, fitted: tuple[Vector, float]
) -> tuple[float, float] | None:
    """Tell whether the Student-t estimate lies farther from that of least squares than by chance.

    The fitted effect is taken off the treated, so that it is the same for everyone. Then units are
    dealt to the arms up to 1,000 times; each time both estimates are made, and their difference is
    divided by its error. The p-value is twice the share of deals as far out on the side of the
    data.

    Args:
        design: ones, treatment and, where there is one, the prediction. Shape ``(k, n)``.
        outcome: in a unit of about one residual. Shape ``(n,)``.
        clusters: number of what was randomised, or None for the rows. Shape ``(n,)``.
        fitted: Student-t coefficients ``(k,)``, and degrees of freedom.

    Returns:
        The p-value, and how many times as large a difference would be called significant at 5 %;
        None where no deal is as far out as the data.

    Source:
        Janssen (1997), doi:10.1016/S0167-7152(97)00043-6; Chung and Romano (2013),
        doi:10.1214/13-AOS1090, studentised permutations.
    """
    data = _Dealer.of(design, outcome, clusters, fitted)
    (seen,) = data.distances(data.treated[None]).tolist()
    drawn, beyond = np.empty(0), 0
    for deals in data.deals():
        found = data.distances(deals) * (1 if seen > 0 else -1)
        drawn = np.concatenate([drawn, found, -found] if data.even else [drawn, found])
        beyond = int((drawn >= abs(seen) * (1 - _TIED)).sum())
        if beyond >= _ENOUGH:
            break
    if not beyond:
        return None
    reach = float(np.quantile(drawn, 0.975)) / abs(seen)
    return min(2 * (1 + beyond) / (1 + len(drawn)), 1.0), reach


@final
@dataclass(frozen=True, eq=False)
class _Dealer:
    """Rows without the effect, those of a unit side by side; units in an order of their own.

    Args:
        treated: 1 for rows that were treated. Shape ``(n,)``.
        base: regressors beside the treatment. Shape ``(m, n)``.
        outcome: less the fitted effect. Shape ``(n,)``.
        unit: number of each row's unit, rising. Shape ``(n,)``.
        nu: degrees of freedom.
    """

    treated: Vector
    base: Matrix
    outcome: Vector
    unit: Integers
    nu: float

    @classmethod
    def of(
        cls,
        design: Matrix,
        outcome: Vector,
        clusters: Integers | None,
        fitted: tuple[Vector, float],
    ) -> Self:
        """Order units by their residuals, so that neither rows nor signs decide on the deals."""
        coefficients, nu = fitted
        treated, base = design[1], np.delete(design, 1, axis=0)
        residual = np.abs(outcome - coefficients @ design)
        numbers = np.arange(len(outcome)) if clusters is None else clusters
        unit = np.unique(numbers, return_inverse=True)[1]
        rank = np.empty(int(unit.max()) + 1, np.int64)
        rank[np.lexsort((np.bincount(unit, residual), np.bincount(unit)))] = np.arange(len(rank))
        order = np.argsort(rank[unit], kind="stable")
        apart = outcome - coefficients[1] * treated
        return cls(treated[order], base[:, order], apart[order], rank[unit][order], nu)

    @cached_property
    def _first(self) -> Integers:
        """Place of the first row of each unit."""
        return np.flatnonzero(np.diff(self.unit, prepend=-1))

    @property
    def _counts(self) -> tuple[int, int]:
        """Number of units, and of treated ones."""
        return len(self._first), int(self.treated[self._first].sum())

    @property
    def even(self) -> bool:
        """Whether the arms have the same number of units."""
        units, of_treated = self._counts
        return units == 2 * of_treated

    def deals(self) -> Iterator[Matrix]:
        """Yield who is treated in 100 deals, the smaller arm being drawn. Shape ``(100, n)``."""
        generator = np.random.default_rng(0)
        units, of_treated = self._counts
        few = min(of_treated, units - of_treated)
        for _ in range(_MOST // _AT_ONCE):
            picked = generator.random((_AT_ONCE, units)).argsort(axis=1).argsort(axis=1) < few
            treated = picked if few == of_treated else ~picked
            yield treated[:, self.unit].astype(np.float64)

    def distances(self, deals: Matrix) -> Vector:
        """Return how many errors the estimates lie apart in each deal. Shape ``(b,)``."""
        ones = np.ones_like(deals)
        gram = self._gram(ones, deals)
        mean = self._solved(gram, self._moments(ones * self.outcome, deals))
        left = self.outcome - self._fitted(mean, deals)
        gain = deals.shape[1] * self._solved(gram, np.eye(gram.shape[1])[-1])
        parts = -self._fitted(gain, deals) * left
        robust, residual, variance = self._em(mean, left, deals)
        parts += self._influence(residual, variance, deals)
        sums = np.add.reduceat(parts, self._first, axis=1)
        error = np.sqrt((sums * sums).sum(axis=1)) / deals.shape[1]
        found: Vector = (robust[:, -1] - mean[:, -1]) / np.maximum(error, 1e-300)
        return found

    def _em(self, start: Matrix, residual: Matrix, deals: Matrix) -> tuple[Matrix, Matrix, Vector]:
        """Return coefficients, residuals and ``sigma^2`` of Student-t errors."""
        now, variance = start, (residual * residual).mean(axis=1)
        for _ in range(_STEPS):
            weight = (self.nu + 1) / (self.nu + residual * residual / variance[:, None])
            moved = self._solved(self._gram(weight, deals), self._moments(weight * residual, deals))
            now = now + moved
            residual = residual - self._fitted(moved, deals)
            before, variance = variance, (weight * residual * residual).mean(axis=1)
            variance = np.maximum(variance, _COLLAPSED)
            step = np.abs(moved).max(axis=1) / np.sqrt(variance)
            if max(float(step.max()), float(np.abs(variance / before - 1).max())) < _RTOL:
                break
        return now, residual, variance

    def _influence(self, residual: Matrix, variance: Vector, deals: Matrix) -> Matrix:
        """Return the influences on the robust estimate, see `t_influence`."""
        inner = self.nu * variance[:, None]
        outer = residual * residual + inner
        slope = (self.nu + 1) / (outer * outer)
        across = self._moments(slope * residual, deals)
        size = across.shape[1]
        jacobian = np.empty((len(deals), size + 1, size + 1))
        jacobian[:, :size, :size] = -self._gram(slope * (2 * inner - outer), deals)
        jacobian[:, :size, size] = -self.nu * across
        jacobian[:, size, :size] = -2 * inner * across
        jacobian[:, size, size] = -self.nu * (slope * (outer - inner)).sum(axis=1)
        row = deals.shape[1] * np.linalg.pinv(jacobian)[:, size - 1]
        psi = residual * ((self.nu + 1) / outer)
        found: Matrix = -self._fitted(row[:, :size], deals) * psi - row[:, size:] * (
            psi * residual - 1
        )
        return found

    def _gram(self, weight: Matrix, deals: Matrix) -> Cube:
        """Return ``sum w d d'`` over the rows, the treatment last. Shape ``(b, k, k)``."""
        size = len(self.base)
        pairs = (self.base[:, None] * self.base[None]).reshape(size * size, -1).T
        of_treated = weight * deals
        gram = np.empty((len(deals), size + 1, size + 1))
        gram[:, :size, :size] = (weight @ pairs).reshape(-1, size, size)
        gram[:, size, :size] = gram[:, :size, size] = of_treated @ self.base.T
        gram[:, size, size] = of_treated.sum(axis=1)
        return gram

    def _moments(self, values: Matrix, deals: Matrix) -> Matrix:
        """Return ``sum v d`` over the rows. Shape ``(b, k)``."""
        return np.concatenate(
            [values @ self.base.T, (values * deals).sum(axis=1, keepdims=True)], axis=1
        )

    def _fitted(self, coefficients: Matrix, deals: Matrix) -> Matrix:
        """Return ``coefficients @ d`` of each row. Shape ``(b, n)``."""
        found: Matrix = coefficients[:, :-1] @ self.base + coefficients[:, -1:] * deals
        return found

    @staticmethod
    def _solved(gram: Cube, moments: Matrix) -> Matrix:
        """Return ``gram^+ moments``: a deal may give the treatment to those of one prediction."""
        inverse = np.linalg.pinv(gram, rcond=1e-12, hermitian=True)
        return np.asarray((inverse @ moments[..., None])[..., 0])
