"""Turns deliberate errors into one line on stderr, for every command."""

from typing import Any, final

import typer
from typer.core import TyperGroup

from dfl.cli.console import errors
from dfl.errors import DflError

__all__ = ["GuardedGroup"]

_ERROR, _INTERRUPTED = 2, 130


@final
class GuardedGroup(TyperGroup):
    """The group of all commands; exits with 2 after a `DflError` and with 130 after Ctrl-C.

    With ``--debug`` errors pass through, traceback and all.
    """

    def invoke(self, ctx: Any) -> Any:  # the context's class differs between versions of typer
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except DflError as error:
            if ctx.params.get("debug"):
                raise
            errors().print(f"error: {error}", markup=False)
            raise typer.Exit(_ERROR) from error
        except KeyboardInterrupt:
            errors().print("Stopped.", markup=False)
            raise typer.Exit(_INTERRUPTED) from None
