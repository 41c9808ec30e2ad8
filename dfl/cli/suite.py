"""``dfl compare --suite``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from dfl.cli.changes import Changes, free_folder
from dfl.cli.console import say, show, watching
from dfl.cli.document import publish
from dfl.cli.interrupt import resumable
from dfl.config import change, load_suite, read_suite
from dfl.config.assembly import spec_of
from dfl.errors import ConfigError
from dfl.pipeline import (
    SuiteResults,
    holds_suite,
    resume_suite,
    run_suite,
    suite_report_of,
    write_suite_report,
)
from dfl.pipeline.suite_results import RESULTS

__all__ = ["SuiteOptions", "suite_command"]


@final
@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """What the command line says of a suite.

    Args:
        source: name of a shipped suite, or path of a YAML file; None: the one in the folder.
        seeds: how many, or None as the suite says.
        first_seed: likewise.
        only: labels of methods and data sets, or empty for all.
    """

    source: str | None
    seeds: int | None
    first_seed: int | None
    only: tuple[str, ...]

    def wanted(self, output: Path | None, *, again: bool) -> bool:
        """Say whether a suite is meant: it is named, or ``output`` holds one to go on with.

        Raises:
            ConfigError: if not, and an option is for suites alone.
        """
        if self.source is not None or (again and output is not None and holds_suite(output)):
            return True
        if self.first_seed is not None or self.only:
            raise ConfigError("--first-seed and --only are for suites; name one by --suite.")
        return False

    def changed(self, config: dict[str, Any], changes: Changes) -> dict[str, Any]:
        """Return a suite's configuration with what the options change in it.

        Raises:
            ConfigError: if an option is for single comparisons, or a setting is malformed.
        """
        fitting = Changes(
            device=changes.device,
            members=changes.members,
            epochs=changes.epochs,
            settings=changes.settings,
        )
        if changes != fitting:
            raise ConfigError(
                "a suite says itself which data, budgets and seeds; change it by --set, --seeds "
                "and --first-seed."
            )
        given = {"seeds": self.seeds, "first_seed": self.first_seed, "device": changes.device}
        config = config | {key: value for key, value in given.items() if value is not None}
        training = {"members": changes.members, "epochs": changes.epochs}
        if training := {key: value for key, value in training.items() if value is not None}:
            config["training"] = spec_of(config.get("training"), "training") | training
        if self.only:
            config["only"] = [*self.only]
        return change(config, changes.settings)


def suite_command(
    options: SuiteOptions,
    changes: Changes,
    others: Sequence[str],
    output: Path | None,
    again: bool,
) -> None:
    """Measure a suite, or go on with one, and print its tables.

    Args:
        options: which suite, and how much of it.
        changes: what the other options change.
        others: methods and baseline, which a suite names itself.
        output: folder, or None for a new one.
        again: go on with ``output``.

    Raises:
        ConfigError: if options do not go together.
        DflError: whatever the suite raises.
    """
    if others:
        raise ConfigError(
            f"a suite names its methods and its reference itself, got {others[0]!r}; choose among "
            "them by --only."
        )
    path = output
    if again:
        if path is None:
            raise ConfigError("--resume needs the folder of the suite: -o FOLDER.")
        before = SuiteResults.read(path / RESULTS).config if options.source is None else None
        suite = read_suite(
            options.changed(dict(before or load_suite(str(options.source))), changes)
        )
        with resumable(path, "compare"), watching(keep=False) as bars:
            resume_suite(path, bars, suite)
    else:
        suite = read_suite(options.changed(load_suite(str(options.source)), changes))
        path = free_folder(f"suite-{suite.name}") if path is None else path
        with resumable(path, "compare"), watching(keep=False) as bars:
            run_suite(suite, path, bars)
    report = suite_report_of(path)
    write_suite_report(path, report)
    for table in report.tables:
        show(table)
    say(f"Folder: {path}")
    publish({"folder": str(path)})
