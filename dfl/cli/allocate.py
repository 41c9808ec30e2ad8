"""``dfl allocate``."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from dfl.budget import Budget
from dfl.cli.console import errors, results, show
from dfl.data import DataWarning
from dfl.pipeline import CustomerAllocation, RunFolder, allocate_file
from dfl.report import Table

__all__ = ["allocate_command"]


def allocate_command(
    run: Path,
    customers: Path,
    output: Path,
    given: Mapping[str, float | None],
    solver: str | None,
    margin: float | None,
    keep: Sequence[str],
    *,
    overwrite: bool,
) -> None:
    """Allocate a budget to the rows of a file, and print a summary.

    Args:
        run: folder of a finished run.
        customers: Parquet or CSV file.
        output: Parquet or CSV file to write.
        given: unit of the budget to its amount, or None where it was not given.
        solver: name of a solver, or None for the run's own.
        margin: confidence that the true spend is within the budget, or None.
        keep: columns to carry over.
        overwrite: whether ``output`` may replace a file.

    Raises:
        DflError: whatever the allocation raises.
    """
    budget, folder = Budget(**given), RunFolder.open(run)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        done = allocate_file(
            folder,
            customers,
            output,
            budget,
            solver=solver,
            margin=margin,
            keep=keep,
            overwrite=overwrite,
        )
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
    results().print(
        f"Budget {done.budget:.6g}, predicted cost {float(found.cost):.6g}, predicted revenue "
        f"{float(found.revenue):.6g}; for the predictions at most {found.gap:.2e} below the best "
        f"possible.\nPredicted per head: budget {done.budget / rows:.4g}, revenue "
        f"{float(found.revenue) / rows:.4g}. {earned}\n{_said(done)}Written: {output}",
        markup=False,
    )


def _said(done: CustomerAllocation) -> str:
    """Say what the margin did."""
    cut = done.margin
    if cut is None:
        return ""
    return (
        f"Margin: at {cut.measured_at:.4g} per head the run's held-out rows cost {cut.value:.4g} "
        f"times what was predicted (standard error {cut.standard_error:.2g}), with confidence "
        f"{cut.level:g} at most {cut.high:.4g} times; so {cut.share:.1%} of the budget, "
        f"{cut.share * done.budget:.6g}, was allocated by predicted costs. That holds for the "
        "expected spend of customers like those rows.\n"
    )
