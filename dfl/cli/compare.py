"""``dfl compare``."""

from collections.abc import Sequence
from pathlib import Path

from dfl.cli.changes import Changes, free_folder
from dfl.cli.console import say, show, watching
from dfl.cli.document import publish
from dfl.cli.interrupt import resumable
from dfl.config import Comparison, read_study
from dfl.errors import ConfigError
from dfl.pipeline import RunFolder, compare, comparison_report_of, resume_comparison

__all__ = ["compare_command"]


def compare_command(
    sources: Sequence[str],
    changes: Changes,
    seeds: int | None,
    baseline: str | None,
    output: Path | None,
    again: bool,
) -> None:
    """Compare methods, or go on with a comparison, and print the results.

    Args:
        sources: configurations.
        changes: what the options change in each.
        seeds: repetitions, or None for one.
        baseline: method that the others are compared with, or None for the first.
        output: folder, or None for a new one.
        again: go on with ``output``.

    Raises:
        ConfigError: if options do not go together.
        DflError: whatever the comparison raises.
    """
    if again:
        if sources or changes != Changes() or seeds is not None or baseline is not None:
            raise ConfigError(
                "--resume takes the configuration of the folder; leave methods and options out."
            )
        folder = _resume(output)
    else:
        folder = _start(sources, changes, seeds or 1, baseline, output)
    report = comparison_report_of(folder)
    say(" ".join(report.lead))
    for table in report.tables:
        show(table)
    say(_times(folder))
    say(f"Folder: {folder.path}")
    publish({"folder": str(folder.path), **folder.read_json("comparison.json")})


def _times(folder: RunFolder) -> str:
    """Say how long each method trained; after a resume that is its last part only."""
    parts = []
    for run in folder.config["runs"]:
        timing = RunFolder(folder.path / run["name"]).read_json("timing.json")
        resumed = " after resuming" if timing["after_resuming"] else ""
        parts.append(f"{run['name']} {timing['training_seconds']:.1f} s{resumed}")
    return f"Training: {', '.join(parts)}."


def _start(
    sources: Sequence[str],
    changes: Changes,
    seeds: int,
    baseline: str | None,
    output: Path | None,
) -> RunFolder:
    studies = tuple(read_study(changes.load(source)) for source in sources)
    if not studies:
        raise ConfigError("dfl compare needs methods, such as 'dfl compare tsm-sl bi-dfcl'.")
    comparison = Comparison(
        studies=studies, seeds=seeds, baseline=studies[0].name if baseline is None else baseline
    )
    path = free_folder(f"compare-{studies[0].data_name}") if output is None else output
    with resumable(path, "compare"), watching() as bars:
        return compare(comparison, path, bars)


def _resume(output: Path | None) -> RunFolder:
    if output is None:
        raise ConfigError("--resume needs the folder of the comparison: -o FOLDER.")
    with resumable(output, "compare"), watching() as bars:
        return resume_comparison(output, bars)
