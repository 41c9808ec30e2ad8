"""Checks of options, each with one text for all of dfl; checks of tensors that wait for no GPU."""

import math
import operator
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from dfl.errors import DflError, DTypeError, InvalidValueError, UnsupportedProblemError

__all__ = [
    "check_choice",
    "check_count",
    "check_number",
    "check_part",
    "check_seed",
    "check_several",
    "check_unmapped",
    "checks_put_off",
    "is_whole",
    "put_off",
    "putting_off",
]

_flags: ContextVar[dict[str, Tensor] | None] = ContextVar("flags", default=None)
_AT_ONCE = ("cpu",)  # devices whose numbers are at hand


def check_number(
    name: str,
    value: float | Tensor,
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
        value: what came; a tensor of one number is that number.
        above: the value must be larger.
        at_least: the value must be as large or larger.
        below: the value must be smaller.
        at_most: the value must be as small or smaller.
        finite: whether infinity is refused even where it lies within the range.
        error: what to raise.

    Raises:
        InvalidValueError: ``temperature must be > 0, got -1.``; or ``error``.
    """
    given = _as_float(name, value, error)
    value = value if isinstance(value, int) else given  # whole numbers are compared exactly
    inside = not math.isnan(given) and not (finite and math.isinf(given))
    inside = inside and (above is None or value > above) and (below is None or value < below)
    inside = inside and (at_least is None or value >= at_least)
    if not inside or not (at_most is None or value <= at_most):
        limits = _limits(above, at_least, below, at_most)
        wanted = " and ".join(filter(None, (limits, "finite" if math.isinf(given) else "")))
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
    if not is_whole(value):
        raise error(f"{name} must be a whole number >= {at_least}, got {value}.")


def is_whole(value: object) -> bool:
    """Say whether a value counts, as an int does; 2.0 does not, whatever its size."""
    try:
        operator.index(value)  # type: ignore[arg-type]  # any object is tried
    except TypeError:
        return False
    return True


def check_tensor(name: str, value: object) -> None:
    """Check that an argument is a tensor, and that its numbers are there.

    Raises:
        DTypeError: ``cost must be a tensor, got list; torch.as_tensor makes one.``
    """
    if not isinstance(value, Tensor):
        raise DTypeError(
            f"{name} must be a tensor, got {type(value).__name__}; torch.as_tensor makes one."
        )
    if value.is_meta or value.layout != torch.strided:
        came = "the device meta" if value.is_meta else str(value.layout)
        raise DTypeError(
            f"{name} must hold its numbers densely, got {came}; use .to_dense(), or a tensor with "
            "numbers."
        )


def check_unmapped(name: str, value: Tensor, instead: str) -> None:
    """Check that a tensor is not inside a transform of `torch.func`.

    Args:
        name: of the argument, for the message.
        value: what came.
        instead: what to do, for the message.

    Raises:
        UnsupportedProblemError: ``outer['b'] must be outside of torch.func.vmap and grad, which
            cannot go through here; ...``
    """
    if torch.compiler.is_compiling():
        return  # which knows nothing of functorch's own questions
    if torch._C._functorch.is_functorch_wrapped_tensor(value):
        raise UnsupportedProblemError(
            f"{name} must be outside of torch.func.vmap and grad, which cannot go through here; "
            f"{instead}."
        )


def check_part(name: str, value: object, interface: type, example: str) -> None:
    """Check that an argument is a part of the kind that is needed, not its name or its class.

    Args:
        name: of the argument, for the message.
        value: what came.
        interface: class of which it must be an instance.
        example: calls that make one.

    Raises:
        InvalidValueError: ``layer must be an instance of AbstractLayer, got 'softmax'; Softmax()
            or LAYERS.make(name) makes one.``
    """
    if not isinstance(value, interface):
        shown = " ".join(repr(value).split())
        raise InvalidValueError(
            f"{name} must be an instance of {interface.__name__}, got {shown[:80]}; {example} "
            "makes one."
        )


def check_seed(value: object, name: str = "seed") -> None:
    """Check that a seed is a whole number of 64 bits, of any sign.

    Raises:
        InvalidValueError: ``seed must be a whole number of 64 bits, got 1.0.``
    """
    if not is_whole(value) or not -(2**63) <= operator.index(value) < 2**64:  # type: ignore[arg-type]  # is_whole
        raise InvalidValueError(f"{name} must be a whole number of 64 bits, got {value!r}.")


def check_several(name: str, values: object, of: type = object) -> None:
    """Check that an option is a tuple, or another collection, of values of one type.

    Raises:
        InvalidValueError: ``budgets must be a tuple of Budget, got (0.3,).``
    """
    several = isinstance(values, Collection) and not isinstance(values, str)
    if not several or not all(isinstance(one, of) for one in values):  # type: ignore[attr-defined]  # several
        kind = "" if of is object else f" of {of.__name__}"
        raise InvalidValueError(f"{name} must be a tuple{kind}, got {values!r}.")


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


def _as_float(name: str, value: float | Tensor, error: type[DflError]) -> float:
    """Return a number, or a tensor or array of one, as a float."""
    try:
        if hasattr(value, "__float__"):  # which text has not, and float() reads
            return float(value)
    except OverflowError:
        raise error(f"{name} must be finite, got a whole number of over 308 digits.") from None
    except (TypeError, ValueError, RuntimeError):  # of several numbers, or of none
        pass
    shown = " ".join(repr(value).split())
    raise error(f"{name} must be a number, got {shown[:80]}.")


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


@contextmanager
def checks_put_off(device: torch.device) -> Iterator[None]:
    """Look at what is checked within a ``with`` once, at its end, unless the device is the CPU.

    Whoever reads a number waits until a GPU has done all that it was given, and leaves it idle.
    At the end the texts of all checks that failed are known, but no longer which entry it was.

    Args:
        device: where the numbers are.

    Raises:
        InvalidValueError: with the text of the first check that failed.
    """
    if device.type in _AT_ONCE:
        yield
        return
    flags: dict[str, Tensor] = {}
    token = _flags.set(flags)
    try:
        yield
    finally:
        _flags.reset(token)
    kept = [*flags.values()]
    sound = torch.stack([one.to(kept[0].device) for one in kept]).tolist() if kept else []
    for text, held in zip(flags, sound, strict=True):
        if not held:
            raise InvalidValueError(f"{text} (Seen after the last step of the epoch.)")


def putting_off() -> bool:
    """Say whether checks are put off."""
    return _flags.get() is not None


def put_off(sound: Tensor, text: str) -> bool:
    """Keep a check for later, if they are put off, and say so.

    Args:
        sound: whether all is well, bool, of shape ``()``.
        text: what was expected, what came and what to do; checks of one text count as one.
    """
    flags = _flags.get()
    if flags is None:
        return False
    flags[text] = flags[text] & sound if text in flags else sound
    return True
