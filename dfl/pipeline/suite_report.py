"""The report of a suite, made from its one file."""

from pathlib import Path

from dfl.errors import ConfigError, RunFolderError
from dfl.io import make_folder, write_bytes
from dfl.pipeline.suite_results import RESULTS, SuiteResults
from dfl.registry import unknown_name
from dfl.report.report import Report, suite_report

__all__ = ["holds_suite", "suite_report_of", "write_suite_report"]


def holds_suite(path: Path | str) -> bool:
    """Say whether a folder is that of a suite."""
    return (Path(path) / RESULTS).is_file()


def suite_report_of(path: Path | str, reference: str | None = None) -> Report:
    """Return the report of a suite, of as much as it has measured so far.

    Args:
        path: of its folder; another process may be at work in it.
        reference: method that differences are taken to, or None for the suite's own.

    Raises:
        ConfigError: if the reference is no method of the suite, or none of its rows is there.
        RunFolderError: if there is no suite, or nothing is measured yet.
        DataError: if the file is damaged.
    """
    path = Path(path)
    results = SuiteResults.read(path / RESULTS)
    if not results.rows:
        raise RunFolderError(f"{path} has measured nothing yet; go on with it by --resume.")
    config = dict(results.config)
    if reference is not None:
        if reference not in config["methods"]:
            raise ConfigError(f"reference: {unknown_name('methods', reference, config['methods'])}")
        if all(row["method"] != reference for row in results.rows):
            raise ConfigError(
                f"reference: {path} has no row of {reference} yet; choose another one."
            )
        config["reference"] = reference
    return suite_report(config, results.rows, results.config_text)


def write_suite_report(path: Path | str, report: Report) -> None:
    """Write tables as Markdown and CSV, plots and the page beside a suite's results.

    Raises:
        WriteError: if a file could not be written.
    """
    path = Path(path)
    for name, content in report.files().items():
        make_folder((path / name).parent)
        write_bytes(path / name, content)
