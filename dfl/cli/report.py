"""``dfl report``."""

from pathlib import Path

from dfl.cli.console import say, show
from dfl.pipeline import RunFolder, comparison_report_of, locked, report_of

__all__ = ["report_command"]


def report_command(run: Path) -> None:
    """Print a folder's results and write its plots and page anew.

    Args:
        run: folder of a finished run or comparison.

    Raises:
        RunFolderError: if it is none, has no results yet, or is in use.
        DflError: if a file is unreadable or could not be written.
    """
    folder = RunFolder.open(run)
    report = comparison_report_of(folder) if folder.kind == "compare" else report_of(folder)
    with locked(run):
        folder.write_report(report)
    for table in report.tables:
        show(table)
    say(f"Page: {folder.path / 'report.html'}")
