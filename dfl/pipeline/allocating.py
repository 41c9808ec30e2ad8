"""A finished run's model spends a budget on every row of a file."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.config import read_solver
from dfl.data import DataWarning, FeatureEncoder
from dfl.data.sources.reading import find_file
from dfl.errors import DataError, DflError
from dfl.io import write_whole
from dfl.models import AbstractModel
from dfl.pipeline.customers import (
    CustomerFile,
    check_apart,
    check_kept,
    check_output,
    given_columns,
    schema_of,
    writer,
)
from dfl.pipeline.folder import RunFolder
from dfl.pipeline.health import served_drift
from dfl.pipeline.served import Served
from dfl.pipeline.spend import Margin, margin_of
from dfl.problem import Allocation, AllocationProblem
from dfl.scale import alone
from dfl.solvers.blockwise import BlockwiseAllocation

__all__ = [
    "CustomerAllocation",
    "HeldOut",
    "allocate_file",
    "held_out_at",
    "measured",
    "warn_of_drift",
]

_SHOWN = 5  # features by which people differ


@final
@dataclass(frozen=True)
class HeldOut:
    """What allocations by this model earned on the run's test rows, in currency per head.

    Args:
        budget: the budget nearest to the one asked for, of those that were measured.
        value: revenue.
        low: lower end of its interval.
        high: upper end.
    """

    budget: float
    value: float
    low: float
    high: float


@final
@dataclass(frozen=True, eq=False)
class CustomerAllocation:
    """What was written.

    Args:
        allocation: the choice for everyone; its revenue and cost are predictions.
        budget: money for all of them, in currency.
        people: people under each treatment, by its name.
        held_out: what the run measured at the nearest budget, or None.
        margin: by which the money was cut that predicted costs may add up to, or None.
        features: means of what the model predicted from, float64, ``(F,)``; None where scores
            were not predicted.
    """

    allocation: Allocation | BlockwiseAllocation
    budget: float
    people: dict[str, int]
    held_out: HeldOut | None
    margin: Margin | None = None
    features: Tensor | None = None


def allocate_file(
    folder: RunFolder,
    customers: Path | str,
    output: Path | str,
    budget: Budget,
    *,
    solver: str | None = None,
    margin: float | None = None,
    keep: Sequence[str] = (),
    overwrite: bool = False,
) -> CustomerAllocation:
    """Give every row of a file a treatment, by predicted revenue and cost.

    Rows keep their order. Memory holds two float32 numbers per person and treatment, and
    what the solver needs; features of a Parquet file are read and predicted in chunks.

    Args:
        folder: of a run with a model.
        customers: Parquet or CSV file with the feature columns of the training data, as it
            stands or inside the folder that ``DFL_DATA`` names.
        output: Parquet or CSV file to write, whole or not at all: columns ``row`` (from 0),
            the kept ones, ``treatment``, ``treatment_name``, ``predicted_revenue`` and
            ``predicted_cost`` in currency. A Parquet file says budget and margin in its
            metadata, as JSON under ``dfl``.
        budget: money; a share is taken of predicted costs.
        solver: name of a solver, or None for the run's own.
        margin: confidence, in [0.5, 1), that the expected true spend is within the budget:
            predicted costs may then add up to ``share * budget`` only, `Margin.share` by what
            the run measured on its test rows. None: to all of it.
        keep: columns to carry over, such as an id.
        overwrite: whether ``output`` may replace a file.

    Raises:
        RunFolderError: if the run has no encoder yet.
        DataNotFoundError: if there is no model or no such file.
        DataError: if the file is unreadable or truncated, lacks a column, or holds values
            that cannot be encoded or kept; says in which rows.
        InvalidValueError: if ``output`` is ``customers``, cannot be written or exists, or a
            kept column is named as one that is written; if there is no margin to be had.
        InfeasibleBudgetError: if the budget, cut by the margin, is below the cheapest
            treatment for everyone.
        ConfigError: if the solver is unknown.
        WriteError: if the output could not be written; nothing is left of it then.

    Warns:
        DataWarning: as `FeatureEncoder.encode`, and if features differ from the training rows'.
    """
    customers, output = find_file(customers), Path(output)
    keep = tuple(dict.fromkeys(keep))
    served = Served.of(folder)
    model, encoder, names = served.model, served.encoder, served.treatment_names
    chosen = read_solver(folder.config["solver"] if solver is None else solver)
    _check_names(customers, output, keep, overwrite=overwrite)
    features = tuple(dict.fromkeys(column.name for column in encoder.columns))
    with CustomerFile.opened(customers, features, keep, text=encoder.text) as file:
        revenue, cost, mean = _predict(model, encoder, file, features)
        metrics = measured(folder)  # may find the run damaged
        warn_of_drift(metrics, mean, len(cost))
        total = budget.total_of(cost)
        per_head = total / max(len(cost), 1)
        held_out = held_out_at(metrics, per_head)
        cut = None if margin is None else margin_of(metrics, per_head, margin)
        least = float(cost.amin(dim=1).sum(dtype=torch.float64))
        money = total if cut is None else cut.within(total, least)
        with alone():  # these are all rows, however many processes there are
            found = chosen.solve(AllocationProblem(revenue, cost, money))
        said = {"budget": total, "margin": None if cut is None else asdict(cut)}
        columns = _Columns(found.choice, revenue, cost, names, said)
        write_whole(output, lambda path: _write(output, path, file, columns, keep))
    counts = torch.bincount(found.choice, minlength=len(names)).tolist()
    people = dict(zip(names, counts, strict=True))
    return CustomerAllocation(found, total, people, held_out, cut, mean)


def _predict(
    model: AbstractModel, encoder: FeatureEncoder, file: CustomerFile, features: Sequence[str]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return predicted revenue and cost of every row, each ``(N, M)``, and the mean of features."""
    revenue = torch.empty(file.rows, model.treatments, dtype=torch.float32)
    cost = torch.empty_like(revenue)
    total = torch.zeros(len(encoder.feature_names), dtype=torch.float64)
    for part, table in file.chunks(features):
        try:
            encoded = encoder.encode(table)
            predicted = model.predict(encoded)
        except DflError as error:
            where = f"{file.path}, rows {part.start} to {part.stop - 1}"
            raise DataError(f"{where}: {error}") from error
        revenue[part], cost[part] = predicted.revenue, predicted.cost
        total += encoded.sum(dim=0, dtype=torch.float64)
    return revenue, cost, total / max(file.rows, 1)


def warn_of_drift(metrics: Mapping[str, Any], mean: Tensor, people: int) -> None:
    """Say by which features the people served are unlike those that the model learned from.

    Args:
        metrics: content of the run's ``metrics.json``.
        mean: of the features of the people. Shape ``(F,)``.
        people: how many they are.

    Warns:
        DataWarning: if some differ, see `served_drift`.
    """
    moved = served_drift(metrics.get("health") or {}, mean, people) if people else []
    if moved:
        shown = ", ".join(f"{name} by {shift:+.2f}" for name, shift in moved[:_SHOWN])
        warnings.warn(
            f"these people differ from the training rows in {shown} standard deviations: what is "
            "predicted holds for people like those rows.",
            DataWarning,
            stacklevel=3,
        )


@final
@dataclass(frozen=True, eq=False)
class _Columns:
    """What is written beside the kept columns."""

    choice: Tensor
    revenue: Tensor
    cost: Tensor
    names: Sequence[str]
    said: Mapping[str, Any]

    def rows(self, part: slice) -> dict[str, Any]:
        """Return these columns for some rows, as Arrow arrays."""
        own = (self.choice[part], self.revenue[part], self.cost[part])
        return given_columns(part.start, *own, self.names)


def _write(
    output: Path, path: Path, file: CustomerFile, columns: _Columns, keep: Sequence[str]
) -> None:
    """Write all rows in chunks; kept columns are read once more, chunk by chunk."""
    schema = schema_of(columns.rows(slice(0, 0)), [file.field(name) for name in keep])
    schema = schema.with_metadata({"dfl": json.dumps(columns.said)})
    with writer(output, path, schema, keep) as written:
        for part, own in file.kept(keep):
            table = {**columns.rows(part), **{name: own.column(name) for name in keep}}
            written.write_table(pa.table(table).select(schema.names).cast(schema))


def measured(folder: RunFolder) -> Mapping[str, Any]:
    """Return what the run measured, which may find it damaged; nothing if it was stopped before."""
    if not (folder.path / "metrics.json").exists():
        return {}
    found: Mapping[str, Any] = folder.read_json("metrics.json")
    return found


def held_out_at(metrics: Mapping[str, Any], per_head: float) -> HeldOut | None:
    """Return what a run's ``metrics.json`` says of the budget nearest to this one."""
    points = [HeldOut(**{key: point[key] for key in _POINT}) for point in metrics.get("curve", [])]
    points += [
        HeldOut(one["per_head"], *(one["eom"][key] for key in ("value", "low", "high")))
        for one in metrics.get("budgets", [])
    ]
    return min(points, key=lambda point: abs(point.budget - per_head), default=None)


_POINT = ("budget", "value", "low", "high")


def _check_names(customers: Path, output: Path, keep: Sequence[str], *, overwrite: bool) -> None:
    check_apart("output", output, {"customers": customers})
    check_kept(keep)
    check_output(output, overwrite=overwrite)
