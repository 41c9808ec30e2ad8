"""``dfl allocate``."""

import glob
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from dfl.budget import Budget
from dfl.checks import check_choice
from dfl.cli.console import errors, say, show
from dfl.cli.document import publish
from dfl.data import DataWarning
from dfl.errors import ConfigError
from dfl.pipeline import (
    CustomerAllocation,
    RunFolder,
    allocate_columns,
    allocate_dataset,
    allocate_file,
)
from dfl.pipeline.allocating_blocks import Engine
from dfl.pipeline.spend import Margin
from dfl.report import Table
from dfl.scale import joined, rank_of

__all__ = ["allocate_command", "margin_words"]


def allocate_command(
    run: Path,
    customers: Path,
    output: Path,
    given: Mapping[str, float | None],
    solver: str | None,
    margin: float | None,
    keep: Sequence[str],
    columns: tuple[Sequence[str], Sequence[str]],
    *,
    overwrite: bool,
    engine: str,
) -> None:
    """Allocate a budget to the rows of a file, and print a summary.

    Args:
        run: folder of a finished run, or ``-`` where columns hold the scores.
        customers: Parquet or CSV file; where a folder is written, also a folder or a pattern.
        output: Parquet or CSV file to write, or, by a name without an ending, a folder that is
            written block by block.
        given: unit of the budget to its amount, or None where it was not given.
        solver: name of a solver, or None for the run's own.
        margin: confidence that the true spend is within the budget, or None.
        keep: columns to carry over.
        columns: those of revenue and those of cost, with commas or one by one; empty: the run's
            model predicts.
        overwrite: whether ``output`` may replace what is there.
        engine: ``"processes"`` or ``"ray"``: what the blocks of a folder are shared among.

    Raises:
        DflError: whatever the allocation raises.
    """
    budget = Budget(**given)
    revenue, cost = ([one for text in names for one in text.split(",")] for names in columns)
    _check(run, output, scored=bool(revenue or cost), margin=margin, engine=engine)
    options: dict[str, Any] = {"keep": keep, "overwrite": overwrite}
    with warnings.catch_warnings(record=True) as caught, joined():
        warnings.simplefilter("always", DataWarning)
        if revenue or cost:
            options |= {"revenue": revenue, "cost": cost, "solver": solver, "engine": engine}
            done = allocate_columns(customers, output, budget, **options)
        elif output.suffix:
            _check_file(customers, output)
            done = allocate_file(
                RunFolder.open(run),
                customers,
                output,
                budget,
                solver=solver,
                margin=margin,
                **options,
            )
        else:
            options |= {"solver": solver, "margin": margin, "engine": engine}
            done = allocate_dataset(RunFolder.open(run), customers, output, budget, **options)
        if rank_of()[0]:
            return  # the first process speaks for all
    for said in dict.fromkeys(str(one.message) for one in caught):  # once, not chunk by chunk
        errors().print(f"warning: {said}", markup=False)
    rows = max(sum(done.people.values()), 1)
    people = [(name, f"{count:,}", f"{count / rows:.1%}") for name, count in done.people.items()]
    show(Table("Allocation", ("treatment", "people", "share"), people))
    found, held = done.allocation, done.held_out
    earned = "The run measured no such allocation on held-out rows."
    if held is not None:
        earned = (
            f"On the run's held-out rows an allocation at {held.budget:.4g} per head earned "
            f"{held.value:.4g} [{held.low:.4g}, {held.high:.4g}] per head."
        )
    say(
        f"Budget {done.budget:.6g}, predicted cost {float(found.cost):.6g}, predicted revenue "
        f"{float(found.revenue):.6g}; for the predictions at most {found.gap:.2e} below the best "
        f"possible.\nPredicted per head: budget {done.budget / rows:.4g}, revenue "
        f"{float(found.revenue) / rows:.4g}. {earned}\n{_said(done)}Written: {output}"
    )
    publish(
        {
            "output": str(output),
            "people": dict(done.people),
            "budget": done.budget,
            "cost": float(found.cost),
            "revenue": float(found.revenue),
            "gap": float(found.gap),
            "multiplier": float(found.multiplier),
            "margin": None if done.margin is None else asdict(done.margin),
            "held_out": None
            if held is None
            else {
                "budget": held.budget,
                "value": held.value,
                "low": held.low,
                "high": held.high,
            },
        }
    )


def _said(done: CustomerAllocation) -> str:
    """Say what the margin did."""
    cut = done.margin
    if cut is None:
        return ""
    return f"{margin_words(cut, f', {cut.share * done.budget:.6g}')}\n"


def margin_words(cut: Margin, amount: str = "") -> str:
    """Say what a margin did.

    Args:
        cut: the margin.
        amount: that is left by it, behind a comma; or empty.
    """
    return (
        f"Margin: at {cut.measured_at:.4g} per head the run's held-out rows cost {cut.value:.4g} "
        f"times what was predicted (standard error {cut.standard_error:.2g}), with confidence "
        f"{cut.level:g} at most {cut.high:.4g} times; so {cut.share:.1%} of the budget"
        f"{amount}, was allocated by predicted costs. That holds for the "
        "expected spend of customers like those rows."
    )


def _check_file(customers: Path, output: Path) -> None:
    """Refuse to write one file by several processes, or from several files."""
    several = rank_of()[1]
    if several > 1:
        raise ConfigError(
            f"a file is allocated by one process, and torchrun started {several}; start it by "
            f"itself, or give a folder, a name without an ending, got -o {output}."
        )
    pattern = any(True for _ in glob.iglob(str(customers), recursive=True))
    if not customers.is_file() and pattern:
        raise ConfigError(
            f"a folder or pattern of customers, {customers}, is allocated block by block into a "
            f"folder, got -o {output}; give a name without an ending."
        )


def _check(run: Path, output: Path, *, scored: bool, margin: float | None, engine: str) -> None:
    """Refuse an unknown engine, a run beside columns of scores, neither, or a file for blocks."""
    check_choice("--engine", engine, get_args(Engine))
    if engine == "ray" and output.suffix:
        raise ConfigError(
            f"--engine ray allocates block by block into a folder, got -o {output}; give a name "
            "without an ending."
        )
    if scored != (str(run) == "-"):
        raise ConfigError(
            "scores come from a run, or from columns: name a run's folder, or '-' together with "
            f"--revenue and --cost; got {run}{' and columns' if scored else ''}."
        )
    if scored and margin is not None:
        raise ConfigError("--margin rests on what a run measured; name a run in place of columns.")
    if scored and output.suffix:
        raise ConfigError(
            f"columns of scores are allocated block by block into a folder, got -o {output}; "
            "give a name without an ending."
        )
