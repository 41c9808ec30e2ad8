"""`Chunks`: a long table as slices of rows, each small enough for what is done with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

__all__ = ["CACHED", "STREAMED", "Chunks"]


@final
@dataclass(frozen=True)
class Chunks:
    """Cuts rows into slices of at most so many numbers.

    Args:
        numbers: per slice, all columns together, >= 1. A slice holds one row at least.
    """

    numbers: int

    def of(self, rows: int, columns: int = 1) -> Iterator[slice]:
        """Yield slices that cover ``range(rows)`` in order; none where there are no rows.

        Args:
            rows: of the table.
            columns: numbers that are held per row.
        """
        size = max(self.numbers // max(columns, 1), 1)
        for start in range(0, rows, size):
            yield slice(start, min(start + size, rows))


CACHED = Chunks(1 << 15)
"""What is computed on the way stays in one core's cache."""

STREAMED = Chunks(1 << 16)
"""Rows read, predicted or written at once, so that memory does not grow with their number."""
