"""What a command did."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from typer.testing import CliRunner

from dfl.cli import app

__all__ = ["Dfl", "Outcome", "invoke"]


class Outcome(NamedTuple):
    """Exit code, everything printed with white space squeezed, and what was raised."""

    code: int
    text: str
    exception: BaseException | None


Dfl: TypeAlias = Callable[..., Outcome]


def invoke(*arguments: object) -> Outcome:
    """Run a command in this process."""
    found = CliRunner().invoke(app, [str(one) for one in arguments])
    return Outcome(found.exit_code, " ".join(found.output.split()), found.exception)
