"""Reads Parquet and CSV files with pandas; the only module of the data folder that needs it."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from dfl.errors import DataError

__all__ = ["column_names", "read_table"]

_BROKEN = (OSError, ValueError, EOFError, zlib.error)  # what pandas and pyarrow raise on bad files
_ENDINGS = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")


def column_names(path: Path) -> tuple[str, ...]:
    """Return the columns of a file without reading its rows.

    Raises:
        DataError: if the file cannot be read.
    """
    parquet = _is_parquet(path)
    try:
        if parquet:
            return tuple(pq.read_schema(path).names)
        return tuple(pd.read_csv(path, nrows=0, sep=_separator(path)).columns)
    except _BROKEN as error:
        raise DataError(_unreadable(path, error)) from error


def read_table(*paths: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the rows of Parquet or CSV files, one after the other.

    Args:
        paths: files that end in .parquet, .csv, .csv.gz, .tsv or .tsv.gz.
        columns: the columns wanted; None: all.

    Raises:
        DataError: if a file cannot be read, has no row, or misses a column.
    """
    tables = [_read_one(path, columns) for path in paths]
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def _read_one(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
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
    if not path.name.endswith(_ENDINGS):
        raise DataError(f"{path} must end in one of {', '.join(_ENDINGS)}.")
    return path.suffix == ".parquet"


def _separator(path: Path) -> str:
    return "\t" if path.name.endswith((".tsv", ".tsv.gz")) else ","


def _unreadable(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"{path} cannot be read ({reason}); it may be truncated or another kind of file than "
        "its name says. Get it anew."
    )
