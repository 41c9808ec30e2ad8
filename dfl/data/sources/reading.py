"""Finds and reads data files, and turns their columns into amounts of money and groups."""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from dfl.data.encoding.numbers import rounded_away
from dfl.errors import DataError, DataNotFoundError, InvalidValueError
from dfl.frames import Column, Frame

__all__ = [
    "FORMATS",
    "amounts",
    "column_names",
    "find_file",
    "group_ids",
    "in_float32",
    "read_frame",
    "read_twofold",
]

FORMATS = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
"""How the name of a data file ends."""

_BROKEN = (OSError, ValueError, EOFError, NotImplementedError, zlib.error)  # what Arrow raises
_INT64 = 2.0**63  # from here on Arrow takes a whole number for a float
_DIGITS = 76  # most that an exact number of Arrow has


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
        if os.path.isfile(candidate):  # no error for a name that no disk can hold
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
    places = [Path(os.path.expanduser(path))]  # no error for an unknown home
    if folder and not places[0].is_absolute():
        places.append(Path(folder) / places[0])
    return [
        candidate
        for place in places
        for candidate in ([place / name for name in names] if os.path.isdir(place) else [place])
    ]


def column_names(path: Path) -> tuple[str, ...]:
    """Return the columns of a file without reading its rows, and without a saved index.

    An index that pandas wrote is a column that can be asked for by its name, but it names the
    rows and describes nobody.

    Raises:
        DataError: if the file cannot be read.
    """
    names, index = _header(path)
    return tuple(name for name in names if name not in index)


def read_frame(
    *paths: Path, columns: Sequence[str] | None = None, text: Sequence[str] = ()
) -> Frame:
    """Return the rows of Parquet or CSV files, one after the other.

    What a CSV file leaves empty is missing. The words that stand for a missing number (NA,
    NaN, null and so on) do so among numbers alone: in a column of text they are labels.

    Args:
        paths: files that end in .parquet, .csv, .csv.gz, .tsv or .tsv.gz.
        columns: the columns wanted; None: all but a saved index.
        text: columns of a CSV file that are text, whatever their values look like.

    Raises:
        DataError: if a file cannot be read, has no row, misses a column, or has two columns
            of a name that is wanted.
    """
    return Frame.concat(Frame.of(_read_one(path, columns, text)) for path in paths)


def read_twofold(
    path: Path, columns: Sequence[str], words: Sequence[str], *, text: Sequence[str] = ()
) -> tuple[Frame, Frame]:
    """Return the rows of a file twice: with columns as they are guessed, and with words as text.

    Args:
        path: as `read_frame`.
        columns: the columns wanted of the first frame.
        words: the columns wanted of the second, of a CSV file the text that they are. A column may
            be both.
        text: columns of the first that are text there, too.

    Returns:
        Two frames with at least these columns.

    Raises:
        DataError: as `read_frame`.
    """
    alone = [name for name in words if name not in columns]
    frame = read_frame(path, columns=(*columns, *alone), text=(*text, *alone))
    both = [name for name in words if name in columns and name not in text]
    if not both or _is_parquet(path):
        return frame, frame
    again = read_frame(path, columns=both, text=both).table
    return frame, Frame(frame.table.with_columns(*(again[name] for name in both)))


def _header(path: Path) -> tuple[list[str], list[str]]:
    """Return the names of all columns, and those of a saved index."""
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if _is_parquet(path):
            schema = pyarrow.parquet.read_schema(path)
            index = (schema.pandas_metadata or {}).get("index_columns", [])
            return schema.names, [name for name in index if isinstance(name, str)]
        with pyarrow.csv.open_csv(path, **_csv_options(path)) as reader:
            names: list[str] = reader.schema.names
        return names, [""] if names[:1] == [""] else []  # pandas writes its index without a name
    except _BROKEN as error:
        raise DataError(_unreadable(path, error)) from error


def _read_one(path: Path, columns: Sequence[str] | None, text: Sequence[str]) -> Any:
    import pyarrow.csv
    import pyarrow.parquet

    known, index = _header(path)
    given = [name for name in known if name not in index] if columns is None else columns
    wanted = list(dict.fromkeys(given))
    missing = [name for name in wanted if name not in known]
    if missing:
        raise DataError(f"{path} must have the columns {missing}, it has {known}.")
    twice = [name for name in wanted if known.count(name) > 1]
    if twice:
        raise DataError(f"{path} must name its columns once, {twice} come twice; rename them.")
    try:
        if _is_parquet(path):
            with pyarrow.parquet.ParquetFile(path) as file:
                table = file.read(columns=wanted).select(wanted)
        else:
            table = pyarrow.csv.read_csv(path, **_csv_options(path, wanted, text))
            words = [field.name for field in table.schema if field.type == "null"]
            if words:  # empty, or nothing but words for a missing number, which may be labels
                text = (*text, *words)
                table = pyarrow.csv.read_csv(path, **_csv_options(path, wanted, text))
            table = _with_huge_numbers(_without_empty_text(table), path)
    except _BROKEN as error:
        raise DataError(_unreadable(path, error)) from error
    foreign = (
        [] if _is_parquet(path) else [one.name for one in table.schema if one.type == "binary"]
    )
    if foreign:
        raise DataError(f"{path} must be text in UTF-8, its columns {foreign} are not; save it so.")
    if len(table) == 0:
        raise DataError(f"{path} must have at least one row, got none.")
    return table.replace_schema_metadata(None)


def _csv_options(
    path: Path, wanted: Sequence[str] = (), text: Sequence[str] = ()
) -> dict[str, Any]:
    from pyarrow import csv, string

    return {
        "parse_options": csv.ParseOptions(
            delimiter="\t" if path.name.endswith((".tsv", ".tsv.gz")) else ",",
            newlines_in_values=True,
        ),
        "convert_options": csv.ConvertOptions(
            include_columns=wanted, column_types={name: string() for name in text}
        ),
    }


def _without_empty_text(table: Any) -> Any:
    """Return the table with its empty texts missing, as empty fields of numbers are."""
    from pyarrow import compute, nulls

    for place, field in enumerate(table.schema):
        if field.type == "string":
            column = table.column(place)
            empty = compute.equal(column, "")
            column = compute.if_else(empty, nulls(len(column), "string"), column)
            table = table.set_column(place, field.name, column)
    return table


def _with_huge_numbers(table: Any, path: Path) -> Any:
    """Return the table with whole numbers beyond 64 bits exact; they are guessed to be floats."""
    from pyarrow import compute, csv, decimal256

    names = [
        field.name
        for place, field in enumerate(table.schema)
        if field.type == "double"
        and (compute.max(compute.abs(table.column(place))).as_py() or 0) >= _INT64
    ]
    if not names:
        return table
    options = _csv_options(path, names, names)
    options["convert_options"].strings_can_be_null = True  # by the words that do so among numbers
    texts = csv.read_csv(path, **options)
    for name in names:
        text = compute.utf8_trim_whitespace(texts.column(name))
        if compute.all(compute.match_substring_regex(text, r"^-?\d+$")).as_py():
            fits = compute.max(compute.utf8_length(text)).as_py() <= _DIGITS
            exact = text.cast(decimal256(_DIGITS)) if fits else text
            table = table.set_column(table.schema.get_field_index(name), name, exact)
    return table


def _is_parquet(path: Path) -> bool:
    if not path.name.endswith(FORMATS):
        raise DataError(f"{path} must end in one of {', '.join(FORMATS)}.")
    return path.suffix == ".parquet"


def _unreadable(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    kind = "another kind of file than its name says"
    if path.suffix != ".parquet":
        between = "tabs" if path.name.endswith((".tsv", ".tsv.gz")) else "commas"
        kind += f", which is text in UTF-8 with {between} between columns"
    return f"{path} cannot be read ({reason}); it may be truncated or {kind}. Get it anew."


def amounts(table: Frame, name: str, *, role: str, at_least: float | None = None) -> Tensor:
    """Return a column of money or chances, float32, shape ``(N,)``.

    Args:
        table: the rows.
        name: of the column.
        role: what it is read as, for errors.
        at_least: the least value that makes sense.

    Raises:
        DataError: if the column holds anything but numbers.
        InvalidValueError: if a number is missing, not finite or too small, or if the numbers
            lie so far from 0 that float32 rounds away what tells them apart.
    """
    found = table.column(name).numbers()
    return from_numpy(in_float32(found, f"column {name!r} ({role})", at_least=at_least))


def in_float32(
    found: NDArray[np.float64], where: str, *, at_least: float | None = None
) -> NDArray[np.float32]:
    """Return amounts as they are stored. Shape ``(N,)``.

    Args:
        found: one per row. Shape ``(N,)``.
        where: what they are, for errors.
        at_least: the least value that makes sense.

    Raises:
        InvalidValueError: if a number is missing, not finite or too small, or if the numbers
            lie so far from 0 that float32 rounds away what tells them apart.
    """
    with np.errstate(over="ignore"):  # what overflows is refused below
        stored = found.astype(np.float32)
    _refuse(~np.isfinite(stored), found, f"{where} must be known and finite in every row")
    if at_least is not None:
        _refuse(found < at_least, found, f"{where} must be >= {at_least:g}")
    said = rounded_away(found, stored)
    if said:
        raise InvalidValueError(
            f"{where} {said}. Subtract a constant from every row, which changes no decision."
        )
    return stored


def _refuse(wrong: NDArray[np.bool_], found: NDArray[np.float64], promise: str) -> None:
    if wrong.any():
        row = int(wrong.argmax())
        raise InvalidValueError(
            f"{promise}, got {int(wrong.sum())} that are not, first {found[row]:g} in row {row}."
        )


def group_ids(columns: Sequence[Column]) -> list[Tensor]:
    """Return a whole number for each different label of the tables' columns together.

    Args:
        columns: the same column of each table. A label is the same one in all of them, whether a
            table holds it as a number or as text.

    Returns:
        int64, of each table ``(N,)``.

    Raises:
        DataError: if a column holds no labels.
        InvalidValueError: if a value is missing.
    """
    import pyarrow as pa

    only = columns[0].values
    if len(columns) == 1 and pa.types.is_integer(only.type) and not only.null_count:
        # The same numbers without a label each: households are many.
        return [from_numpy(np.unique(only.to_numpy(), return_inverse=True)[1])]
    factors = [column.known_factor() for column in columns]
    labels = pa.chunked_array([pa.array(one.labels, pa.string()) for one in factors], pa.string())
    place = labels.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    ends = np.cumsum([len(one.labels) for one in factors])
    own = np.split(place, ends[:-1])
    return [from_numpy(new[one.codes]) for new, one in zip(own, factors, strict=True)]
