"""Turns errors into one line on stderr, for every command."""

import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, final

import typer
from typer.core import TyperGroup

from dfl.cli.console import errors, literal
from dfl.cli.document import published
from dfl.cli.help import code_of
from dfl.errors import ConfigError, DflError

__all__ = ["GuardedGroup", "interruptible", "plain_warnings", "refuse_several"]

_SEVERAL = ("allocate", "run")

_interrupted: list[int] = []  # signals that `interruptible` heard

_ERROR, _UNFORESEEN, _INTERRUPTED = 2, 70, 130
_OWN = ("click", "typer")  # they explain mistakes in the options, and end a command


@final
class GuardedGroup(TyperGroup):
    """The group of all commands: one line and an exit code instead of a traceback.

    The code is 2 after a `DflError` or an error of the operating system, 130 after Ctrl-C, and
    70 after anything else, which is a fault of dfl. With ``--debug`` errors pass through,
    traceback and all. A warning is a line too.
    """

    def invoke(self, ctx: Any) -> Any:  # the context's class differs between versions of typer
        """Run the command that was asked for."""
        try:
            with plain_warnings(), published():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _stopped() from None
        except BrokenPipeError:  # whoever read the output has gone; typer ends quietly
            raise
        except Exception as error:
            if ctx.params.get("debug") or type(error).__module__.partition(".")[0] in _OWN:
                raise
            if _interrupted:  # in a library's import, which made another error of it
                raise _stopped() from None
            text, code = _line(error)
            errors().print(literal(f"error: {' '.join(map(str.strip, text.split(chr(10))))}"))
            raise typer.Exit(code) from error


@contextmanager
def interruptible() -> Iterator[None]:
    """Note Ctrl-C while the block runs, for libraries that swallow the exception it raises."""

    def hear(number: int, frame: FrameType | None) -> None:
        _interrupted.append(number)
        signal.default_int_handler(number, frame)

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, as in a script's background
        signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _interrupted.clear()


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show what a warning says, once, in place of the line of code that it comes from."""
    said: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = f"warning: {message}"
        if text not in said:
            said.add(text)
            errors().print(literal(text))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def refuse_several(command: str | None) -> None:
    """Refuse a command that torchrun started several times, if it works in one process.

    Raises:
        ConfigError: if it does.
    """
    started = os.environ.get("WORLD_SIZE", "1") if "MASTER_ADDR" in os.environ else "1"
    if started != "1" and command not in _SEVERAL:
        raise ConfigError(
            f"dfl {command} works in one process, and torchrun started {started}; start it by "
            f"itself. {' and '.join(_SEVERAL)} work in several."
        )


def _stopped() -> typer.Exit:
    errors().print("Stopped.")
    return typer.Exit(_INTERRUPTED)


def _line(error: Exception) -> tuple[str, int]:
    """Return what is said of an error, and the exit code."""
    if isinstance(error, DflError):
        code = code_of(error)
        return f"{error} More: dfl help {code}" if code else str(error), _ERROR
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}.", _ERROR
    # Torch raises an error of its own on an accelerator, and a plain one on the CPU.
    if isinstance(error, MemoryError) or ("allocate" in str(error) and "memory" in str(error)):
        return "not enough memory; take fewer rows, members or a smaller batch_size.", _ERROR
    return (
        f"unforeseen {type(error).__name__}: {error}. This is a fault of dfl; please report it, "
        "with what 'dfl --debug ...' shows.",
        _UNFORESEEN,
    )
