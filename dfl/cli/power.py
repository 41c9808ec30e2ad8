"""``dfl power``."""

from pathlib import Path
from typing import Any

from dfl.cli.console import show
from dfl.cli.document import publish
from dfl.errors import ConfigError, DataError
from dfl.pipeline import RunFolder
from dfl.report.tables import Table
from dfl.stats.needed import rows_needed

__all__ = ["power_command"]

_NOTE = (
    "Randomised test rows with which such a difference is told from chance, two-sided, in the "
    "share of samples that --power says. A difference that was seen is itself uncertain: ask for "
    "one that would matter by --gain."
)


def power_command(run: Path, *, gain: float | None, power: float, level: float) -> None:
    """Print how many test rows a decision needs, by the standard errors of a run.

    Args:
        run: folder of a finished run.
        gain: difference to the best constant mix that should be found, in currency per head;
            None: the one that was seen.
        power: chance of finding it.
        level: confidence of the interval that should leave out 0.

    Raises:
        ConfigError: if the folder is a comparison's.
        DataError: if the run holds no such standard errors.
        InvalidValueError: if a number is out of range.
        RunFolderError: if it is no run, or not finished.
    """
    folder = RunFolder.open(run)
    if folder.kind != "run":
        raise ConfigError(f"{run} is a {folder.kind}'s folder; name that of one of its methods.")
    metrics = folder.read_json("metrics.json")
    try:
        rows, found = metrics["rows"]["test"], metrics["against_best_mix"]
        lines = [_line(given, one, rows, gain, power, level) for given, one in found.items()]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{run / 'metrics.json'} holds no difference to the best constant mix; it was made by "
            "an earlier version. Run it again."
        ) from error
    columns = (
        "budget",
        "minus best mix",
        "standard error",
        "test rows",
        "difference",
        "rows needed",
    )
    show(Table("How many rows a decision needs", columns, lines, _NOTE))
    needed = {given: _needed(one, rows, gain, power, level) for given, one in found.items()}
    publish({"test_rows": rows, "rows_needed": needed, "against_best_mix": found})


def _line(
    given: str, one: dict[str, Any], rows: int, gain: float | None, power: float, level: float
) -> tuple[str, ...]:
    """Return the cells of a budget."""
    error, wanted = one["standard_error"], one["value"] if gain is None else gain
    needed = _needed(one, rows, gain, power, level)
    told = "no number tells it" if needed is None else f"{needed:,}"
    return given, f"{one['value']:+.4g}", f"{error:.4g}", f"{rows:,}", f"{wanted:+.4g}", told


def _needed(
    one: dict[str, Any], rows: int, gain: float | None, power: float, level: float
) -> int | None:
    """Return how many rows a budget needs, or None where no number tells the difference."""
    error, wanted = one["standard_error"], one["value"] if gain is None else gain
    if not wanted or error <= 0:
        return None
    return rows_needed(wanted, error, rows, level=level, power=power)
