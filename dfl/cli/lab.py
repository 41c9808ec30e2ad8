"""``dfl lab``."""

from pathlib import Path

from dfl.cli.changes import Changes
from dfl.cli.console import errors, say, show
from dfl.cli.document import publish
from dfl.config import read_study
from dfl.errors import ConfigError
from dfl.io import check_folder, make_folder, write_bytes, write_json
from dfl.lab import Findings, Lab
from dfl.lab.picture import picture

__all__ = ["lab_command"]


def lab_command(changes: Changes, lab: Lab, output: Path | None) -> None:
    """Measure all layers and hypergradients on a data set's test rows, and print the findings.

    Args:
        changes: which data; None: the coupon simulator.
        lab: how it is measured.
        output: folder for ``lab.json``, ``lab.csv`` and ``lab.png``, or None.

    Raises:
        ConfigError: if an option is set that is none of the data.
        DflError: whatever reading and measuring raise.
    """
    if output is not None:
        check_folder(output)
    study = read_study(changes.load("tsm-sl"))
    for one in changes.settings:
        if one.partition("=")[0].split(".")[0].strip() != "data":
            raise ConfigError(
                f"dfl lab reads data alone, got --set {one}; its own options are those of "
                "'dfl lab --help'."
            )
    batch = study.data.hybrid(study.seed).test
    errors().print(f"Measuring on {min(lab.rows, len(batch)):,} of {len(batch):,} test rows.")
    found = lab.run(batch)
    # First: what is printed may have nowhere to go.
    written = [] if output is None else _write(output, found)
    for table in found.tables():
        show(table)
    say(found.recommendation)
    if written:
        say(f"Written: {', '.join(map(str, written))}")
    publish(found.content())


def _write(folder: Path, found: Findings) -> list[Path]:
    make_folder(folder)
    write_json(folder / "lab.json", found.content())
    write_bytes(folder / "lab.csv", found.csv().encode())
    write_bytes(folder / "lab.png", picture(found))
    return [folder / name for name in ("lab.json", "lab.csv", "lab.png")]
