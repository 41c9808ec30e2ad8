"""Says how to go on after Ctrl-C."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dfl.cli.console import errors, literal
from dfl.pipeline import holds_suite

__all__ = ["resumable"]


@contextmanager
def resumable(folder: Path, command: str) -> Iterator[None]:
    """Print how to resume if the block is interrupted; the interrupt itself passes on.

    Args:
        folder: where the block keeps its run.
        command: of the command line: ``"run"``.

    Raises:
        KeyboardInterrupt: passed on.
    """
    try:
        yield
    except KeyboardInterrupt:
        if (folder / "config.yaml").exists() or holds_suite(folder):
            text = f"Go on with: dfl {command} -o {shlex.quote(str(folder))} --resume"
        else:
            text = "Nothing was kept: the data was not loaded yet."
        errors().print(literal(text))
        raise
