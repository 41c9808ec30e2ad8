"""What a command did."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

__all__ = ["Dfl", "Outcome"]


class Outcome(NamedTuple):
    """Exit code, everything printed with white space squeezed, and what was raised."""

    code: int
    text: str
    exception: BaseException | None


Dfl: TypeAlias = Callable[..., Outcome]
