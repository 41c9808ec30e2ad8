"""Counting what would wait for a GPU: numbers that leave it, and sizes that hang on data."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

ATEN = torch.ops.aten
WAITING = {
    ATEN._local_scalar_dense.default,
    ATEN.equal.default,
    ATEN.masked_select.default,
    ATEN.nonzero.default,
    ATEN._unique2.default,
    ATEN.unique_dim.default,
}
COPIES = {torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.tolist}
DFL = str(Path(__file__).resolve().parent.parent / "dfl")


def place() -> str | None:
    """Innermost function of dfl that waits; None for Adam, which counts its steps on the CPU."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if "/torch/optim/" in name:
            return None
        if name.startswith(DFL) and frame.f_code.co_name != "__torch_function__":
            return f"{name.removeprefix(DFL)[1:]}:{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return None


@final
class _Dispatched(TorchDispatchMode):
    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        indexes = func in (ATEN.index.Tensor, ATEN.index_put_.default, ATEN.index_put.default)
        masked = indexes and any(one is not None and one.dtype == torch.bool for one in args[1])
        if (func in WAITING or masked) and (where := place()):
            self.found[where] += 1
        return func(*args, **(kwargs or {}))


@final
class _Called(TorchFunctionMode):
    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in COPIES and (where := place()):
            self.found[where] += 1
        return func(*args, **(kwargs or {}))


def transfers(run: Callable[[], object]) -> Counter[str]:
    """Run something, and return how often each place in dfl would have waited for a GPU."""
    found: Counter[str] = Counter()
    with _Called(found), _Dispatched(found):
        run()
    return found
