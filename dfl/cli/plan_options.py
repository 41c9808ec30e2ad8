"""The options of ``dfl plan``; as the other commands, it imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from dfl.cli.options import Json, written

__all__ = ["plan"]


def plan(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, or '-' with --revenue.")],
    customers: Annotated[Path, typer.Argument(help="Parquet or CSV file, a row per person.")],
    output: Annotated[Path, written("Parquet or CSV file to write.", "-o", "--output")],
    budget_per_head: Annotated[float | None, typer.Option(help="Money per person.")] = None,
    budget_total: Annotated[float | None, typer.Option(help="Money for all of them.")] = None,
    budget_share: Annotated[
        float | None, typer.Option(help="Between the cheapest (0) and dearest (1) allocation.")
    ] = None,
    target_revenue: Annotated[
        float | None, typer.Option(help="Revenue to reach at least cost, in place of a budget.")
    ] = None,
    marginal_return: Annotated[
        float | None, typer.Option(help="Spend while one more unit of money earns this much.")
    ] = None,
    min_return: Annotated[
        float | None, typer.Option(help="Least revenue per unit of cost of the whole plan.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Column whose groups have own limits.")] = None,
    limits: Annotated[
        Path | None,
        typer.Option(help="Table of them: group, 'budget', most people by treatment."),
    ] = None,
    budget_of: Annotated[
        list[str] | None,
        typer.Option(metavar="A+B=MONEY", help="Money for some treatments together; repeatable."),
    ] = None,
    capacity: Annotated[
        list[str] | None,
        typer.Option(metavar="A+B=PEOPLE", help="Most people on one or some; repeatable."),
    ] = None,
    at_least: Annotated[
        list[str] | None,
        typer.Option(metavar="TREATMENT=PEOPLE", help="Least people on it; repeatable."),
    ] = None,
    only_if: Annotated[
        list[str] | None,
        typer.Option(metavar="TREATMENT=COLUMN", help="Column of 1 for who may; repeatable."),
    ] = None,
    freeze: Annotated[
        str | None, typer.Option(help="Column of treatments that are decided, or empty.")
    ] = None,
    last: Annotated[str | None, typer.Option(help="Column of last time's treatments.")] = None,
    switching_cost: Annotated[float, typer.Option(help="Revenue that a change must earn.")] = 0.0,
    max_changes: Annotated[int | None, typer.Option(help="Most people who may change.")] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Confidence, .5 to 1, that the true spend is within the money."),
    ] = None,
    what_if: Annotated[
        list[float] | None, typer.Option(help="Also with so many times the money; repeatable.")
    ] = None,
    solver: Annotated[str | None, typer.Option(help="Another solver.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Column to carry over.")] = None,
    revenue: Annotated[
        list[str] | None, typer.Option(metavar="A,B,...", help="Columns of revenue, without a run.")
    ] = None,
    cost: Annotated[
        list[str] | None, typer.Option(metavar="A,B,...", help="Columns of cost by treatment.")
    ] = None,
    summary: Annotated[Path | None, written("JSON file of what is printed, unrounded.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace output and summary.")
    ] = False,
    json: Json = False,
) -> None:
    """Plan within budgets, targets, capacities and last time's choices, with a proven gap."""
    from dfl.cli.plan import plan_command

    asked = {
        "target_revenue": target_revenue,
        "marginal_return": marginal_return,
        "min_return": min_return,
        "switching_cost": switching_cost,
        "max_changes": max_changes,
        "by": by,
        "limits": limits,
        "shared": tuple(budget_of or ()),
        "capacity": tuple(capacity or ()),
        "at_least": tuple(at_least or ()),
        "only_if": tuple(only_if or ()),
        "freeze": freeze,
        "last": last,
    }
    plan_command(
        run,
        customers,
        output,
        {"per_head": budget_per_head, "total": budget_total, "share": budget_share},
        asked,
        (tuple(revenue or ()), tuple(cost or ())),
        summary,
        factors=tuple(what_if or ()),
        margin=margin,
        solver=solver,
        keep=tuple(keep or ()),
        overwrite=overwrite,
    )
