"""Decisions that maximise a linear objective, as the layers over any argmax take them."""

from collections.abc import Callable
from typing import Any, TypeAlias, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfl.checks import check_tensor
from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.layers.pricing.options import score_scale
from dfl.layers.pricing.problems import check_allowed, eagerly, signed, upcast

__all__ = [
    "Argmax",
    "check_argmax",
    "check_values",
    "decide_rows",
    "each_row",
    "hard_decision",
    "one_hot_argmax",
    "only",
    "prepare",
]

_FAR = 1e6  # how far below the rest what is not allowed lies

Argmax: TypeAlias = Callable[[Tensor], Tensor]
"""Maps values ``(batch, D)`` to decisions ``(batch, D)`` that maximise ``value @ decision``.

Rows are separate instances. It is called without gradients; its results need no graph. It gets a
copy of the values, which it may overwrite, and its results are copied, so that it may return the
same memory each time. One that minimises costs is called with minus the value by a wrapper:
``lambda value: shortest(-value)``.
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
            sequence of numbers; it may overwrite what it is given.

    Returns:
        An `Argmax` on the device and in the dtype of its input. It raises `ShapeError` where
        ``solve`` returns no ``D`` numbers.
    """

    def argmax(values: Tensor) -> Tensor:
        plain = values.detach().cpu()
        # numpy knows no bfloat16
        rows = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy().copy()
        if not len(rows):
            return torch.empty_like(values)
        found = [np.array(solve(row)) for row in rows]  # copied: solve may use one array again
        for one in found:
            if one.size != rows.shape[1] or one.dtype.kind not in "fiub":
                raise ShapeError(
                    f"solve must return {rows.shape[1]} numbers, got {one!r}; let it return one "
                    "number per value."
                )
        # Joining is several times faster than writing row by row.
        return torch.from_numpy(np.concatenate(found, axis=None).reshape(rows.shape)).to(values)

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
        DTypeError: if the values are not floating point, or the argmax returns no tensor.
        InvalidValueError: if a value is NaN.
    """
    check_values(values)
    rows = values.reshape(values.shape[:-1].numel(), values.shape[-1]).clone()
    shape = tuple(rows.shape)
    if bool(rows.numel()) and bool(rows.amax().isnan()):
        raise InvalidValueError(
            "values must not be NaN, for no argmax can decide on it; look at what the model "
            "predicts."
        )
    decision: object = argmax(rows)
    if not isinstance(decision, Tensor):
        raise DTypeError(
            f"argmax must return a tensor of decisions, got {type(decision).__name__}; return one, "
            "or wrap a function of numpy by each_row."
        )
    if tuple(decision.shape) != shape:
        raise ShapeError(
            f"argmax must return decisions of the shape of its values, {shape}, got "
            f"{tuple(decision.shape)}; let it return one number per value."
        )
    return decision.to(values, copy=True).reshape(values.shape)


def check_argmax(argmax: object) -> None:
    """Refuse what cannot be called, where a layer is made.

    Raises:
        InvalidValueError: if it cannot.
    """
    if not callable(argmax):
        raise InvalidValueError(
            f"argmax must be a function from values to decisions, got {argmax!r}; each_row makes "
            "one of a solver for numpy."
        )


def check_values(values: Tensor, name: str = "values") -> None:
    """Refuse values that no argmax takes.

    Raises:
        ShapeError: if they have no axis.
        DTypeError: if they are no tensor, or not floating point.
    """
    check_tensor(name, values)
    if values.ndim == 0:
        raise ShapeError(f"{name} must be (..., D), got a scalar.")
    if not values.is_floating_point():
        raise DTypeError(f"{name} must be floating point, got {values.dtype}.")


def prepare(values: Tensor, allowed: Tensor | None, noise: float = 0.0) -> Tensor:
    """Return values ``(..., D)`` for an argmax, in float32 under autocast.

    Entries that are not allowed are finite, and lower than the others of their row by a million
    times the noise and the size and scale of all that are.

    Args:
        values: value of each entry. Shape ``(..., D)``.
        allowed: which entries may be chosen, None for all. bool, shape of ``values``, or one
            that expands to it.
        noise: size of what is added to the values.

    Raises:
        ShapeError: if values have no axis, or ``allowed`` does not fit.
        DTypeError: if values are not floating point, or ``allowed`` is not bool.
        InvalidValueError: if a row has no entry that is allowed.
    """
    check_values(values)
    values = upcast(values)
    if allowed is None:
        return values
    forbidden = ~check_allowed(allowed, values)
    known = values.detach().masked_fill(forbidden, -torch.inf)
    size = known.masked_fill(forbidden, 0).abs().amax()
    least = known.masked_fill(forbidden, torch.inf).amin(dim=-1, keepdim=True)
    low = least - _FAR * (score_scale(known) + size + noise)
    return torch.where(forbidden, low, values)


def only(decision: Tensor, allowed: Tensor | None) -> Tensor:
    """Return a decision that is 0, without a gradient, at what is not allowed."""
    return decision if allowed is None else decision.masked_fill(~allowed, 0)


def hard_decision(argmax: Argmax, values: Tensor) -> Tensor:  # (..., D) -> (..., D)
    """Decide, as a constant for gradients; `torch.func.vmap` passes all rows at once.

    Args:
        argmax: see `Argmax`.
        values: value of each entry. Shape ``(..., D)``.

    Raises:
        ShapeError: as `decide_rows`.
        DTypeError: as `decide_rows`.
        InvalidValueError: as `decide_rows`.
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
