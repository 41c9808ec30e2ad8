"""`AbstractTable`: data that lies in a file."""

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from dfl.data.hybrid import HybridRecipe
from dfl.data.sources.loaded import LoadedData
from dfl.data.sources.source import AbstractDataSource, HybridData
from dfl.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["AbstractTable", "amounts", "group_ids"]


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractTable(AbstractDataSource):
    """Rows in a Parquet or CSV file.

    Args:
        path: the file, absolute or inside the folder ``DFL_DATA``; for a published data set
            None looks for its usual names there.
        recipe: how `hybrid` splits the rows.
    """

    path: Path | str | None = None
    recipe: HybridRecipe = field(default_factory=HybridRecipe)

    @abstractmethod
    def load(self) -> LoadedData:
        """Read the file, check it, and give its columns their roles.

        Raises:
            DataNotFoundError: if the file is not there; says where to get it.
            DataError: if the file cannot be read, or is not what it claims to be.
            InvalidValueError: if a value is missing or out of its range.
        """

    def hybrid(self, seed: int) -> HybridData:
        """Read and split. To split for many seeds, call `load` once and split that."""
        return self.load().hybrid(seed)


def amounts(table: "DataFrame", name: str) -> NDArray[np.float32]:
    """Return a column of numbers; missing values become NaN, which `UpliftData` refuses.

    Raises:
        DataError: if the column holds anything but numbers.
    """
    column = table[name]
    if column.dtype.kind not in "biuf":
        raise DataError(f"column {name!r} must hold numbers, got {column.dtype}.")
    with np.errstate(over="ignore"):  # infinity is refused together with NaN
        return column.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)


def group_ids(table: "DataFrame", name: str) -> Tensor:
    """Return a whole number for each different value of a column, int64, shape ``(N,)``.

    Raises:
        DataError: if a value is missing.
    """
    column = table[name]
    if bool(column.isna().any()):
        raise DataError(f"column {name!r} names groups and must have no missing value.")
    _, codes = np.unique(column.to_numpy(), return_inverse=True)
    return from_numpy(codes.astype(np.int64))
