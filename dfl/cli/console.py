"""What the terminal shows: progress and errors on stderr, results on stdout."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

from dfl.cli.document import document

if TYPE_CHECKING:  # keeps the start of the command line quick
    from dfl.methods import Progress as Epoch
    from dfl.report.tables import Table

__all__ = ["Bars", "errors", "literal", "results", "say", "show", "watching"]

_FILE_WIDTH = 160  # tables are not squeezed into 80 columns where the output is no terminal
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def results() -> Console:
    """Return the console for results."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_FILE_WIDTH)


def errors() -> Console:
    """Return the console for everything that is no result."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def literal(text: str, style: str = "") -> Text:
    """Return text that a terminal shows letter by letter, whatever names in it hold.

    Markup and emoji codes stay as they are; control characters are spelt out, so that a name
    in a data file can neither colour nor erase what is shown.
    """
    return Text(_CONTROL.sub(lambda found: repr(found[0])[1:-1], text), style=style)


def say(text: str) -> None:
    """Print a line of results, or add it to the document that ``--json`` prints."""
    if (collected := document()) is not None:
        collected.said.append(text)
    else:
        results().print(literal(text))


@final
class Bars:
    """Follows a run with one bar per stage of training.

    Args:
        bars: where they are drawn.
        keep: whether the bars of a phase stay when the next one begins.
    """

    def __init__(self, bars: Progress, *, keep: bool = True) -> None:
        self._bars = bars
        self._keep = keep
        self._tasks: dict[str, TaskID] = {}

    def say(self, text: str) -> None:
        """Name the phase that begins; its stages get bars of their own."""
        for task in () if self._keep else self._tasks.values():
            self._bars.remove_task(task)
        self._tasks = {}
        self._bars.console.print(literal(text))

    def epoch(self, done: "Epoch") -> None:
        """Move a stage's bar and show its loss; `history.json` keeps everything else."""
        if done.stage not in self._tasks:
            self._tasks[done.stage] = self._bars.add_task(done.stage, total=done.epochs, logs="")
        shown = {key: done.logs[key] for key in ("loss", "validation") if key in done.logs}
        logs = "  ".join(f"{key} {value:.4g}" for key, value in shown.items())
        self._bars.update(self._tasks[done.stage], completed=done.epoch, logs=logs)


@contextmanager
def watching(*, keep: bool = True) -> Iterator[Bars]:
    """Show progress while the block runs; ``keep`` as in `Bars`."""
    bars = Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[logs]}", markup=False),
        console=errors(),
    )
    with bars:
        yield Bars(bars, keep=keep)


def show(table: "Table") -> None:
    """Print a table of results, or add it to the document that ``--json`` prints."""
    if (collected := document()) is not None:
        collected.tables.append(table)
        return
    drawn = RichTable(title=literal(table.title, "bold"), title_justify="left")
    for index, column in enumerate(table.columns):
        drawn.add_column(literal(column), justify="left" if index < table.words else "right")
    for row in table.rows:
        drawn.add_row(*(literal(cell) for cell in row))
    console = results()
    console.print(drawn)
    if table.note:
        console.print(literal(table.note))
