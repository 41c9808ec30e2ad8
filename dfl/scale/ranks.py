"""Processes that share the rows: the one place where they speak to each other."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, distributed

from dfl.errors import UnsupportedProblemError

__all__ = ["alone", "check_bare", "gathered", "joined", "over_ranks", "rank_of"]

_apart: list[bool] = []


def rank_of() -> tuple[int, int]:
    """Return the number of this process and how many there are: (0, 1) without torchrun."""
    if _apart or not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun started, over gloo, while the block runs; else do nothing.

    A group that stands already is used and left as it is.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ
    if not several or not distributed.is_available() or distributed.is_initialized():
        yield
        return
    distributed.init_process_group("gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def alone() -> Iterator[None]:
    """Let every process compute by itself, on rows that all of them have, while the block runs."""
    _apart.append(True)
    try:
        yield
    finally:
        _apart.pop()


def over_ranks(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes that share the rows.

    Spend at a price, gradients, and products of curvature with a vector are sums over rows,
    so rows can be spread over processes as soon as these sums are. In one process the sum is
    the value itself, and nothing is copied.

    What is differentiated is a process's own part of a sum over all of them, so a gradient
    that comes back through this sum is added up over the processes, too.
    """
    if rank_of()[1] == 1:
        return value
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]  # torch's own
    return total


def gathered(value: Any) -> list[Any]:
    """Return what every process holds, in their order; all must call it, and all get the same.

    Args:
        value: plain data, arrays or tensors of a few megabytes.
    """
    world = rank_of()[1]
    if world == 1:
        return [value]
    found: list[Any] = [None] * world
    distributed.all_gather_object(found, value)
    return found


def check_bare(name: str, parameters: Mapping[str, Tensor]) -> None:
    """Refuse parameters of a wrapped module: the wrappers know no second derivatives.

    Raises:
        UnsupportedProblemError: if they are those of FSDP, or, where several processes share
            the rows, of DDP.
    """
    sharded = any(
        type(value).__name__ in ("DTensor", "FlatParameter") for value in parameters.values()
    )
    prefixed = all(key.startswith("module.") for key in parameters) and rank_of()[1] > 1
    if sharded or prefixed:
        raise UnsupportedProblemError(
            f"{name} holds parameters of a module wrapped in {'FSDP' if sharded else 'DDP'}, whose "
            "second derivatives are wrong without a word or fail: give those of the bare module; "
            "gradients and products of curvature are added up over the processes here."
        )


@final
class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        total = value.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, slope: Tensor) -> Tensor:
        return over_ranks(slope)
