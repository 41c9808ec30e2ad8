"""A finished run's model spends a budget on every row of a Parquet file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.config import read_solver
from dfl.data import FeatureEncoder
from dfl.errors import DataError, DataNotFoundError, DflError, InvalidValueError
from dfl.io import write_whole
from dfl.methods import FittedModel
from dfl.pipeline.folder import RunFolder
from dfl.pipeline.served import Served
from dfl.problem import Allocation, AllocationProblem

__all__ = ["CustomerAllocation", "allocate_file"]

_CHUNK = 65_536  # rows read, predicted or written at once
_OURS = ("row", "treatment", "treatment_name", "predicted_revenue", "predicted_cost")


@final
@dataclass(frozen=True, eq=False)
class CustomerAllocation:
    """What was written.

    Args:
        allocation: the choice for everyone.
        budget: money for all of them, in currency.
        people: people under each treatment, by its name.
    """

    allocation: Allocation
    budget: float
    people: dict[str, int]


def allocate_file(
    folder: RunFolder,
    customers: Path,
    output: Path,
    budget: Budget,
    *,
    solver: str | None = None,
    keep: Sequence[str] = (),
) -> CustomerAllocation:
    """Give every row of a Parquet file a treatment, by predicted revenue and cost.

    Rows keep their order. Memory holds two float32 numbers per person and treatment, and
    what the solver needs; features are read and predicted in chunks.

    Args:
        folder: of a run with a model.
        customers: Parquet file with the feature columns of the training data.
        output: Parquet file to write, whole or not at all: columns ``row`` (from 0),
            the kept ones, ``treatment``, ``treatment_name``, ``predicted_revenue`` and
            ``predicted_cost`` in currency.
        budget: money; a share is taken of predicted costs.
        solver: name of a solver, or None for the run's own.
        keep: columns to carry over.

    Raises:
        RunFolderError: if the run has no encoder yet.
        DataNotFoundError: if there is no model or no such file.
        DataError: if the file is unreadable or truncated, lacks a column, or holds values
            that cannot be encoded; says in which rows.
        InvalidValueError: if ``output`` is ``customers``, or a kept column is named as one
            that is written.
        InfeasibleBudgetError: if the budget is below the cheapest treatment for everyone.
        ConfigError: if the solver is unknown.
        WriteError: if the output could not be written; nothing is left of it then.
    """
    served = Served.of(folder)
    model, encoder, names = served.model, served.encoder, served.treatment_names
    chosen = read_solver(folder.config["solver"] if solver is None else solver)
    _check_names(customers, output, keep)
    with _opened(customers) as file:
        features = [column.name for column in encoder.columns]
        _check_columns(customers, file.schema_arrow.names, features, keep)
        revenue, cost = _predict(model, encoder, file, features, customers)
        cheapest = float(cost.amin(dim=1).sum(dtype=torch.float64))
        dearest = float(cost.amax(dim=1).sum(dtype=torch.float64))
        total = budget.total_for(len(revenue), cheapest, dearest)
        found = chosen.solve(AllocationProblem(revenue, cost, total))
        columns = _Columns(found.choice, revenue, cost, names)
        write_whole(output, lambda path: _write(path, file, columns, keep))
    counts = torch.bincount(found.choice, minlength=len(names)).tolist()
    return CustomerAllocation(found, total, dict(zip(names, counts, strict=True)))


def _predict(
    model: FittedModel,
    encoder: FeatureEncoder,
    file: pq.ParquetFile,
    features: list[str],
    customers: Path,
) -> tuple[Tensor, Tensor]:
    """Return predicted revenue and cost of every row, each ``(N, M)``."""
    rows = file.metadata.num_rows
    revenue = torch.empty(rows, model.treatments)
    cost = torch.empty_like(revenue)
    start = 0
    for batch in file.iter_batches(batch_size=_CHUNK, columns=features):
        stop = start + batch.num_rows
        try:
            predicted = model.predict(encoder.encode(batch.to_pandas()))
        except DflError as error:
            raise DataError(f"{customers}, rows {start} to {stop - 1}: {error}") from error
        revenue[start:stop], cost[start:stop] = predicted.revenue, predicted.cost
        start = stop
    return revenue, cost


@final
@dataclass(frozen=True, eq=False)
class _Columns:
    """What is written beside the kept columns."""

    choice: Tensor
    revenue: Tensor
    cost: Tensor
    names: Sequence[str]

    def rows(self, start: int, stop: int) -> dict[str, Any]:
        """Return these columns for some rows, as Arrow arrays."""
        choice = self.choice[start:stop]
        picked = [part[start:stop].gather(1, choice[:, None])[:, 0] for part in self.amounts]
        codes = pa.array(choice.numpy().astype("int32"))
        return {
            "treatment": pa.array(choice.numpy()),
            "treatment_name": pa.DictionaryArray.from_arrays(codes, pa.array(self.names)),
            "predicted_revenue": pa.array(picked[0].numpy()),
            "predicted_cost": pa.array(picked[1].numpy()),
        }

    @property
    def amounts(self) -> tuple[Tensor, Tensor]:
        """Predicted revenue and cost."""
        return self.revenue, self.cost


def _write(path: Path, file: pq.ParquetFile, columns: _Columns, keep: Sequence[str]) -> None:
    """Write all rows in chunks; kept columns are read once more, chunk by chunk."""
    kept = [file.schema_arrow.field(name) for name in keep]
    types = [(name, array.type) for name, array in columns.rows(0, 0).items()]
    schema = pa.schema([("row", pa.int64()), *((f.name, f.type) for f in kept), *types])
    with pq.ParquetWriter(path, schema) as writer:
        for start, stop, own in _kept_chunks(file, columns.choice.shape[0], keep):
            row = pa.array(range(start, stop), type=pa.int64())
            table = {"row": row, **own, **columns.rows(start, stop)}
            writer.write_table(pa.table(table, schema=schema))


def _kept_chunks(
    file: pq.ParquetFile, rows: int, keep: Sequence[str]
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield where each chunk starts and stops, and its kept columns."""
    if not keep:
        yield from ((start, min(start + _CHUNK, rows), {}) for start in range(0, rows, _CHUNK))
        return
    start = 0
    for batch in file.iter_batches(batch_size=_CHUNK, columns=list(keep)):
        stop = start + batch.num_rows
        yield start, stop, {name: batch.column(name) for name in keep}
        start = stop


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; whatever Arrow finds wrong in it becomes a `DataError`."""
    if not path.is_file():
        raise DataNotFoundError(f"no customers file at {path}.")
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except DflError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}).") from error


def _check_names(customers: Path, output: Path, keep: Sequence[str]) -> None:
    if output.resolve() == customers.resolve():
        raise InvalidValueError(f"output must be another file than the customers, got {output}.")
    taken = sorted(set(keep) & set(_OURS))
    if taken:
        raise InvalidValueError(f"keep must not name a column that is written, got {taken}.")


def _check_columns(
    customers: Path, there: Sequence[str], features: Sequence[str], keep: Sequence[str]
) -> None:
    missing = [name for name in (*features, *keep) if name not in there]
    if missing:
        raise DataError(
            f"{customers} must have the columns {missing}, which the model was trained on or "
            f"--keep names; it has {list(there)}."
        )
