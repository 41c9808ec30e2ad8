"""`NumberColumn`: a number, or a date as a number of days."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from dfl.data.encoding.base import AbstractFeatureColumn, refuse_missing
from dfl.errors import InvalidValueError
from dfl.frames import Column

__all__ = ["NumberColumn", "rounded_away"]

_LOST = 1e-3  # most of a standard deviation that float32 may round away


def rounded_away(found: NDArray[np.float64], stored: NDArray[np.float32]) -> str:
    """Say in words that float32 rounds away what tells numbers apart; nothing where it does not.

    Args:
        found: the numbers. Shape ``(N,)``, ``N >= 1``.
        stored: what float32 makes of them. Shape ``(N,)``.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # of what is not finite nothing is said
        lost, spread = float(np.sqrt(np.mean((stored - found) ** 2))), float(found.std())
    held = spread <= 1e-12 * float(np.abs(found).max()) or lost <= _LOST * spread
    if held or not np.isfinite(lost / spread):
        return ""
    return (
        f"lies near {found.mean():.6g} and spreads by {spread:.3g} around it: float32 rounds by "
        f"{lost:.2g}"
    )


@final
@dataclass(frozen=True)
class NumberColumn(AbstractFeatureColumn):
    """Keeps a number as it is; a date becomes days since 1970-01-01.

    Args:
        name: column of the table.
        days: whether the column holds dates.
        fill: stands where a value is missing; None: none may be missing.
        marks: whether a second feature, ``name (missing)``, is 1 there and else 0.
    """

    days: bool = False
    fill: float | None = None
    marks: bool = False

    @staticmethod
    def fit(column: Column, *, days: bool, impute: bool) -> "NumberColumn":
        """Learn the mean, which fills the gaps, and whether there are any.

        Raises:
            DataError: if the column holds no numbers, or no dates.
            InvalidValueError: if nothing is known.

        Warns:
            DataWarning: if float32 rounds away what tells the numbers apart.
        """
        values = column.days() if days else column.numbers()
        known = values[~np.isnan(values)]
        plain = NumberColumn(column.name, days)
        if len(known):
            plain.warn_of_rounding(known)
        if not impute:
            return plain
        if not len(known):
            raise InvalidValueError(
                f"column {column.name!r} has no value in any row; leave it out."
            )
        return NumberColumn(column.name, days, float(known.mean()), len(known) < len(values))

    def warn_of_rounding(self, values: NDArray[np.float64]) -> None:
        """Warn if float32 rounds away what tells these numbers of the column apart.

        Warns:
            DataWarning: says by how much, and what to do.
        """
        with np.errstate(over="ignore"):
            said = rounded_away(values, values.astype(np.float32))
        if said:
            self.warn(
                f"{said}, and models hardly see it. Subtract a constant first: instead of a time, "
                "give that since a start."
            )

    @property
    def feature_names(self) -> tuple[str, ...]:
        """``name``, and ``name (missing)`` where gaps are marked."""
        return (self.name, f"{self.name} (missing)") if self.marks else (self.name,)

    def encode(self, column: Column) -> NDArray[np.float32]:
        """Return the number, and whether it was missing."""
        if str(column.values.type) == "float" and not column.values.null_count and not self.marks:
            stored: NDArray[np.float32] = column.values.to_numpy()
            if not self.days and np.isfinite(stored).all():  # as it is, which is the usual case
                return stored[:, None]
        values = column.days() if self.days else column.numbers()
        missing = np.isnan(values)
        if self.fill is None:
            refuse_missing(self.name, missing)
        elif missing.any() and not self.marks:
            self.warn("misses values and did not in training: its mean stands in for them.")
        filled = np.where(missing, self.fill or 0.0, values)
        with np.errstate(over="ignore"):  # what overflows is refused below
            numbers = filled.astype(np.float32)
        wrong = ~np.isfinite(numbers)
        if wrong.any():
            row = int(wrong.argmax())
            raise InvalidValueError(
                f"column {self.name!r} must be finite in float32, got {filled[row]} in row {row}."
            )
        return np.stack([numbers, missing] if self.marks else [numbers], axis=1)
