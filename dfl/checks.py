"""Checks of single options, each with the one text that every part of dfl uses."""

import math
from collections.abc import Collection

from dfl.errors import DflError, InvalidValueError

__all__ = ["check_choice", "check_count", "check_number"]


def check_number(
    name: str,
    value: float,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    finite: bool = True,
    error: type[DflError] = InvalidValueError,
) -> None:
    """Check that an option lies in its range; NaN lies in none.

    Args:
        name: of the option, for the message.
        value: what came.
        above: the value must be larger.
        at_least: the value must be as large or larger.
        below: the value must be smaller.
        at_most: the value must be as small or smaller.
        finite: whether infinity is refused even where it lies within the range.
        error: what to raise.

    Raises:
        InvalidValueError: ``temperature must be > 0, got -1.``; or ``error``.
    """
    if not hasattr(value, "__float__"):
        raise error(f"{name} must be a number, got {value!r}.")
    inside = not math.isnan(value) and not (finite and math.isinf(value))
    inside = inside and (above is None or value > above) and (below is None or value < below)
    inside = inside and (at_least is None or value >= at_least)
    if not inside or not (at_most is None or value <= at_most):
        limits = _limits(above, at_least, below, at_most)
        wanted = " and ".join(filter(None, (limits, "finite" if math.isinf(value) else "")))
        shown = value if isinstance(value, int) else f"{value:g}"
        raise error(f"{name} must be {wanted or 'a number'}, got {shown}.")


def check_count(
    name: str, value: int, *, at_least: int, error: type[DflError] = InvalidValueError
) -> None:
    """Check that an option is a whole number, and as large as ``at_least`` or larger.

    Raises:
        InvalidValueError: ``max_iter must be >= 1, got 0.``; or ``error``.
    """
    check_number(name, value, at_least=at_least, error=error)
    if value != int(value):
        raise error(f"{name} must be a whole number >= {at_least}, got {value:g}.")


def check_choice(
    name: str,
    value: object,
    known: Collection[object],
    *,
    error: type[DflError] = InvalidValueError,
) -> None:
    """Check that an option is one of the words it may be.

    Raises:
        InvalidValueError: ``rows must be one of 'rct', 'obs', got 'all'.``; or ``error``.
    """
    if value not in known:
        raise error(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}.")


def _limits(
    above: float | None, at_least: float | None, below: float | None, at_most: float | None
) -> str:
    """Return a range in words: ``> 0``, ``in [0, 1)``, or nothing where there is no limit."""
    low = f"({above:g}" if above is not None else None
    low = f"[{at_least:g}" if at_least is not None else low
    high = f"{below:g})" if below is not None else None
    high = f"{at_most:g}]" if at_most is not None else high
    if low and high:
        return f"in {low}, {high}"
    if low:
        return ("> " if low[0] == "(" else ">= ") + low[1:]
    return "" if high is None else ("< " if high[-1] == ")" else "<= ") + high[:-1]
