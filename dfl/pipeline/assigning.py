"""Served segments give every row of a file its segment and its treatment, a block at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pyarrow as pa
import torch

from dfl.data.sources.reading import find_file
from dfl.errors import DataError, DflError, InvalidValueError
from dfl.io import write_whole
from dfl.pipeline.customers import CustomerFile, check_output, writer
from dfl.segments.serving import ServedSegments

__all__ = ["Assignment", "assign_file"]

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
    customers: Path,
    output: Path,
    budget: float,
    *,
    keep: Sequence[str] = (),
    overwrite: bool = False,
) -> Assignment:
    """Write the segment and the treatment of every row of a file.

    One pass: each block of rows is read, looked up and written, so memory does not grow with the
    number of rows of a Parquet file; a CSV file is read whole.

    Args:
        served: with the encoder of its features.
        customers: Parquet or CSV file with the feature columns of the training data.
        output: Parquet or CSV file to write, whole or not at all: ``row`` (from 0), the kept
            columns, ``segment`` (from 1), ``treatment`` and ``treatment_name``.
        budget: in currency per head; the plan's largest that is no larger is served.
        keep: columns to carry over, such as an id.
        overwrite: whether ``output`` may replace a file.

    Raises:
        InvalidValueError: if the segments were made without a table's columns, the budget is
            below all of the plan's, or ``output`` cannot be written.
        DataNotFoundError: if there is no such file.
        DataError: if the file is unreadable, lacks a column, or holds values that cannot be
            encoded; says in which rows.
        WriteError: if the output could not be written; nothing is left of it then.
    """
    encoder = served.encoder
    if encoder is None:
        raise InvalidValueError(
            "these segments have no encoder: their data came without the columns of a table, so no "
            "file fits them; use ServedSegments.treatment."
        )
    customers, keep = find_file(customers), tuple(dict.fromkeys(keep))
    if output.resolve() == customers.resolve():
        raise InvalidValueError(f"output must be another file than the customers, got {output}.")
    taken = sorted(set(keep) & set(_OURS))
    if taken:
        raise InvalidValueError(f"keep must not name a column that is written, got {taken}.")
    check_output(output, overwrite=overwrite)
    level = served.plan.level(budget)
    choice = served.plan.choice[level]
    features = tuple(dict.fromkeys(column.name for column in encoder.columns))
    wanted = tuple(dict.fromkeys((*features, *keep)))
    people = torch.zeros(len(choice), dtype=torch.int64)
    names = pa.array(served.treatment_names)

    def write(path: Path, file: CustomerFile) -> None:
        kept = [(name, file.field(name).type) for name in keep]
        labels = pa.dictionary(pa.int32(), pa.string())
        ours = [("segment", pa.int32()), ("treatment", pa.int64()), ("treatment_name", labels)]
        schema = pa.schema([("row", pa.int64()), *kept, *ours])
        with writer(output, path, schema) as written:
            for part, table in file.chunks(wanted):
                try:
                    segment = served.segment(encoder.encode(table.select(features)))
                except DflError as error:
                    where = f"{file.path}, rows {part.start} to {part.stop - 1}"
                    raise DataError(f"{where}: {error}") from error
                people.add_(torch.bincount(segment, minlength=len(choice)))
                own = choice[segment].numpy()
                codes = pa.array(own.astype("int32"))
                columns = {
                    "row": pa.array(range(part.start, part.stop), type=pa.int64()),
                    **{name: table.column(name) for name in keep},
                    "segment": pa.array((segment + 1).numpy().astype("int32")),
                    "treatment": pa.array(own),
                    "treatment_name": pa.DictionaryArray.from_arrays(codes, names),
                }
                written.write_table(pa.table(columns, schema=schema))

    with CustomerFile.opened(customers, features, keep) as file:
        write_whole(output, lambda path: write(path, file))
    counts = torch.zeros(len(served.treatment_names), dtype=torch.int64).index_add_(
        0, choice, people
    )
    return Assignment(
        tuple(people.tolist()),
        dict(zip(served.treatment_names, counts.tolist(), strict=True)),
        float(served.plan.budgets[level]),
    )
