"""`CategoryColumn`: one 0/1 feature per category."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from dfl.data.encoding.base import refuse_missing
from dfl.data.encoding.labels import AbstractLabelColumn, categories_of
from dfl.errors import DataError, InvalidValueError
from dfl.frames import Column

__all__ = ["CategoryColumn", "Stray"]

_MOST_CATEGORIES = 100  # above this a text column is an identifier, not a feature
_RARE = 10  # rows below which a category is learned together with the unknown ones

Stray: TypeAlias = Literal["refuse", "zeros", "own"]
"""What becomes of a value that is no category: an error, no feature, or a feature of its own."""


@final
@dataclass(frozen=True)
class CategoryColumn(AbstractLabelColumn):
    """Gives each category a 0/1 feature of its own.

    Args:
        name: column of the table.
        text: as `AbstractLabelColumn`.
        categories: the values that have one.
        missing: what becomes of a missing value; its own feature is ``name (missing)``.
        unknown: what becomes of any other value; its own feature is ``name (other)``.
    """

    categories: tuple[str, ...] = ()
    missing: Stray = "refuse"
    unknown: Stray = "refuse"

    @staticmethod
    def fit(column: Column, *, impute: bool, pool: bool) -> "CategoryColumn":
        """Learn the categories, sorted as text.

        Args:
            column: of the training rows.
            impute: whether values may be missing.
            pool: whether categories may be unknown later. Those with fewer than 10 rows, and
                all but the 99 with most rows, are then learned together as the other ones.

        Raises:
            DataError: if the column does not hold categories, or too many.
        """
        factor = categories_of(column)
        gaps, *rows = np.bincount(factor.codes + 1, minlength=len(factor.labels) + 1).tolist()
        names, unknown = [*factor.labels], "refuse"
        if pool:
            by_rows = sorted(range(len(names)), key=lambda code: (-rows[code], names[code]))
            names = [names[code] for code in by_rows[: _MOST_CATEGORIES - 1] if rows[code] >= _RARE]
            unknown = "own" if len(names) < len(factor.labels) else "zeros"
        if len(names) > _MOST_CATEGORIES:
            raise DataError(
                f"column {column.name!r} has {len(names):,} categories, at most "
                f"{_MOST_CATEGORIES} are encoded; leave it out of features, group its values, or "
                "name it in hashed or target."
            )
        missing: Stray = "refuse" if not impute else "own" if gaps else "zeros"
        own = tuple(sorted(names))
        return CategoryColumn(column.name, own, missing, unknown, text=column.is_text)  # type: ignore[arg-type]  # one of the words of Stray

    @property
    def feature_names(self) -> tuple[str, ...]:
        """``name=category`` for each category, then ``name (other)`` and ``name (missing)``."""
        names = [f"{self.name}={category}" for category in self.categories]
        names += [f"{self.name} (other)"] * (self.unknown == "own")
        return (*names, *[f"{self.name} (missing)"] * (self.missing == "own"))

    def encode(self, column: Column) -> NDArray[np.float32]:
        """Return the 0/1 features."""
        factor = self.labels(column)
        places, missing = factor.places_in(self.categories), factor.codes < 0
        if self.missing == "refuse":
            refuse_missing(self.name, missing)
        elif missing.any() and self.missing == "zeros":
            self.warn("misses values and did not in training: they count as no category.")
        unseen = (places < 0) & ~missing
        if unseen.any():
            self._meet(factor.labels[factor.codes[int(unseen.argmax())]], int(unseen.argmax()))
        columns = len(self.feature_names)
        places[unseen] = len(self.categories) if self.unknown == "own" else columns
        places[missing] = columns - 1 if self.missing == "own" else columns
        return np.eye(columns + 1, columns, dtype=np.float32)[places]

    def _meet(self, value: str, row: int) -> None:
        """Refuse an unknown value, or say what becomes of it."""
        if self.unknown == "refuse":
            raise InvalidValueError(
                f"column {self.name!r} must hold one of {list(self.categories)}, got {value!r} in "
                f"row {row}; it did not occur in the training rows. New categories pass where a "
                "table was read with unknown='other'; before BudgetedPolicy, by a OneHotEncoder."
            )
        if self.unknown == "zeros":
            self.warn(f"holds values that training did not, such as {value!r}: no category.")
