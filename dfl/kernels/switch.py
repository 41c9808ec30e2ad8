"""The switch between plain torch and the kernels, and what a kernel can take."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from os import environ

import torch
from torch import Tensor

from dfl.errors import InvalidValueError, MissingExtraError

__all__ = ["by_triton", "check_triton", "triton_asked_for", "triton_kernels"]

_on: ContextVar[bool] = ContextVar("triton_kernels", default=False)
_KINDS = (torch.float32, torch.float64, torch.int64)


@contextmanager
def triton_kernels() -> Iterator[None]:
    """Let CUDA tensors go to Triton's kernels within a ``with``; all others go on as before.

    Kernels give what the plain operations give but for rounding, decisions included. They stand
    beside: the exact solver's decision and bracket pass (`decide`, ``backend="auto"``), the
    shares of received treatments and the value of logged rows (`Softmax`, `PrimalPolicy`), the
    choice under normal noise (`PerturbedArgmax`) and the projection on the simplex (`Quadratic`).

    Raises:
        MissingExtraError: if triton is not installed.
    """
    _check_installed()
    token = _on.set(True)
    try:
        yield
    finally:
        _on.reset(token)


def by_triton(*tensors: Tensor) -> bool:
    """Say whether these tensors are to go to a kernel: asked for, and none is beyond it.

    Beyond it are other dtypes, devices without CUDA (unless Triton interprets), tensors that a
    `torch.func.vmap` has wrapped, and those that need a graph.
    """
    return all(
        triton_asked_for(tensor.device)
        and tensor.dtype in _KINDS
        and not (tensor.requires_grad and torch.is_grad_enabled())
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        for tensor in tensors
    )


def triton_asked_for(device: torch.device) -> bool:
    """Say whether kernels are on, and for this device."""
    return _on.get() and not torch.compiler.is_compiling() and _runs_on(device)


def check_triton(device: torch.device) -> None:
    """Refuse to go on without triton, or on a device for which it makes no code.

    Raises:
        MissingExtraError: if triton is not installed.
        InvalidValueError: if the device is not CUDA's, and Triton does not interpret.
    """
    _check_installed()
    if not _runs_on(device):
        raise InvalidValueError(
            f"backend 'triton' works on CUDA devices, got tensors on {device}; use 'torch', or set "
            "TRITON_INTERPRET=1 to try it, slowly, on the CPU."
        )


def _check_installed() -> None:
    """Refuse to go on without triton.

    Raises:
        MissingExtraError: if it is not installed.
    """
    if find_spec("triton") is None:
        raise MissingExtraError(
            "Triton kernels need a package that is not installed: pip install 'dfl-toolkit[triton]'"
            ", or use plain torch."
        )


def _runs_on(device: torch.device) -> bool:
    return device.type == "cuda" or (
        device.type == "cpu" and environ.get("TRITON_INTERPRET") == "1"
    )
