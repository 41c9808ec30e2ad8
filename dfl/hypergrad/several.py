"""`several_hypergradients`: one hypergradient for each of several outer losses."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import vmap

from dfl.errors import InvalidValueError
from dfl.hypergrad.base import AbstractHypergradient, Hypergradient, Loss, Parameters
from dfl.hypergrad.composed_loss import ComposedLoss

__all__ = ["several_hypergradients"]


def several_hypergradients(
    method: AbstractHypergradient,
    inner_loss: Loss,
    outer_losses: Sequence[Loss],
    inner: Parameters,
    outer: Parameters,
) -> Hypergradient:
    """Return the hypergradients of several outer losses at one inner optimum.

    The inner problem is repeated along a member axis, one copy per outer loss, so that all
    right-hand sides share each product. Each product costs as much as there are outer
    losses; fewer, wider operations are what is saved.

    Args:
        method: any hypergradient.
        inner_loss: ``f(inner, outer)``, a scalar, of operations that `torch.func.vmap` knows.
        outer_losses: at least one ``F(inner, outer)``, a scalar each.
        inner: inner parameters, without a member axis.
        outer: outer parameters, likewise.

    Returns:
        Everything with a leading axis of outer losses: ``outer_grad[name][k]`` is the
        derivative of outer loss ``k``, the rows of a Jacobian.

    Raises:
        InvalidValueError: if there is no outer loss, and as ``method`` does.
        ShapeError: if a loss is not a scalar.
    """
    if not outer_losses:
        raise InvalidValueError("outer_losses must hold at least one loss, got none.")
    count = len(outer_losses)

    def all_losses(inners: Parameters, outers: Parameters) -> Tensor:
        values = [
            loss(_member(inners, index), _member(outers, index))
            for index, loss in enumerate(outer_losses)
        ]
        return torch.stack(values)

    inners, outers = (
        {name: value.detach().expand(count, *value.shape) for name, value in each.items()}
        for each in (inner, outer)
    )
    return method(_repeated(inner_loss), all_losses, inners, outers)


def _repeated(loss: Loss) -> Loss:
    if isinstance(loss, ComposedLoss):
        return ComposedLoss(vmap(loss.outputs), vmap(loss.criterion))
    repeated: Loss = vmap(loss)
    return repeated


def _member(parameters: Parameters, index: int) -> Parameters:
    return {name: value[index] for name, value in parameters.items()}
