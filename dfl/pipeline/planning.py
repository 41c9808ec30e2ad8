"""A plan for the rows of a table: what its columns and options wish for, solved and written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import torch
from torch import Tensor

from dfl.checks import check_number
from dfl.config import read_solver
from dfl.data.sources.reading import find_file
from dfl.errors import ConfigError, DflError, InfeasibleProblemError, InvalidValueError
from dfl.io import write_whole
from dfl.pipeline.allocating import warn_of_drift
from dfl.pipeline.customers import (
    check_apart,
    check_kept,
    check_output,
    given_columns,
    schema_of,
    writer,
)
from dfl.pipeline.limits import Limit
from dfl.pipeline.plan_table import Asked, PlanTable
from dfl.pipeline.scoring import AbstractScores
from dfl.pipeline.spend import Margin, margin_of
from dfl.pipeline.wishes import Plan, Wishes
from dfl.solvers import AbstractSolver

__all__ = ["PlanRow", "Planned", "plan_file"]


@final
@dataclass(frozen=True, eq=False)
class PlanRow:
    """A line of the table of what another budget would do.

    Args:
        factor: of the budget, the target or the marginal return that was asked for.
        plan: or None where there is none.
        why: there is none.
    """

    factor: float
    plan: Plan | None
    why: str = ""


@final
@dataclass(frozen=True, eq=False)
class Planned:
    """What was written.

    Args:
        plan: the plan.
        names: of the treatments.
        table: what other amounts would do, by rising factor.
        margin: by which all money was cut that predicted costs may add up to, or None.
    """

    plan: Plan
    names: tuple[str, ...]
    table: tuple[PlanRow, ...]
    margin: Margin | None = None


def plan_file(
    scores: AbstractScores,
    customers: Path | str,
    output: Path | str,
    asked: Asked,
    *,
    factors: Sequence[float] = (),
    margin: float | None = None,
    measured: Mapping[str, Any] | None = None,
    solver: str | None = None,
    keep: Sequence[str] = (),
    overwrite: bool = False,
) -> Planned:
    """Plan for the rows of a file, all in memory at once.

    Groups of ``asked.by`` that nothing else holds together are planned one by one, each
    exactly; else all limits are met together.

    Args:
        scores: revenue and cost of each row.
        customers: Parquet or CSV file.
        output: Parquet or CSV file to write, whole or not at all: columns as of
            `allocate_file`, and ``changed`` where last time's treatments are known.
        asked: of the plan.
        factors: by which budget, target or marginal return are multiplied for a table, > 0; each
            with the margin at its own money.
        margin: confidence, in [0.5, 1), that the expected true spend is within the money; see
            `margin_of`. None: predicted costs are taken as they are.
        measured: content of the run's ``metrics.json``, which a margin needs, and by which rows
            are held against those of the training data; or None.
        solver: name of a solver, or None.
        keep: columns to carry over.
        overwrite: whether ``output`` may replace a file.

    Raises:
        DataNotFoundError: if there is no such file.
        DataError: if a file is unreadable, lacks a column, or names an unknown treatment or group.
        ConfigError: if an option names no treatment or has no amount, or there is a margin and
            no money, or no run, or factors and nothing that they multiply.
        InvalidValueError: if an amount is out of its range, or ``output`` cannot be written.
        InfeasibleProblemError: if no plan does what is asked.
        DflError: whatever scores and solver raise.

    Warns:
        DataWarning: if features differ from the training rows'.
    """
    customers, output = find_file(customers), Path(output)
    keep = tuple(dict.fromkeys(keep))
    check_kept([one for one in keep if one != "changed"])
    if "changed" in keep and asked.last is not None:
        raise InvalidValueError("keep must not name a column that is written, got ['changed'].")
    check_apart("output", output, {"customers": customers, "table of limits": asked.limits})
    check_output(output, overwrite=overwrite)
    for factor in factors:
        check_number("what-if", factor, above=0)
    chosen = None if solver is None else read_solver(solver)
    table = PlanTable.read(customers, scores, asked, keep)
    revenue, cost, sums = scores.with_features(table.frame.table.to_arrow())
    if sums is not None and measured is not None:
        warn_of_drift(measured, sums / max(len(cost), 1), len(cost))
    revenue, cost = revenue.double(), cost.double()
    wishes = table.wishes(asked, cost)
    if factors and not wishes.has_amounts:
        raise ConfigError(
            "what-if multiplies money, a target or a marginal return, and none is asked for; give "
            "one, or leave what-if out."
        )

    def cut_of(wishes: Wishes) -> Margin | None:
        return None if margin is None else _cut(wishes, margin, measured, len(cost))

    cut = cut_of(wishes)
    rows = table.rows if asked.apart else None
    try:
        plan = _solved(_within(wishes, cut), revenue, cost, rows, chosen)
    except InfeasibleProblemError as error:
        if cut is None:
            raise
        left = f"(The margin leaves {cut.share:.4g} of the money.)"
        raise type(error)(f"{error} {left}") from error
    tried = []
    for factor in sorted(factors):
        try:
            other = wishes.times(factor)
            found = _solved(_within(other, cut_of(other)), revenue, cost, rows, chosen)
            tried.append(PlanRow(factor, found))
        except DflError as error:
            tried.append(PlanRow(factor, None, str(error)))
    write_whole(output, lambda path: _write(output, path, table, plan, revenue, cost, keep))
    return Planned(plan, table.names, tuple(tried), cut)


def _cut(wishes: Wishes, margin: float, measured: Mapping[str, Any] | None, people: int) -> Margin:
    """Return the margin at the money that is asked for, a total or else that of all limits."""
    if measured is None:
        raise ConfigError("margin rests on what a run measured; name a run in place of columns.")
    money = [one.at_most for one in wishes.limits if one.money]
    total = sum(money) if wishes.budget is None else wishes.budget
    if wishes.budget is None and not money:
        raise ConfigError("margin cuts money; give a budget, or limits with money.")
    return margin_of(measured, total / max(people, 1), margin)


def _within(wishes: Wishes, cut: Margin | None) -> Wishes:
    return wishes if cut is None else wishes.money_times(cut.share)


def _solved(
    wishes: Wishes,
    revenue: Tensor,
    cost: Tensor,
    groups: Sequence[Tensor] | None,
    solver: AbstractSolver | None,
) -> Plan:
    """Solve for all rows, or for the rows of groups that stand apart one by one."""
    if groups is None:
        return wishes.solve(revenue, cost, solver)
    own: list[list[Limit]] = [[] for _ in groups]
    for one in wishes.limits:
        assert one.group is not None  # what all groups share would hold them together
        own[one.group].append(one)
    parts = []
    choice = torch.empty(len(revenue), dtype=torch.int64)
    changed = None if wishes.last is None else torch.empty(len(revenue), dtype=torch.bool)
    # A group without a limit spends as much as pays.
    free = replace(wishes, limits=(), marginal_return=wishes.marginal_return or 0.0)
    for rows, limits in zip(groups, own, strict=True):
        alone = replace(free.of(rows), limits=tuple(limits))
        found = alone.solve(revenue[rows], cost[rows], solver)
        choice[rows] = found.choice
        if changed is not None and found.changed is not None:
            changed[rows] = found.changed
        parts.append(found)
    return Plan(
        choice,
        sum(one.revenue for one in parts),
        sum(one.cost for one in parts),
        sum(one.goal for one in parts),
        sum(one.bound for one in parts),
        tuple(used for one in parts for used in one.used),
        changed,
    )


def _write(
    output: Path,
    path: Path,
    table: PlanTable,
    plan: Plan,
    revenue: Tensor,
    cost: Tensor,
    keep: Sequence[str],
) -> None:
    """Write every row, in the file's order."""
    given: dict[str, Any] = given_columns(0, plan.choice, revenue, cost, table.names)
    kept = table.words.select(keep).table.to_arrow() if keep else pa.table({})
    if plan.changed is not None:
        given["changed"] = pa.array(plan.changed.numpy())
    schema = schema_of(given, [kept.schema.field(name) for name in keep])
    columns = {**given, **{name: kept.column(name) for name in keep}}
    with writer(output, path, schema, keep) as written:
        written.write_table(pa.table(columns).select(schema.names).cast(schema))
