"""Finds and reads data files, and turns their columns into numbers and groups."""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from dfl.errors import DataError, DataNotFoundError

if TYPE_CHECKING:  # pandas and Arrow take a while to import, and names of data do not need them
    from pandas import DataFrame

__all__ = ["FORMATS", "amounts", "column_names", "find_file", "group_ids", "read_table"]

FORMATS = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
"""How the name of a data file ends."""

_BROKEN = (OSError, ValueError, EOFError, zlib.error)  # what pandas and pyarrow raise on bad files


def find_file(path: Path | str | None, names: Sequence[str] = (), *, where: str = "") -> Path:
    """Return the first place where a file is.

    A path is tried as it stands, then inside the folder that the environment variable
    ``DFL_DATA`` names; a folder is searched for ``names``. Without a path, ``names`` are
    looked for in ``DFL_DATA``.

    Args:
        path: a file, a folder, or None.
        names: usual names of the file, the preferred one first.
        where: where to get the file, for the error.

    Raises:
        DataNotFoundError: if it is in none of these places; lists them.
    """
    tried = _candidates(path, names)
    for candidate in tried:
        if candidate.is_file():
            return candidate
    looked = "; looked for " + ", ".join(map(str, tried)) if tried else ""
    hint = "" if os.environ.get("DFL_DATA") else " DFL_DATA, the data folder, is not set."
    source = f" Get it from {where}." if where else ""
    raise DataNotFoundError(
        f"no data file {path if path is not None else ' or '.join(names)}{looked}.{hint}{source} "
        "Give its path, or put it into the folder that DFL_DATA names."
    )


def _candidates(path: Path | str | None, names: Sequence[str]) -> list[Path]:
    folder = os.environ.get("DFL_DATA")
    if path is None:
        return [Path(folder) / name for name in names] if folder else []
    places = [Path(path).expanduser()]
    if folder and not places[0].is_absolute():
        places.append(Path(folder) / places[0])
    return [
        candidate
        for place in places
        for candidate in ([place / name for name in names] if place.is_dir() else [place])
    ]


def column_names(path: Path) -> tuple[str, ...]:
    """Return the columns of a file without reading its rows.

    Raises:
        DataError: if the file cannot be read.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    parquet = _is_parquet(path)
    try:
        if parquet:
            return tuple(pq.read_schema(path).names)
        return tuple(pd.read_csv(path, nrows=0, sep=_separator(path)).columns)
    except _BROKEN as error:
        raise DataError(_unreadable(path, error)) from error


def read_table(*paths: Path, columns: Sequence[str] | None = None) -> "DataFrame":
    """Return the rows of Parquet or CSV files, one after the other.

    Args:
        paths: files that end in .parquet, .csv, .csv.gz, .tsv or .tsv.gz.
        columns: the columns wanted; None: all.

    Raises:
        DataError: if a file cannot be read, has no row, or misses a column.
    """
    import pandas as pd

    tables = [_read_one(path, columns) for path in paths]
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def _read_one(path: Path, columns: Sequence[str] | None) -> "DataFrame":
    import pandas as pd

    known = column_names(path)
    missing = [name for name in columns or () if name not in known]
    if missing:
        raise DataError(f"{path} must have the columns {missing}, it has {list(known)}.")
    wanted = None if columns is None else list(dict.fromkeys(columns))
    try:
        if _is_parquet(path):
            table = pd.read_parquet(path, columns=wanted)
        else:
            table = pd.read_csv(path, usecols=wanted, sep=_separator(path), engine="pyarrow")
    except _BROKEN as error:
        raise DataError(_unreadable(path, error)) from error
    if len(table) == 0:
        raise DataError(f"{path} must have at least one row, got none.")
    return table


def _is_parquet(path: Path) -> bool:
    if not path.name.endswith(FORMATS):
        raise DataError(f"{path} must end in one of {', '.join(FORMATS)}.")
    return path.suffix == ".parquet"


def _separator(path: Path) -> str:
    return "\t" if path.name.endswith((".tsv", ".tsv.gz")) else ","


def _unreadable(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"{path} cannot be read ({reason}); it may be truncated or another kind of file than "
        "its name says. Get it anew."
    )


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
