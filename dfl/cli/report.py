"""``dfl report``."""

from functools import partial
from pathlib import Path

from dfl.cli.console import say, show
from dfl.cli.document import publish
from dfl.errors import ConfigError, WriteError
from dfl.pipeline import (
    RunFolder,
    comparison_report_of,
    holds_suite,
    locked,
    report_of,
    suite_report_of,
    write_suite_report,
)
from dfl.report.report import Report

__all__ = ["report_command"]


def report_command(run: Path, reference: str | None = None) -> None:
    """Print a folder's results and write its plots and page anew.

    Args:
        run: folder of a finished run or comparison, or of a suite, finished or not.
        reference: method of a suite that differences are taken to, or None for its own.

    Raises:
        ConfigError: if the reference is no method of the suite, or the folder no suite's.
        RunFolderError: if it is none, has no results yet, or is in use.
        DflError: if a file is unreadable, or could not be written, which is said last.
    """
    failed = None
    if holds_suite(run):
        report = suite_report_of(run, reference)
        write = partial(write_suite_report, run)  # without the lock: the suite may be at work
    elif reference is not None:
        raise ConfigError("--reference is for suites; a comparison is made with a baseline.")
    else:
        folder = RunFolder.open(run)
        report = comparison_report_of(folder) if folder.kind == "compare" else report_of(folder)
        write = partial(_write, folder)
        publish(folder.read_json(f"{'comparison' if folder.kind == 'compare' else 'metrics'}.json"))
    try:
        write(report)
    except WriteError as error:  # such as in the folder of somebody else, who may be read
        failed = error
    if report.lead:
        say(" ".join(report.lead))
    for table in report.tables:
        show(table)
    if failed is not None:
        raise failed
    say(f"Page: {run / 'report.html'}")
    publish({"folder": str(run)})


def _write(folder: RunFolder, report: Report) -> None:
    with locked(folder.path):
        folder.write_report(report)
