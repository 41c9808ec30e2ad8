"""How processes share a batch: each computes with its own rows, and sums are taken over all."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from dfl.errors import DataError, UnsupportedProblemError
from dfl.models import Parameters
from dfl.scale import alone, gathered, over_ranks, rank_of, rows_apart
from dfl.training.rows import Batch, RowPool, part_of

__all__ = ["check_same", "loss_of_all", "share_of", "whole"]


def share_of(batch: Batch) -> tuple[Batch, float]:
    """Return this process's rows of a batch, and their share of it; shares add up to 1.

    A loss that is a mean over rows, plus terms that are free of rows, is the sum over the
    processes of share times loss on the own rows. In one process the batch comes back, and 1.
    """
    size, world = batch.index.shape[-1], rank_of()[1]
    if world == 1:
        return batch, 1.0
    if size < world:  # nobody is left without rows
        return batch, 1 / world
    own = batch.own
    return own, own.index.shape[-1] / size


def loss_of_all(
    loss: Callable[..., Tensor], compute: Callable[[Tensor], tuple[Tensor, ...]], batch: Batch
) -> Tensor:
    """Return a loss that mixes rows, of which each process computes only its own.

    What they computed is exchanged, and every process takes the loss of all rows, by itself. Its
    gradient flows through the own rows alone, times the number of processes, so that the sum
    over the processes of one such part of each is the gradient. First derivatives only.

    Args:
        loss: of what was computed, all rows of it. Returns ``(K,)``, one per network, each of
            that network's rows.
        compute: row by row, from features to tensors ``(K, rows, ...)``.
        batch: all rows.

    Raises:
        UnsupportedProblemError: when it is differentiated twice in several processes.
    """
    if rank_of()[1] == 1:
        return loss(*compute(batch.features))
    own = compute(batch.own.features)
    found: Tensor = _LossOfAll.apply(loss, batch.index.shape[-1], *own)  # type: ignore[no-untyped-call]  # torch's
    return found


def whole(compute: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Compute ``(K, rows, ...)`` without a graph, each process its own rows; all get all.

    Rows that no other process has are computed here.

    Args:
        compute: row by row, from features ``(rows, F)``.
        features: of all rows. Shape ``(rows, F)``.
    """
    if rank_of()[1] == 1 or rows_apart():
        return compute(features)
    size = features.shape[-2]
    return _exchanged(compute(features[_own(size)]).detach(), size)


def check_same(pool: RowPool, parameters: Parameters) -> None:
    """Refuse processes that were given different seeds, or rows, where all should have all.

    Raises:
        DataError: if they were.
    """
    if rank_of()[1] == 1:
        return
    apart = pool.exchange is not None
    rows = () if apart else (pool.features, pool.treatment, pool.outcome)
    columns = (*rows, *parameters.values())
    sums = torch.stack([column.detach().double().sum().cpu() for column in columns])
    first, *others = gathered((pool.total, sums))
    for total, found in others:
        if total != first[0] or not torch.allclose(found, first[1], rtol=1e-9, atol=1e-12):
            same = "" if apart else "the same rows, in the same order, "
            raise DataError(
                f"processes that train together must be given {same}the same method and seed; "
                "got others."
            )


def _own(size: int) -> slice:
    return part_of(size, *rank_of())


def _exchanged(own: Tensor, size: int) -> Tensor:
    """Return all rows ``(K, size, ...)`` of which every process has its own."""
    rows = own.new_zeros(own.shape[0], size, *own.shape[2:])
    rows[:, _own(size)] = own
    return over_ranks(rows)


@final
class _LossOfAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Callable[..., Tensor], size: int, *own: Tensor) -> Tensor:
        given = [_exchanged(each.detach(), size) for each in own]
        wanted = any(ctx.needs_input_grad[2:])
        # Solvers inside the loss see all rows; none of their sums may go over the processes.
        with alone(), torch.set_grad_enabled(wanted):
            leaves = [each.requires_grad_(wanted) for each in given]
            value = loss(*leaves)
            if wanted:
                found = torch.autograd.grad(value.sum(), leaves, materialize_grads=True)
        if wanted:
            world = rank_of()[1]
            ctx.save_for_backward(*(world * each[:, _own(size)] for each in found))
        return value.detach()

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:  # (K,)
        if torch.is_grad_enabled():  # by create_graph
            raise UnsupportedProblemError(
                "a loss that mixes rows has first derivatives only where several processes train "
                "together: differentiate it twice in one process."
            )
        slopes = [
            slope * weight.reshape(-1, *(1,) * (slope.ndim - 1)) for slope in ctx.saved_tensors
        ]
        return (None, None, *slopes)
