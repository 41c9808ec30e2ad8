"""``dfl plan``."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dfl.budget import Budget
from dfl.cli.allocate import margin_words
from dfl.cli.console import errors, say, show
from dfl.cli.document import publish
from dfl.data import DataWarning
from dfl.data.sources.reading import find_file
from dfl.errors import ConfigError
from dfl.io import write_json
from dfl.pipeline import Asked, Plan, Planned, RunFolder, plan_file
from dfl.pipeline.allocating import measured
from dfl.pipeline.customers import check_apart, check_free
from dfl.pipeline.scoring import AbstractScores, ColumnScores, ModelScores
from dfl.report import Table

__all__ = ["plan_command"]


def plan_command(
    run: Path,
    customers: Path,
    output: Path,
    given: Mapping[str, float | None],
    asked: Mapping[str, Any],
    columns: tuple[Sequence[str], Sequence[str]],
    summary: Path | None,
    **options: Any,
) -> None:
    """Plan for the rows of a file, and say what the plan does and how good it is.

    Args:
        run: folder of a finished run, or ``-`` where columns hold the scores.
        customers: Parquet or CSV file.
        output: Parquet or CSV file to write.
        given: unit of the budget to its amount, or None where it was not given.
        asked: everything else that is asked for, by the names of `Asked`.
        columns: those of revenue and those of cost, with commas or one by one; empty: the run's
            model predicts.
        summary: JSON file of what is printed, or None.
        options: of `plan_file`.

    Raises:
        DflError: whatever planning raises.
    """
    budget = Budget(**given) if any(one is not None for one in given.values()) else None
    scores = _scores(run, columns)
    if summary is not None:
        others = {"customers": find_file(customers), "table of limits": asked["limits"]}
        check_apart("summary", summary, {**others, "output": output})
        check_free("summary", summary, overwrite=options["overwrite"])
    if str(run) != "-":
        options |= {"measured": measured(RunFolder.open(run))}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        done = plan_file(scores, customers, output, Asked(budget=budget, **asked), **options)
    if summary is not None:
        write_json(summary, _summary(done))
    for said in dict.fromkeys(str(one.message) for one in caught):
        errors().print(f"warning: {said}", markup=False)
    for table in _tables(done):
        show(table)
    if done.margin is not None:
        say(margin_words(done.margin))
    say(_said(done.plan, cheapest=asked["target_revenue"] is not None))
    say(f"Written: {output}")
    publish({"output": str(output), **_summary(done)})


def _scores(run: Path, columns: tuple[Sequence[str], Sequence[str]]) -> AbstractScores:
    revenue, cost = (tuple(one for text in names for one in text.split(",")) for names in columns)
    if bool(revenue or cost) != (str(run) == "-"):
        raise ConfigError(
            "scores come from a run, or from columns: name a run's folder, or '-' together with "
            f"--revenue and --cost; got {run}{' and columns' if revenue or cost else ''}."
        )
    if revenue or cost:
        return ColumnScores(revenue, cost)
    return ModelScores.of_run(RunFolder.open(run))


def _people(done: Planned, plan: Plan) -> dict[str, int]:
    counts = plan.choice.bincount(minlength=len(done.names)).tolist()
    return dict(zip(done.names, counts, strict=True))


def _tables(done: Planned) -> list[Table]:
    rows = max(len(done.plan.choice), 1)
    people = [
        (name, f"{count:,}", f"{count / rows:.1%}")
        for name, count in _people(done, done.plan).items()
    ]
    tables = [Table("Plan", ("treatment", "people", "share"), people)]
    if done.plan.used:
        used = [
            (
                one.name,
                f"{one.used:.6g}",
                f"{one.at_most:.6g}",
                "" if one.price is None else f"{one.price:.4g}",
            )
            for one in done.plan.used
        ]
        columns = ("limit", "used", "at most", "one more adds")
        tables.append(Table("Limits", columns, used))
    if done.table:
        tables.append(_what_if(done))
    return tables


def _what_if(done: Planned) -> Table:
    lines = []
    for row in done.table:
        plan = row.plan
        if plan is None:
            lines.append((f"x {row.factor:g}", "none", "", "", *[""] * len(done.names)))
            continue
        counts = [f"{count:,}" for count in _people(done, plan).values()]
        amounts = (f"{plan.cost:.6g}", f"{plan.revenue:.6g}", f"{plan.gap:.2g}")
        lines.append((f"x {row.factor:g}", *amounts, *counts))
    columns = ("what if", "cost", "revenue", "below the best at most", *done.names)
    why = [f"x {row.factor:g}: {row.why}" for row in done.table if row.plan is None]
    return Table("With other amounts", columns, lines, " ".join(why))


def _said(plan: Plan, *, cheapest: bool) -> str:
    said = f"Predicted revenue {plan.revenue:.6g}, predicted cost {plan.cost:.6g}."
    if plan.changes is not None:
        said += f" {plan.changes:,} people get something else than last time."
    if cheapest:
        added = ", changes at their price" if plan.changes is not None else ""
        return said + (
            f" For the predictions no plan that reaches the revenue within the limits costs less "
            f"than {-plan.bound:.6g}{added}: at most {plan.gap:.2g} could be saved."
        )
    return said + (
        f" For the predictions no plan within the limits is better by more than {plan.gap:.2g} "
        f"(the bound is {plan.bound:.6g}, this plan {plan.goal:.6g})."
    )


def _summary(done: Planned) -> dict[str, object]:
    def about(plan: Plan) -> dict[str, object]:
        amounts = ("revenue", "cost", "goal", "bound", "gap", "changes")
        return {
            **{name: getattr(plan, name) for name in amounts},
            "people": _people(done, plan),
            "limits": [
                {"name": one.name, "used": one.used, "at_most": one.at_most, "price": one.price}
                for one in plan.used
            ],
        }

    what_if = [
        {
            "factor": row.factor,
            "plan": None if row.plan is None else about(row.plan),
            "why": row.why,
        }
        for row in done.table
    ]
    margin = None if done.margin is None else asdict(done.margin)
    return {**about(done.plan), "what_if": what_if, "margin": margin}
