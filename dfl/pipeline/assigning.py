"""Served segments give every row of a file its segment and its treatment, a block at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import torch

from dfl.data.sources.reading import FORMATS, column_names, find_file
from dfl.errors import DataError, DflError, InvalidValueError
from dfl.io import write_whole
from dfl.pipeline.customers import (
    CustomerFile,
    check_apart,
    check_columns,
    check_output,
    writer,
)
from dfl.pipeline.dataset import DataSet
from dfl.scale import STREAMED
from dfl.segments.serving import ServedSegments

__all__ = ["Assignment", "assign_file", "check_assignment"]

_OURS = ("row", "segment", "treatment", "treatment_name")


@final
@dataclass(frozen=True)
class Assignment:
    """What was written.

    Args:
        segments: people in each segment.
        treatments: people under each treatment, by its name.
        budget: of the plan that was served, in currency per head.
    """

    segments: tuple[int, ...]
    treatments: dict[str, int]
    budget: float


def assign_file(
    served: ServedSegments,
    customers: Path | str,
    output: Path | str,
    budget: float,
    *,
    keep: Sequence[str] = (),
    overwrite: bool = False,
) -> Assignment:
    """Write the segment and the treatment of every row of a table.

    One pass over the blocks of Parquet files, see `DataSet`: each is read, looked up and written,
    so memory does not grow with the number of rows; a CSV file is read whole.

    Args:
        served: with the encoder of its features.
        customers: Parquet file, folder or pattern, see `DataSet.of`, or CSV file, with the feature
            columns of the training data.
        output: Parquet or CSV file to write, whole or not at all: ``row`` (from 0), the kept
            columns, ``segment`` (from 1), ``treatment`` and ``treatment_name``.
        budget: in currency per head; the plan's largest that is no larger is served.
        keep: columns to carry over, such as an id.
        overwrite: whether ``output`` may replace a file.

    Raises:
        InvalidValueError: if the segments were made without a table's columns, the budget is
            below all of the plan's, or ``output`` cannot be written or would be read as customers.
        DataNotFoundError: if there is no such file.
        DataError: if a file is unreadable, lacks a column, or holds values that cannot be
            encoded; says in which rows. If the output cannot hold a kept column, such as lists
            in CSV.
        WriteError: if the output could not be written; nothing is left of it then.
    """
    customers, output = Path(customers), Path(output)
    encoder = served.encoder
    if encoder is None:
        raise InvalidValueError(
            "these segments have no encoder: their data came without the columns of a table, so no "
            "file fits them; use ServedSegments.treatment."
        )
    keep = tuple(dict.fromkeys(keep))
    features = tuple(dict.fromkeys(column.name for column in encoder.columns))
    there = _found(customers, output, features, keep, overwrite=overwrite)
    level = served.plan.level(budget)
    choice = served.plan.choice[level]
    people = torch.zeros(len(choice), dtype=torch.int64)
    names = pa.array(served.treatment_names)
    labels = pa.dictionary(pa.int32(), pa.string())
    ours = [("segment", pa.int32()), ("treatment", pa.int64()), ("treatment_name", labels)]

    def looked_up(start: int, table: pa.Table, kept: pa.Table) -> pa.Table:
        try:
            segment = served.segment(encoder.encode(table))
        except DflError as error:
            where = f"{customers}, rows {start} to {start + len(table) - 1}"
            raise DataError(f"{where}: {error}") from error
        people.add_(torch.bincount(segment, minlength=len(choice)))
        own = choice[segment].numpy()
        columns = {
            "row": pa.array(np.arange(start, start + len(table))),
            **{name: kept.column(name) for name in keep},
            "segment": pa.array((segment + 1).numpy().astype("int32")),
            "treatment": pa.array(own),
            "treatment_name": pa.DictionaryArray.from_arrays(pa.array(own.astype("int32")), names),
        }
        return pa.table(columns)

    def write(path: Path) -> None:
        with _opened(there, features, keep, encoder.text) as (fields, parts):
            kept = [(field.name, field.type) for field in fields]
            schema = pa.schema([("row", pa.int64()), *kept, *ours])
            with writer(output, path, schema, keep) as written:
                for part in parts:
                    written.write_table(looked_up(*part).cast(schema))

    write_whole(output, write)
    counts = torch.zeros(len(served.treatment_names), dtype=torch.int64).index_add_(
        0, choice, people
    )
    return Assignment(
        tuple(people.tolist()),
        dict(zip(served.treatment_names, counts.tolist(), strict=True)),
        float(served.plan.budgets[level]),
    )


def check_assignment(
    customers: Path, output: Path, keep: Sequence[str], *, overwrite: bool
) -> None:
    """Refuse files that `assign_file` could not read or write, before there are segments.

    Args:
        customers: as of `assign_file`.
        output: likewise.
        keep: likewise.
        overwrite: likewise.

    Raises:
        InvalidValueError: if ``output`` cannot be written, would be read as customers, or has a
            column of its own that is to be kept.
        DataNotFoundError: if there is no such file.
        DataError: if a file is unreadable or lacks a column that is to be kept.
    """
    _found(customers, output, (), keep, overwrite=overwrite)


def _found(
    customers: Path, output: Path, features: Sequence[str], keep: Sequence[str], *, overwrite: bool
) -> DataSet | Path:
    """Return Parquet files, or where a CSV file is, of which no row has been read."""
    taken = sorted(set(keep) & set(_OURS))
    if taken:
        raise InvalidValueError(f"keep must not name a column that is written, got {taken}.")
    check_output(output, overwrite=overwrite)
    if customers.suffix != ".parquet" and customers.name.endswith(FORMATS):
        customers = find_file(customers)
        check_apart("output", output, {"customers": customers})
        check_columns(customers, column_names(customers), features, keep)
        return customers
    data = DataSet.of(customers, features, keep)
    for file in data.files:
        check_apart("output", output, {"customers": file})
    data.check_outside(output)
    return data


@contextmanager
def _opened(
    there: DataSet | Path, features: Sequence[str], keep: Sequence[str], text: Sequence[str]
) -> Iterator[tuple[list[pa.Field], Iterator[tuple[int, pa.Table, pa.Table]]]]:
    """Open customers; fields of the kept columns, and first row, features and kept of each part."""
    if isinstance(there, DataSet):
        yield [there.schema.field(name) for name in keep], _parts(there, features, keep)
        return
    with CustomerFile.opened(there, features, keep, text=text) as file:
        both = zip(file.chunks(features), file.kept(keep), strict=True)
        yield (
            [file.field(name) for name in keep],
            ((rows.start, table, kept) for (rows, table), (_, kept) in both),
        )


def _parts(
    data: DataSet, features: Sequence[str], keep: Sequence[str]
) -> Iterator[tuple[int, pa.Table, pa.Table]]:
    for block in data.blocks:
        table = data.read(block, tuple(dict.fromkeys((*features, *keep))))
        for rows in STREAMED.of(block.rows):
            part = table.slice(rows.start, rows.stop - rows.start)
            yield block.start + rows.start, part.select(features), part.select(keep)
