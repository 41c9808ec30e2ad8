"""`DataCard`: what a published data set is, and whether a file really is it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from dfl.errors import DataError
from dfl.frames import Frame

__all__ = ["Arm", "DataCard"]

_RELATIVE_TOLERANCE = 2e-4  # published means are given to four to six digits


@final
@dataclass(frozen=True, kw_only=True)
class Arm:
    """One treatment of a published experiment.

    Args:
        name: how reports call it.
        value: how the file calls it.
        rows: published number of rows, or None where none is published.
        means: published mean of each outcome column, or empty.
    """

    name: str
    value: str | int
    rows: int | None = None
    means: Mapping[str, float] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True)
class DataCard:
    """What a published data set holds, whose it is, and how dfl reads it.

    Args:
        name: name in the command line, in kebab-case.
        title: full title.
        citation: whom to cite.
        licence: licence as stated by the owner.
        where: where to get the file.
        files: file names looked for in the data folder, the preferred one first.
        rows: published number of rows, or None where none is published.
        treatment: column of the treatment.
        arms: treatments in the order of ``UpliftData``: arm ``j`` is treatment ``j``.
        features: columns known before treatment.
        outcomes: columns measured after treatment.
        groups: column of the household or cluster that was randomised as one, or None.
        revenue: what revenue means, and its unit.
        cost: what cost means, and its unit.
        options: option of the loader to what it does.
        unverified: what could not be checked against the file itself, or empty.
    """

    name: str
    title: str
    citation: str
    licence: str
    where: str
    files: tuple[str, ...]
    rows: int | None
    treatment: str
    arms: tuple[Arm, ...]
    features: tuple[str, ...]
    outcomes: tuple[str, ...]
    revenue: str
    cost: str
    groups: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    unverified: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, features first."""
        groups = () if self.groups is None else (self.groups,)
        return (*self.features, self.treatment, *self.outcomes, *groups)

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Name of each treatment, in order."""
        return tuple(arm.name for arm in self.arms)

    def verify(self, table: Frame, treatment: NDArray[np.int64]) -> None:
        """Compare a whole file with what was published about it.

        Args:
            table: the file's rows.
            treatment: index of the arm of each row. Shape ``(N,)``.

        Raises:
            DataError: if the number of rows, the size of an arm or the mean of an outcome in
                an arm differs; says which, what was expected and what came.
        """
        if self.rows is not None and len(table) != self.rows:
            raise self._differs("the whole file", "rows", f"{self.rows:,}", f"{len(table):,}")
        counts = np.bincount(treatment, minlength=len(self.arms))
        for arm, count in zip(self.arms, counts.tolist(), strict=True):
            if arm.rows is not None and count != arm.rows:
                raise self._differs(f"arm {arm.name!r}", "rows", f"{arm.rows:,}", f"{count:,}")
        for column in self.outcomes:
            values = table.column(column).numbers()
            totals = np.bincount(treatment, weights=values, minlength=len(self.arms))
            for arm, total, count in zip(self.arms, totals, counts, strict=True):
                expected = arm.means.get(column)
                if expected is None:
                    continue
                mean = float(total / count)
                if not abs(mean - expected) <= _RELATIVE_TOLERANCE * abs(expected):
                    raise self._differs(
                        f"arm {arm.name!r}", f"mean {column}", f"{expected:.6g}", f"{mean:.6g}"
                    )

    def _differs(self, part: str, what: str, expected: str, got: str) -> DataError:
        return DataError(
            f"this is not the published {self.name} file: {part} must have {what} {expected}, "
            f"got {got}. Get the file anew ({self.where}), or pass sample=True if it is "
            "knowingly a part of it."
        )
