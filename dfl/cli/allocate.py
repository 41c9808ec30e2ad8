"""``dfl allocate``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from dfl.budget import Budget
from dfl.cli.console import results, show
from dfl.pipeline import RunFolder, allocate_file
from dfl.report import Table

__all__ = ["allocate_command"]


def allocate_command(
    run: Path,
    customers: Path,
    output: Path,
    given: Mapping[str, float | None],
    solver: str | None,
    keep: Sequence[str],
) -> None:
    """Allocate a budget to the rows of a file, and print a summary.

    Args:
        run: folder of a finished run.
        customers: Parquet file.
        output: Parquet file to write.
        given: unit of the budget to its amount, or None where it was not given.
        solver: name of a solver, or None for the run's own.
        keep: columns to carry over.

    Raises:
        DflError: whatever the allocation raises.
    """
    budget = Budget(**given)
    done = allocate_file(RunFolder.open(run), customers, output, budget, solver=solver, keep=keep)
    rows = max(sum(done.people.values()), 1)
    people = [(name, f"{count:,}", f"{count / rows:.1%}") for name, count in done.people.items()]
    show(Table("Allocation", ("treatment", "people", "share"), people))
    found = done.allocation
    results().print(
        f"Budget {done.budget:.6g}, predicted cost {float(found.cost):.6g}, predicted revenue "
        f"{float(found.revenue):.6g}, at most {found.gap:.2e} below the best possible.\n"
        f"Written: {output}",
        markup=False,
    )
