"""What the terminal shows: progress on stderr, results on stdout."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:  # imports torch-heavy modules
    from dfl.methods import Progress as Epoch

__all__ = ["Watcher", "errors", "results", "watching"]

_WIDTH_OF_FILES = 160  # where the output is no terminal, tables are not squeezed into 80 columns


class Watcher(Protocol):
    """Follows a run."""

    def say(self, text: str) -> None:
        """Name what happens now."""

    def epoch(self, done: "Epoch") -> None:
        """Show a finished epoch."""


def results() -> Console:
    """Return the console for results."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH_OF_FILES, highlight=False)


def errors() -> Console:
    """Return the console for everything that is no result."""
    return Console(stderr=True, highlight=False, soft_wrap=True)
