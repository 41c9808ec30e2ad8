"""``dfl run``."""

from collections.abc import Sequence
from pathlib import Path

from dfl.cli.changes import Changes, free_folder
from dfl.cli.console import say, show, watching
from dfl.cli.document import publish
from dfl.cli.interrupt import resumable
from dfl.config import read_study
from dfl.errors import ConfigError
from dfl.pipeline import RunFolder, Tracked, make_tracker, report_of, resume, run

__all__ = ["run_command"]


def run_command(
    source: str | None,
    changes: Changes,
    output: Path | None,
    again: bool,
    track: Sequence[str] = (),
) -> None:
    """Run a configuration, or go on with a run folder, and print the results.

    Args:
        source: configuration.
        changes: what the options change in it.
        output: run folder, or None for a new one.
        again: go on with ``output``.
        track: names of trackers.

    Raises:
        ConfigError: if options do not go together.
        DflError: whatever the run raises.
    """
    begin = _resume if again else _start
    folder = begin(source, changes, output, track)
    report = report_of(folder)
    say(" ".join(report.lead))
    for table in report.tables:
        show(table)
    say(f"Run folder: {folder.path}")
    publish({"folder": str(folder.path), **folder.read_json("metrics.json")})


def _start(
    source: str | None, changes: Changes, output: Path | None, track: Sequence[str]
) -> RunFolder:
    if source is None:
        raise ConfigError("dfl run needs a configuration, such as 'dfl run bi-dfcl'.")
    study = read_study(changes.load(source))
    path = free_folder(f"{study.name}-{study.data_name}") if output is None else output
    trackers = [make_tracker(one, study.name, path) for one in track]
    with resumable(path, "run"), watching() as bars:
        told = Tracked(bars, trackers)
        folder = run(study, path, told)
        told.finished(folder)
        return folder


def _resume(
    source: str | None, changes: Changes, output: Path | None, track: Sequence[str]
) -> RunFolder:
    if output is None:
        raise ConfigError("--resume needs the run folder: -o FOLDER.")
    folder = RunFolder.open(output)
    if source is None and changes != Changes():
        raise ConfigError(
            "--resume takes the configuration of the run folder; leave the other options out."
        )
    if source is not None and read_study(changes.load(source)).config != folder.config:
        raise ConfigError(
            f"{output} was begun with another configuration; leave configuration and options out "
            "to go on with it, or choose another folder."
        )
    trackers = [make_tracker(one, folder.config["name"], output) for one in track]
    with resumable(output, "run"), watching() as bars:
        told = Tracked(bars, trackers)
        done = resume(output, told)
        told.finished(done)
        return done
