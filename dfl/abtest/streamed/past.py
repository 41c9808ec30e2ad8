"""`Past`: what is held of the covariates of an arm, to be compared with another's."""

from typing import final

import numpy as np

from dfl.stats.arrays import Matrix

__all__ = ["Past"]

_KEPT = 200_000  # rows of an arm whose covariates are held, twice what ranks and shapes sort


@final
class Past:
    """Covariates of an arm: their extremes, and every ``step``-th row.

    Args:
        columns: number of covariates.
    """

    def __init__(self, columns: int) -> None:
        self.ends = np.stack([np.full(columns, np.inf), np.full(columns, -np.inf)])
        self.kept = np.empty((0, columns))
        self.step, self.seen = 1, 0

    def add(self, rows: Matrix) -> None:
        """Look at more rows. Shape ``(n, columns)``."""
        self.ends[0] = np.minimum(self.ends[0], rows.min(axis=0, initial=np.inf))
        self.ends[1] = np.maximum(self.ends[1], rows.max(axis=0, initial=-np.inf))
        self.kept = np.concatenate([self.kept, rows[-self.seen % self.step :: self.step]])
        self.seen += len(rows)
        while len(self.kept) > _KEPT:
            self.kept, self.step = self.kept[::2].copy(), 2 * self.step
