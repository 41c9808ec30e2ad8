"""`CustomerFile`: a table of customers that is read in chunks, and one that is written so."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from torch import Tensor

from dfl.data.sources.reading import FORMATS, column_names, read_twofold
from dfl.errors import DataError, DflError, InvalidValueError
from dfl.io import is_special
from dfl.scale import STREAMED

__all__ = [
    "CustomerFile",
    "check_apart",
    "check_columns",
    "check_free",
    "check_kept",
    "check_output",
    "given_columns",
    "schema_of",
    "writer",
]

_OURS = ("row", "treatment", "treatment_name", "predicted_revenue", "predicted_cost")


@final
@dataclass(frozen=True, eq=False)
class CustomerFile:
    """A Parquet file, of which one chunk is in memory at a time, or a CSV file, which is whole.

    Args:
        path: of the file.
        rows: number of rows.
        table: the open Parquet file, or the columns of a CSV file.
        words: the same, but for the columns of a CSV file that are carried over as text.
    """

    path: Path
    rows: int
    table: Any
    words: Any

    @staticmethod
    @contextmanager
    def opened(
        path: Path, features: Sequence[str], keep: Sequence[str], *, text: Sequence[str]
    ) -> Iterator["CustomerFile"]:
        """Open a file.

        Args:
            path: of the file, which is there.
            features: columns that will be predicted from.
            keep: columns that are carried over; those of a CSV file as the text that they are.
            text: features that a CSV file holds as text, whatever their values look like.

        Raises:
            DataError: if it is unreadable, truncated, or lacks a column.
            DflError: whatever is raised while it is open.
        """
        try:
            if path.suffix == ".parquet":
                with pq.ParquetFile(path) as file:
                    check_columns(path, file.schema_arrow.names, features, keep)
                    yield CustomerFile(path, file.metadata.num_rows, file, file)
                return
            check_columns(path, column_names(path), features, keep)
            frame, words = read_twofold(path, features, keep, text=text)
            found = (one.table.to_arrow() for one in (frame, words))
            yield CustomerFile(path, len(frame), *found)
        except DflError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} is not a readable Parquet file ({error}).") from error

    def chunks(self, columns: Sequence[str]) -> Iterator[tuple[slice, pa.Table]]:
        """Yield the rows in order, so many at a time.

        Args:
            columns: the columns wanted, as they are predicted from.
        """
        return self._chunks(self.table, columns)

    def kept(self, columns: Sequence[str]) -> Iterator[tuple[slice, pa.Table]]:
        """Yield the rows likewise, with the columns as they are carried over."""
        return self._chunks(self.words, columns)

    def _chunks(self, table: Any, columns: Sequence[str]) -> Iterator[tuple[slice, pa.Table]]:
        if not columns or isinstance(table, pa.Table):
            whole = table.select(columns) if columns else pa.table({})
            for part in STREAMED.of(self.rows):
                yield part, whole.slice(part.start, part.stop - part.start)
            return
        start = 0
        for batch in table.iter_batches(STREAMED.numbers, columns=list(columns)):
            rows = pa.Table.from_batches([batch]).select(columns)
            yield slice(start, start + len(rows)), rows.replace_schema_metadata(None)
            start += len(rows)

    def field(self, name: str) -> pa.Field:
        """Return the name and type of a column that is carried over."""
        schema = self.words.schema if isinstance(self.words, pa.Table) else self.words.schema_arrow
        return schema.field(name)


def given_columns(
    start: int, choice: Tensor, revenue: Tensor, cost: Tensor, names: Sequence[str]
) -> dict[str, pa.Array]:
    """Return what is written about some rows, beside the columns that are kept.

    Args:
        start: number of the first row.
        choice: treatment of each. int64, ``(n,)``.
        revenue: predicted under every treatment. Shape ``(n, M)``.
        cost: likewise.
        names: of the treatments.
    """
    codes = pa.array(choice.numpy().astype("int32"))
    picked = [one.gather(1, choice[:, None])[:, 0].numpy() for one in (revenue, cost)]
    return {
        "row": pa.array(np.arange(start, start + len(choice))),
        "treatment": pa.array(choice.numpy()),
        "treatment_name": pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string())),
        "predicted_revenue": pa.array(picked[0]),
        "predicted_cost": pa.array(picked[1]),
    }


def schema_of(given: Mapping[str, pa.Array], keep: Sequence[pa.Field]) -> pa.Schema:
    """Return the columns of an output: the row's number, what is kept, what is given."""
    ours = [(name, array.type) for name, array in given.items()]
    return pa.schema([ours[0], *((field.name, field.type) for field in keep), *ours[1:]])


def check_kept(keep: Sequence[str]) -> None:
    """Refuse to carry over a column whose name is taken.

    Raises:
        InvalidValueError: if one is.
    """
    taken = sorted(set(keep) & set(_OURS))
    if taken:
        raise InvalidValueError(f"keep must not name a column that is written, got {taken}.")


def check_columns(
    path: Path, there: Sequence[str], features: Sequence[str], keep: Sequence[str]
) -> None:
    """Refuse a file without the columns that are needed.

    Raises:
        DataError: if it lacks one, or has two of that name.
    """
    wanted = dict.fromkeys((*features, *keep))
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DataError(
            f"{path} must have the columns {missing}, which the model was trained on or --keep "
            f"names; it has {list(there)}."
        )
    twice = [name for name in wanted if list(there).count(name) > 1]
    if twice:
        raise DataError(f"{path} must name its columns once, {twice} come twice; rename them.")


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse an output that could not be written, before anything that takes long.

    Raises:
        InvalidValueError: if its name says no kind of file that is written, its folder does
            not exist, or it stands there already.
    """
    if not output.name.endswith(FORMATS):
        raise InvalidValueError(f"output must end in one of {', '.join(FORMATS)}, got {output}.")
    check_free("output", output, overwrite=overwrite)


def check_free(name: str, path: Path, *, overwrite: bool) -> None:
    """Refuse a file that could not be written, by whatever it is called.

    Args:
        name: of the option, for the message.
        path: of the file.
        overwrite: whether it may replace another.

    Raises:
        InvalidValueError: if its folder does not exist or may not be written, it stands there
            already, or a folder, a device or a pipe does.
    """
    if not os.path.isdir(path.absolute().parent):
        raise InvalidValueError(f"{name} must lie in a folder that exists, got {path}.")
    if os.path.isdir(path):
        raise InvalidValueError(f"{name} must be a file, and {path} is a folder.")
    if is_special(path):
        raise InvalidValueError(f"{name} must be a file, and {path} is a device or a pipe.")
    if os.path.lexists(path) and not overwrite:
        raise InvalidValueError(
            f"{name} {path} exists already; choose another file, or overwrite it by --overwrite."
        )
    if not os.access(os.path.dirname(os.path.realpath(path)), os.W_OK):
        raise InvalidValueError(
            f"{name} must lie in a folder that you may write, got {path}; choose another one."
        )


def check_apart(name: str, path: Path, others: Mapping[str, Path | str | None]) -> None:
    """Refuse to write over another file of the same call, whether or not it may be replaced.

    Args:
        name: of the option, for the message.
        path: of the file to write.
        others: what they are to where they are; None: there is none.

    Raises:
        InvalidValueError: if it is one of them.
    """
    for what, other in others.items():
        if other is not None and path.resolve() == Path(other).resolve():
            raise InvalidValueError(f"{name} must be another file than the {what}, got {path}.")


@contextmanager
def writer(output: Path, path: Path, schema: pa.Schema, keep: Sequence[str]) -> Iterator[Any]:
    """Open a Parquet or CSV file for writing.

    Args:
        output: its name says its kind.
        path: where it is written.
        schema: names and types of the columns.
        keep: those that are carried over.

    Raises:
        DataError: if a file of this kind cannot hold them, such as lists in CSV.
    """
    try:
        with _writer(output, path, schema) as written:
            yield written
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DataError(f"the kept columns {list(keep)} cannot be written ({error}).") from error


@contextmanager
def _writer(output: Path, path: Path, schema: pa.Schema) -> Iterator[Any]:
    if output.suffix == ".parquet":
        with pq.ParquetWriter(path, schema) as parquet:
            yield parquet
        return
    compression = "gzip" if output.suffix == ".gz" else None
    options = pyarrow.csv.WriteOptions(
        delimiter="\t" if output.name.endswith((".tsv", ".tsv.gz")) else ","
    )
    with (
        pa.output_stream(path, compression=compression) as stream,
        pyarrow.csv.CSVWriter(stream, schema, write_options=options) as csv,
    ):
        yield csv
