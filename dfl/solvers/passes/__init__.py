"""Back ends of the exact solver: one algorithm, and its inner passes for each processor."""

from functools import cache
from importlib.util import find_spec
from typing import Literal, get_args

import torch

from dfl.checks import check_choice
from dfl.errors import InvalidValueError, MissingExtraError
from dfl.kernels import check_triton, triton_asked_for
from dfl.solvers.passes.base import AbstractPasses, Sifted
from dfl.solvers.passes.eager import TorchPasses, cheapest, tournament

__all__ = ["AbstractPasses", "Backend", "Sifted", "cheapest", "passes_for", "tournament"]

Backend = Literal["auto", "torch", "compile", "numba", "triton"]
_BACKENDS = get_args(Backend)


@cache
def numba_installed() -> bool:
    """Say whether numba is there; looking for what is not takes longer than a small decision."""
    return find_spec("numba") is not None


def passes_for(backend: Backend, device: torch.device) -> AbstractPasses:
    """Return the passes of a back end.

    Args:
        backend: ``"torch"``: plain torch, any device. ``"compile"``: torch.compile where it
            pays, any device; the first call of each number of treatments takes many seconds.
            ``"numba"``: compiled loops for the CPU, of the extra ``numba``. ``"triton"``:
            kernels for CUDA devices, of the extra ``triton``. ``"auto"``: triton within
            `dfl.kernels.triton_kernels`, numba where it is installed and the tensors are on the
            CPU, else torch.
        device: where the tensors are.

    Raises:
        InvalidValueError: if the back end does not exist, or not for this device.
        MissingExtraError: if numba or triton was asked for and is not installed.
    """
    check_choice("backend", backend, _BACKENDS)
    on_cpu = device.type == "cpu"
    if backend == "numba" and not numba_installed():
        raise MissingExtraError(
            "backend 'numba' needs a package that is not installed: "
            "pip install 'dfl-toolkit[numba]', or use 'torch'."
        )
    if backend == "numba" and not on_cpu:
        raise InvalidValueError(
            f"backend 'numba' works on the CPU, got tensors on {device}; use 'torch' or 'compile'."
        )
    if backend == "triton" or (backend == "auto" and triton_asked_for(device)):
        check_triton(device)
        from dfl.solvers.passes.triton_gpu import TritonPasses

        return TritonPasses()
    if backend == "numba" or (backend == "auto" and on_cpu and numba_installed()):
        return _numba_passes()
    if backend == "compile":
        from dfl.solvers.passes.compiled import CompiledPasses

        return CompiledPasses()
    return TorchPasses()


@cache
def _numba_passes() -> AbstractPasses:
    from dfl.solvers.passes.numba_cpu import NumbaPasses

    return NumbaPasses()
