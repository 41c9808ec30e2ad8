"""``dfl segment``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from dfl.cli.changes import Changes, free_folder
from dfl.cli.console import say, show, watching
from dfl.cli.document import publish
from dfl.cli.interrupt import resumable
from dfl.config import read_study
from dfl.errors import ConfigError
from dfl.pipeline import RunFolder, assign_file, describe_segments, locked, run
from dfl.pipeline.assigning import check_assignment
from dfl.pipeline.segmenting import SERVED
from dfl.problem import BUDGET_SLACK
from dfl.report import Table
from dfl.report.segments import segment_tables
from dfl.segments.serving import ServedSegments

__all__ = ["Customers", "segment_command"]


@final
@dataclass(frozen=True)
class Customers:
    """A file to serve.

    Args:
        path: Parquet file, folder or pattern, or CSV file.
        output: file to write.
        keep: columns to carry over.
        overwrite: whether ``output`` may replace a file.
    """

    path: Path
    output: Path
    keep: Sequence[str]
    overwrite: bool

    @staticmethod
    def of(
        path: Path | None, output: Path | None, keep: Sequence[str], *, overwrite: bool
    ) -> "Customers | None":
        """Put the options together; None where no file is to be served.

        Raises:
            ConfigError: if only one of the two files is given.
        """
        if path is None and output is None:
            return None
        if path is None or output is None:
            raise ConfigError(
                "--customers and --assign go together: the files to serve, and the one to write."
            )
        return Customers(path, output, keep, overwrite)


def segment_command(
    source: str,
    changes: Changes,
    output: Path | None,
    levels: int,
    student: str,
    *,
    nested: bool,
    customers: Customers | None,
) -> None:
    """Run a configuration of ``hrc`` or ``policy-tree``, or take a run, and show its segments.

    Args:
        source: configuration, or folder of a finished run.
        changes: what the options change in a configuration.
        output: run folder, or None for a new one.
        levels: budgets of the plan.
        student: classifier that serves.
        nested: whether no segment gets a cheaper treatment at a larger budget.
        customers: a file to serve at the first budget per head, or None.

    Raises:
        ConfigError: if options do not go together, or the model has no segments.
        DflError: whatever run, segments or serving raise.
    """
    if customers is not None and len(changes.per_head) != 1:
        raise ConfigError("--customers needs one --budget-per-head, at which they are served.")
    if customers is not None:
        given = (customers.path, customers.output, customers.keep)
        check_assignment(*given, overwrite=customers.overwrite)
    folder = _folder(source, changes, output)
    with locked(folder.path):
        found = describe_segments(folder, levels=levels, student=student, nested=nested)
    served = ServedSegments.load(folder.path / SERVED)
    done = None
    if customers is not None:  # first: what is printed may have nowhere to go
        done = assign_file(
            served,
            customers.path,
            customers.output,
            changes.per_head[0],
            keep=customers.keep,
            overwrite=customers.overwrite,
        )
    for table in segment_tables(found):
        show(table)
    say(f"Page: {folder.path / 'segments.html'}; serves: {folder.path / SERVED}")
    publish({"folder": str(folder.path), **found})
    if customers is not None and done is not None:
        people = [(name, f"{count:,}") for name, count in done.treatments.items()]
        show(Table(f"Served at {done.budget:.4g} per head", ("treatment", "people"), people))
        costs = [one["cost"] for one in found["segments"]]
        choice = served.plan.choice[served.plan.level(changes.per_head[0])].tolist()
        say(_cost_words(done.segments, costs, choice, changes.per_head[0]))
        say(f"Written: {customers.output}")


def _cost_words(
    people: Sequence[int], costs: Sequence[Sequence[float]], choice: Sequence[int], budget: float
) -> str:
    """Say what people of these segments cost by the table, which the plan was not made for."""
    spent = sum(n * own[j] for n, own, j in zip(people, costs, choice, strict=True))
    each = spent / max(sum(people), 1)
    said = f"By the segments' table these people cost {each:.4g} per head, {spent:.6g} in all"
    if each <= budget * (1 + BUDGET_SLACK):
        return f"{said}."
    return (
        f"{said}: above the budget of {budget:.4g}, as more of them are in dear segments than of "
        "those whom the plan was made with; serve a smaller budget, or use 'dfl allocate'."
    )


def _folder(source: str, changes: Changes, output: Path | None) -> RunFolder:
    if (Path(source) / "config.yaml").is_file():
        served = Changes(per_head=changes.per_head)
        if output is not None or changes != served:
            raise ConfigError(
                "a run folder is described as it is; leave --output and what changes a "
                "configuration out."
            )
        return RunFolder.open(Path(source), of="run")
    study = read_study(changes.load(source))
    path = free_folder(f"{study.name}-{study.data_name}") if output is None else output
    with resumable(path, "run"), watching() as bars:
        return run(study, path, bars)
