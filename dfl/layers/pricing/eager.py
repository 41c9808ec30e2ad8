"""Small services for functions of our own: outside compiled graphs, and quick to call."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast, final

import torch
from torch.autograd import Function

__all__ = ["eagerly", "signed"]

F = TypeVar("F", bound=Callable[..., object])
C = TypeVar("C", bound=type[Function])


def eagerly(function: F) -> F:
    """Return a function that breaks the graph where it is called while being compiled.

    Outside of compilation it is the function itself, and nothing of the compiler is imported.

    Args:
        function: calls solvers or other code that is no torch graph.
    """
    if torch.compiler.is_compiling():
        return cast("F", torch.compiler.disable(function))  # type: ignore[no-untyped-call]
    return function


def signed(function: C) -> C:
    """Spare torch to work out and to bind the signature of ``forward`` at every call.

    That costs more than the arithmetic of a small batch.

    Args:
        function: a class with a static ``forward`` and ``setup_context``, applied to positional
            arguments, all of them given.
    """
    parameters = inspect.signature(function.forward).parameters
    function.forward.__signature__ = _AsGiven([*parameters.values()])  # type: ignore[attr-defined]
    return function


@final
class _AsGiven(inspect.Signature):
    """Takes the arguments as they come."""

    def bind(self, *args: Any, **kwargs: Any) -> "_Given":  # type: ignore[override]
        return _Given(args, kwargs)


@final
@dataclass
class _Given:
    """What torch reads of bound arguments; there is no default to fill in."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def apply_defaults(self) -> None:
        pass
