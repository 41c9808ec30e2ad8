"""``dfl help``, and the hint that leads there from a message."""

import inspect

import dfl.errors
from dfl.cli.console import say, show
from dfl.cli.document import publish
from dfl.errors import DflError, UnknownNameError
from dfl.registry import unknown_name
from dfl.report import Table

__all__ = ["ERRORS", "code_of", "help_command"]

ERRORS: dict[str, type[DflError]] = {
    name.removesuffix("Error"): getattr(dfl.errors, name)
    for name in dfl.errors.__all__
    if name != "DflError"
}
"""Every kind of error by its code: ``InfeasibleBudget``."""


def code_of(error: DflError) -> str:
    """Return the code of an error, or of the nearest kind that it derives from; else nothing."""
    return next(
        (cls.__name__.removesuffix("Error") for cls in type(error).__mro__ if _ours(cls)), ""
    )


def _ours(cls: type) -> bool:
    return cls in ERRORS.values()


def help_command(code: str | None) -> None:
    """Print what causes one kind of error and what helps, or a line on each kind.

    Args:
        code: with or without ``Error`` at its end, in any case; None: all.

    Raises:
        UnknownNameError: if there is no such kind.
    """
    if code is None:
        lines = [(name, _about(cls).split("\n")[0]) for name, cls in ERRORS.items()]
        note = "dfl help CODE says more; dfl COMMAND --help explains a command."
        show(Table("Errors", ("code", "what it is"), lines, note, words=2))
        publish(dict(lines))
        return
    by_letters = {name.lower(): name for name in ERRORS}
    name = by_letters.get(code.lower().removesuffix("error").replace("-", ""))
    if name is None:
        said = unknown_name("codes of errors", code, ERRORS)
        raise UnknownNameError(f"{said} A command explains itself: dfl COMMAND --help.")
    say(f"{name}Error\n\n{_about(ERRORS[name])}")
    publish({name: _about(ERRORS[name])})


def _about(cls: type[DflError]) -> str:
    return (inspect.getdoc(cls) or "").replace("``", "`")
