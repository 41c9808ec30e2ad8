"""`Clusters`: what was randomised, where rows are less: arms, counts and means."""

from dataclasses import dataclass
from typing import Self, final

import numpy as np

from dfl.errors import InvalidValueError
from dfl.scale import PARTS
from dfl.stats.arrays import Booleans, Counts, Integers, Vector

__all__ = ["Clusters"]


@final
@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of rows that may lie anywhere in a data set.

    Args:
        arms: labels of the arms.
        of_rows: number of each row's cluster, 0, 1, ... Shape ``(n,)``.
        places: place in ``arms`` of each cluster's arm. Shape ``(C,)``.
    """

    arms: tuple[str, ...]
    of_rows: Integers
    places: Counts

    @classmethod
    def of(cls, arms: tuple[str, ...], codes: Counts, of_rows: Integers) -> Self:
        """Look up the arm of each cluster.

        Args:
            arms: labels of the arms.
            codes: place in ``arms`` of each row's arm. Shape ``(n,)``.
            of_rows: number of each row's cluster. Shape ``(n,)``.

        Raises:
            InvalidValueError: if a cluster lies in two arms.
        """
        places = np.zeros(int(of_rows.max()) + 1, np.int16)
        parts = [*PARTS.of(len(of_rows))]
        for part in parts:
            places[of_rows[part]] = codes[part]
        wrong = sum(int((places[of_rows[part]] != codes[part]).sum()) for part in parts)
        if wrong:
            raise InvalidValueError(
                f"clusters must lie in one arm each, {wrong} rows are in another arm than the "
                "rest of their cluster; clusters are what was randomised."
            )
        return cls(arms, of_rows, places)

    def members(self, arm: str) -> Booleans:
        """Return which clusters are in an arm. Shape ``(C,)``."""
        found: Booleans = self.places == self.arms.index(arm)
        return found

    def means(self, column: Vector) -> Vector:
        """Return the mean of a column in each cluster. Shape ``(C,)``.

        Args:
            column: one number per row. Shape ``(n,)``.
        """
        sums = np.zeros(len(self.places))
        for part in PARTS.of(len(column)):
            np.add.at(sums, self.of_rows[part], column[part])
        return sums / np.bincount(self.of_rows)
