"""Where predicted revenue and cost of customers come from: a run's model, or columns."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dfl.errors import ConfigError
from dfl.frames import Column, Frame
from dfl.pipeline.folder import RunFolder
from dfl.pipeline.served import MODEL, Served

__all__ = ["AbstractScores", "ColumnScores", "ModelScores"]

_TILE = 1 << 13


class AbstractScores(ABC):
    """Turns rows of a table into revenue and cost of every treatment."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Columns that are read."""

    @property
    @abstractmethod
    def text(self) -> tuple[str, ...]:
        """Those of them that a CSV file holds as text, whatever their values look like."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """One for each treatment."""

    @property
    @abstractmethod
    def kept(self) -> bool:
        """Whether scores are dear enough to be kept on disk between passes."""

    @abstractmethod
    def of(self, table: pa.Table) -> tuple[Tensor, Tensor]:
        """Return revenue and cost of the rows, each ``(n, M)``.

        Raises:
            DflError: if the columns do not hold what is needed.
        """

    def with_features(self, table: pa.Table) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what `of` does, and the sums of the features that a model scored by.

        Returns:
            Revenue and cost of the rows, each ``(n, M)``, and sums over the rows, float64,
            ``(F,)``; None where scores are not predicted.
        """
        return *self.of(table), None

    def among(self, mixed: Collection[str]) -> "AbstractScores":
        """Return what gives the rows of all files scores of one dtype.

        Args:
            mixed: columns of those that are read that files hold by several types.
        """
        return self

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Return what tells these scores from others, as plain data."""


@final
@dataclass(frozen=True, eq=False)
class ModelScores(AbstractScores):
    """Predictions of a run's model.

    Args:
        served: model, encoder and names of the treatments.
        checksum: of the model's file.
    """

    served: Served
    checksum: str

    @staticmethod
    def of_run(folder: RunFolder) -> "ModelScores":
        """Read the model of a run.

        Raises:
            DflError: as `Served.of`.
        """
        served = Served.of(folder)
        return ModelScores(served, hashlib.sha256(folder.checked(MODEL).read_bytes()).hexdigest())

    @property
    def columns(self) -> tuple[str, ...]:
        """The features of the training data."""
        return tuple(dict.fromkeys(column.name for column in self.served.encoder.columns))

    @property
    def text(self) -> tuple[str, ...]:
        """Those that training had as text."""
        return self.served.encoder.text

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the training data."""
        return self.served.treatment_names

    @property
    def kept(self) -> bool:
        """Predicting costs more than reading what was predicted."""
        return True

    def of(self, table: pa.Table) -> tuple[Tensor, Tensor]:
        """Encode and predict."""
        return self.with_features(table)[:2]

    def with_features(self, table: pa.Table) -> tuple[Tensor, Tensor, Tensor | None]:
        """Encode, add up, and predict."""
        encoded = self.served.encoder.encode(table)
        predicted = self.served.model.predict(encoded)
        return predicted.revenue, predicted.cost, encoded.sum(dim=0, dtype=torch.float64)

    def about(self) -> dict[str, Any]:
        """The model's checksum."""
        return {"model": self.checksum}


@final
@dataclass(frozen=True)
class ColumnScores(AbstractScores):
    """Columns that hold revenue and cost already, one pair for each treatment.

    Args:
        revenue: column of each treatment's revenue, in currency; all different, as its name is
            the treatment's.
        cost: column of its cost, in currency, in the same order.
        wide: whether they are float64 though all columns of a table are float32.

    Raises:
        ConfigError: if they are not as many, or none, or two treatments have one name.
    """

    revenue: tuple[str, ...]
    cost: tuple[str, ...]
    wide: bool = False

    def __post_init__(self) -> None:
        """Check numbers and names of columns."""
        if not self.revenue or len(self.revenue) != len(self.cost):
            raise ConfigError(
                "columns of scores must be one of revenue and one of cost for each treatment, got "
                f"{len(self.revenue)} and {len(self.cost)}."
            )
        if twice := [name for name in self.revenue if self.revenue.count(name) > 1]:
            raise ConfigError(
                "columns of revenue must differ, as treatments are called by them, got "
                f"{twice[0]!r} more than once; leave it out, or copy it under another name."
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys((*self.revenue, *self.cost)))

    @property
    def text(self) -> tuple[str, ...]:
        """None of them: all are amounts."""
        return ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of revenue."""
        return self.revenue

    @property
    def kept(self) -> bool:
        """They are there already."""
        return False

    def of(self, table: pa.Table) -> tuple[Tensor, Tensor]:
        """Lay the columns side by side: in float32 where all of them are that, else in float64."""
        frame = Frame.of(table)
        short = all(frame.column(name).values.type == pa.float32() for name in self.columns)
        dtype = np.dtype(np.float32 if short and not self.wide else np.float64)
        revenue, cost = (_side_by_side(frame, one, dtype) for one in (self.revenue, self.cost))
        return revenue, cost

    def among(self, mixed: Collection[str]) -> "ColumnScores":
        """In float64 where some file holds a column by another type."""
        return replace(self, wide=self.wide or bool(mixed))

    def about(self) -> dict[str, Any]:
        """The columns."""
        return {"revenue": list(self.revenue), "cost": list(self.cost)}


def _side_by_side(frame: Frame, names: Sequence[str], dtype: np.dtype[Any]) -> Tensor:
    found = np.empty((len(frame), len(names)), dtype)
    columns = [_numbers(frame.column(name), dtype) for name in names]
    for start in range(0, len(frame), _TILE):  # rows that stay in cache while they are filled
        rows = slice(start, start + _TILE)
        for place, column in enumerate(columns):
            found[rows, place] = column[rows]
    return torch.from_numpy(found)


def _numbers(column: Column, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    values = column.values
    if values.type == pa.from_numpy_dtype(dtype) and not values.null_count:
        return values.to_numpy()  # type: ignore[no-any-return]  # as it lies
    return column.numbers()
