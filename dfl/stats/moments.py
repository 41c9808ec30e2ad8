"""`Moments`: number, means and cross products of columns, which add up over blocks of rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Self, final

import numpy as np

from dfl.stats.arrays import Matrix, Vector

__all__ = ["Moments"]


@final
@dataclass(frozen=True, eq=False)
class Moments:
    """All that linear estimators need of n rows of k columns.

    Args:
        rows: n.
        mean: of each column. Shape ``(k,)``.
        products: ``sum_i (v_i - mean) (v_i - mean)^T``. Shape ``(k, k)``.
    """

    rows: int
    mean: Vector
    products: Matrix

    @classmethod
    def of(cls, values: Matrix) -> Self:
        """Sum up rows ``(n, k)``; there may be none."""
        rows, columns = values.shape
        mean = values.mean(axis=0) if rows else np.zeros(columns)
        centred = values - mean
        return cls(rows, mean, centred.T @ centred)

    @classmethod
    def merged(cls, parts: Iterable[Self]) -> Self:
        """Return the moments of all rows together.

        Source:
            Chan, Golub and LeVeque (1983), doi:10.1080/00031305.1983.10483115.
        """
        return reduce(cls._and, parts)

    def _and(self, other: Self) -> Self:
        rows = self.rows + other.rows
        if not rows:
            return self
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.rows / rows)
        between = np.outer(apart, apart) * (self.rows * (other.rows / rows))
        return type(self)(rows, mean, self.products + other.products + between)

    def mapped(self, matrix: Matrix, constant: Vector) -> Self:
        """Return the moments of ``matrix @ v + constant``.

        Args:
            matrix: shape ``(l, k)``.
            constant: shape ``(l,)``.
        """
        return type(self)(
            self.rows, matrix @ self.mean + constant, matrix @ self.products @ matrix.T
        )
