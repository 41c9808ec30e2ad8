"""Decisions that maximise a linear objective, as the layers over any argmax take them."""

from collections.abc import Callable
from typing import Any, TypeAlias, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfl.errors import DTypeError, ShapeError
from dfl.layers.pricing.problems import eagerly, signed

__all__ = ["Argmax", "decide_rows", "each_row", "hard_decision", "one_hot_argmax"]

Argmax: TypeAlias = Callable[[Tensor], Tensor]
"""Maps values ``(batch, D)`` to decisions ``(batch, D)`` that maximise ``value @ decision``.

Rows are separate instances. It is called without gradients; its results need no graph. One that
minimises costs is called with minus the value by a wrapper: ``lambda value: shortest(-value)``.
"""


def one_hot_argmax(values: Tensor) -> Tensor:  # (..., D) -> (..., D)
    """Choose the one largest entry of each row; ties go to the lower index.

    Args:
        values: value of each entry. Shape ``(..., D)``.

    Returns:
        1 at the largest entry and 0 elsewhere, in the dtype of ``values``.
    """
    best = values.argmax(dim=-1, keepdim=True)
    return torch.zeros_like(values).scatter_(-1, best, 1)


def each_row(solve: Callable[[NDArray[Any]], Any]) -> Argmax:
    """Turn a function of one instance in numpy into an argmax over a batch.

    Args:
        solve: maps one value vector ``(D,)`` to its best decision ``(D,)``, as an array or a
            sequence of numbers; it must not keep or change what it is given.

    Returns:
        An `Argmax` on the device and in the dtype of its input.
    """

    def argmax(values: Tensor) -> Tensor:
        rows = values.detach().cpu().numpy()
        if not len(rows):
            return torch.empty_like(values)
        # Joining is several times faster than writing row by row.
        found = np.concatenate(list(map(solve, rows)))
        return torch.from_numpy(found.reshape(len(rows), -1)).to(values)

    return argmax


def decide_rows(argmax: Argmax, values: Tensor) -> Tensor:  # (..., D) -> (..., D)
    """Call an argmax on all leading axes at once, and check what comes back.

    To be called where gradients are off, as in the forward pass of a function of our own.

    Args:
        argmax: see `Argmax`.
        values: value of each entry. Shape ``(..., D)``.

    Returns:
        Decisions ``(..., D)`` in the dtype of ``values``.

    Raises:
        ShapeError: if values have no axis, or the decision has another shape than the values.
        DTypeError: if the values are not floating point.
    """
    if values.ndim == 0:
        raise ShapeError("values must be (..., D), got a scalar.")
    if not values.is_floating_point():
        raise DTypeError(f"values must be floating point, got {values.dtype}.")
    rows = values.reshape(-1, values.shape[-1])
    decision = argmax(rows)
    if decision.shape != rows.shape:
        raise ShapeError(
            f"argmax must return decisions of the shape of its values, {tuple(rows.shape)}, got "
            f"{tuple(decision.shape)}; let it return one number per value."
        )
    return decision.to(values).reshape(values.shape)


def hard_decision(argmax: Argmax, values: Tensor) -> Tensor:  # (..., D) -> (..., D)
    """Decide, as a constant for gradients; `torch.func.vmap` passes all rows at once.

    Args:
        argmax: see `Argmax`.
        values: value of each entry. Shape ``(..., D)``.

    Raises:
        ShapeError: if values have no axis, or the decision has another shape than the values.
        DTypeError: if the values are not floating point.
    """
    return cast("Tensor", eagerly(_Hard.apply)(argmax, values.detach()))  # type: ignore[no-untyped-call]


@final
@signed
class _Hard(torch.autograd.Function):
    @staticmethod
    def forward(argmax: Argmax, values: Tensor) -> Tensor:
        return decide_rows(argmax, values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Argmax, Tensor], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[None, int], argmax: Argmax, values: Tensor
    ) -> tuple[Tensor, int]:
        return hard_decision(argmax, values.movedim(in_dims[1], 0)), 0
