"""Processes that share the rows: the one place where they speak to each other."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, TypeVar, final

import torch
from torch import Tensor, distributed

from dfl.errors import DflError, ProcessError, UnsupportedProblemError

__all__ = [
    "all_over_ranks",
    "alone",
    "check_bare",
    "from_first",
    "gathered",
    "handed_out",
    "joined",
    "leads",
    "over_ranks",
    "over_rows",
    "rank_of",
    "rows_apart",
    "sent_around",
    "together",
]

T = TypeVar("T")

_Mode: TypeAlias = Literal["alone", "own rows", "same rows", "together"]

_modes: list[_Mode] = []
"""The innermost block decides; without one, each process has rows of its own."""


def rank_of() -> tuple[int, int]:
    """Return the number of this process and how many there are: (0, 1) without torchrun."""
    if not _initialised() or (_modes and _modes[-1] in ("alone", "same rows")):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def rows_apart() -> bool:
    """Say whether several processes work, and each was given rows of its own."""
    return rank_of()[1] > 1 and (not _modes or _modes[-1] == "own rows")


def leads() -> bool:
    """Say whether this process is the first, whatever block runs: it writes and speaks for all."""
    return not _initialised() or distributed.get_rank() == 0


@contextmanager
def joined(*, same_rows: bool = False) -> Iterator[None]:
    """Join the processes that torchrun started while the block runs; else do nothing.

    They speak over gloo, and over nccl where each has a GPU of its own. A group that stands
    already is used and left as it is.

    Args:
        same_rows: every process is given all rows, and computes by itself but for what methods
            share of their training; else every process is given rows of its own, and what is
            computed is that of all of them, in the order of the processes.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ
    begins = several and distributed.is_available() and not distributed.is_initialized()
    if begins:
        distributed.init_process_group(_backend())
    try:
        with _mode("same rows" if same_rows else "own rows"):
            yield
    finally:
        if begins:
            distributed.destroy_process_group()


def _backend() -> str:
    """Choose how processes speak, and which GPU is this one's."""
    place, here = (int(os.environ.get(key, "0")) for key in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    if torch.cuda.is_available():
        torch.cuda.set_device(place % torch.cuda.device_count())
        if 0 < here <= torch.cuda.device_count():
            return "cpu:gloo,cuda:nccl"
    return "gloo"


@contextmanager
def alone() -> Iterator[None]:
    """Let every process compute by itself, on rows that all of them have, while the block runs."""
    with _mode("alone"):
        yield


@contextmanager
def together() -> Iterator[None]:
    """Let processes that all have the same rows share the work on them while the block runs.

    Where each has rows of its own they share it already, and nothing changes.
    """
    if rows_apart() or (_modes and _modes[-1] == "alone"):
        yield
        return
    with _mode("together"):
        yield


@contextmanager
def _mode(name: _Mode) -> Iterator[None]:
    _modes.append(name)
    try:
        yield
    finally:
        _modes.pop()


def _initialised() -> bool:
    return distributed.is_available() and distributed.is_initialized()


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


def over_rows(value: Tensor) -> Tensor:
    """Return the sum over the processes where each has rows of its own, else the value itself."""
    return over_ranks(value) if rows_apart() else value


def all_over_ranks(values: Sequence[Tensor]) -> list[Tensor]:
    """Return the sums of several tensors over all processes, exchanged in one message; see above.

    Args:
        values: tensors of one device; of one dtype, if they are to go as one.
    """
    if rank_of()[1] == 1:
        return list(values)
    if len({value.dtype for value in values}) > 1:
        return [over_ranks(value) for value in values]
    total = over_ranks(torch.cat([value.reshape(-1) for value in values]))
    parts = torch.split(total, [value.numel() for value in values])
    return [part.reshape(value.shape) for part, value in zip(parts, values, strict=True)]


def gathered(value: Any) -> list[Any]:
    """Return what every process holds, in their order; all must call it, and all get the same.

    Args:
        value: plain data, arrays or tensors of a few megabytes.
    """
    world = rank_of()[1]
    if world == 1:
        return [value]
    found: list[Any] = [None] * world
    with _speaking():
        distributed.all_gather_object(found, value)
    return found


def from_first(make: Callable[[], T]) -> T:
    """Return what the first process makes, in all of them; so is its error, if it is ours.

    Raises:
        DflError: whatever ``make`` raises.
    """
    rank, world = rank_of()
    if world == 1:
        return make()
    found: list[Any] = [None, None]
    if rank == 0:
        try:
            found[0] = make()
        except DflError as error:
            found[1] = error
    with _speaking():
        distributed.broadcast_object_list(found)
    if found[1] is not None:
        raise found[1]
    answer: T = found[0]
    return answer


def handed_out(make: Callable[[int], T]) -> T:
    """Return what the first process makes for each of them, by its number, one after the other.

    Args:
        make: called in the first process alone.
    """
    rank, world = rank_of()
    if rank == 0:
        for other in range(1, world):
            with _speaking():
                distributed.send_object_list([make(other)], other)
        return make(0)
    found: list[Any] = [None]
    with _speaking():
        distributed.recv_object_list(found, 0)
    answer: T = found[0]
    return answer


def sent_around(rows: Tensor, given: Sequence[int], taken: Sequence[int]) -> Tensor:
    """Send some rows of a table to each process, and return what all sent to this one.

    It takes all processes of the group, whatever block runs.

    Args:
        rows: those for process 0, for process 1 and so on. Shape ``(sum(given), C)``.
        given: how many of them each process is sent.
        taken: how many rows each process sends here.

    Returns:
        The rows of process 0, of process 1 and so on. Shape ``(sum(taken), C)``.
    """
    found = rows.new_empty(sum(taken), rows.shape[1])
    with _speaking():
        distributed.all_to_all_single(found, rows.contiguous(), [*taken], [*given])
    return found


@contextmanager
def _speaking() -> Iterator[None]:
    """Say in words that another process has gone.

    Raises:
        ProcessError: if the processes cannot speak to each other any more.
    """
    try:
        yield
    except RuntimeError as error:
        raise ProcessError(
            "another of the processes that work together has ended or does not answer; what it "
            "said tells why. Start all of them again; dfl run goes on with --resume. "
            f"({str(error).partition('. ')[0]})"
        ) from error


def check_bare(name: str, parameters: Mapping[str, Tensor]) -> None:
    """Refuse parameters of a wrapped module: the wrappers know no second derivatives.

    Raises:
        UnsupportedProblemError: if they are those of FSDP, or, where several processes share
            the rows, of DDP.
    """
    sharded = any(
        "_fsdp_wrapped_module" in key or type(value).__name__ in ("DTensor", "FlatParameter")
        for key, value in parameters.items()
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
        with _speaking():
            distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, slope: Tensor) -> Tensor:
        return over_ranks(slope)
