"""`OwnDraws`: what torch draws in one thread comes from one generator, in float32."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["OwnDraws"]

_DRAWN = ("rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like")
_CHOSEN = ("normal", "bernoulli", "multinomial", "poisson")
_FILLED = ("bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_")
_DRAWING = frozenset((*_DRAWN, *_CHOSEN, *_FILLED, "random_", "uniform_"))
_MAKING = frozenset(("empty", "zeros", "ones", "rand", "randn"))  # of the default dtype


@final
class OwnDraws(TorchFunctionMode):
    """Gives functions that draw a generator, and those that make tensors a dtype.

    Torch's own generator and default dtype belong to the whole process: who changes them, be it
    for a moment, changes them for other threads. A mode is one thread's.

    Args:
        generator: on the CPU; draws that name another keep that.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function."""
        options, name = dict(kwargs or {}), getattr(func, "__name__", "")
        draws = name in _DRAWING or "generator" in options  # torch.nn.init passes None on
        if draws and options.get("generator") is None:
            options["generator"] = self._generator
        if name in _MAKING and options.get("dtype") is None:
            options["dtype"] = torch.float32
        return func(*args, **options)
