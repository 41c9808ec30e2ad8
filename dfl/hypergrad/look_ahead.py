"""Descent steps on an inner loss that are sure to descend, and the curvature that bounds them."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError, NotConvergedError, ShapeError
from dfl.hypergrad.base import Loss, Parameters
from dfl.hypergrad.composed_loss import ComposedLoss
from dfl.hypergrad.curvature import CurvatureName, curvature_of, probe
from dfl.hypergrad.descent import describe_rise, moved, rose
from dfl.hypergrad.linear import power_iteration
from dfl.hypergrad.point import Point, check_finite, gradient, members_of

__all__ = ["LookAhead", "largest_eigenvalue", "look_ahead"]


@final
@dataclass(frozen=True, eq=False)
class LookAhead:
    """Parameters after some descent steps.

    Args:
        inner: the stepped parameters, new tensors without a graph.
        loss_before: inner loss at the start. Shape ``()``, or ``(members,)``.
        loss_after: inner loss at ``inner``, not above ``loss_before`` but for rounding.
        halvings: how often the step had to be halved, int64. Shape as ``loss_before``.
    """

    inner: Parameters
    loss_before: Tensor
    loss_after: Tensor
    halvings: Tensor


def look_ahead(
    loss: Loss,
    inner: Parameters,
    outer: Parameters,
    *,
    steps: int,
    step_size: float | Tensor,
    max_halvings: int = 10,
) -> LookAhead:
    """Take plain descent steps ``inner <- inner - step_size * d loss / d inner``, no graph.

    Steps above 2 / `largest_eigenvalue` climb, and a hypergradient taken where they lead
    can have the wrong sign. So the loss is compared before and after: a member whose loss
    rose starts again with half the step.

    Args:
        loss: inner loss, a scalar or one value per member.
        inner: inner parameters to start from; not changed.
        outer: outer parameters.
        steps: number of steps, >= 1, one plain gradient each; one more loss for the check.
        step_size: length per unit of gradient, > 0; a number, ``()``, or ``(members,)``.
        max_halvings: most retries, >= 0.

    Returns:
        The stepped parameters, the losses and the halvings.

    Raises:
        ShapeError: if ``step_size`` or a loss has neither one value nor one per member.
        InvalidValueError: if an option is out of range, or the loss at ``inner`` is not
            finite.
        NotConvergedError: if a member's loss still rises after ``max_halvings``.
    """
    if steps < 1:
        raise InvalidValueError(f"steps must be >= 1, got {steps}.")
    if max_halvings < 0:
        raise InvalidValueError(f"max_halvings must be >= 0, got {max_halvings}.")
    start = Point.at(inner, outer)
    fixed = {name: value.detach() for name, value in outer.items()}
    with torch.no_grad():
        before = start.value(loss)
    members_of(before, inner)
    size = _checked_step(step_size, before)
    halvings = torch.zeros_like(before, dtype=torch.int64)
    for _ in range(max_halvings + 1):
        found = _descend(loss, start.inner, fixed, steps, size / 2**halvings)
        with torch.no_grad():
            after = loss(found, fixed)
        up = rose(before, after)
        if not bool(up.any()):
            return LookAhead(found, before, after, halvings)
        halvings = halvings + up
    raise NotConvergedError(
        f"{describe_rise(before, after)} over {steps} steps, even with the step halved "
        f"{max_halvings} times: give a smaller step_size, or check that the loss is smooth and "
        "the same at every call (no dropout)."
    )


def largest_eigenvalue(
    loss: Loss,
    inner: Parameters,
    outer: Parameters,
    *,
    iterations: int = 20,
    generator: torch.Generator,
) -> Tensor:
    """Estimate the largest absolute curvature of an inner loss by power iteration.

    ``|H v|`` for a unit vector ``v`` that was multiplied by ``H`` again and again: a lower
    bound that closes in from below. ``H`` is the Gauss-Newton matrix of a `ComposedLoss`,
    else the Hessian. Plain descent is stable below twice its inverse.

    Args:
        loss: inner loss, a scalar or one value per member.
        inner: inner parameters, where to measure; not changed.
        outer: outer parameters.
        iterations: products, >= 1; one plain gradient and a bit each.
        generator: draws the first vector, the same one for every member.

    Returns:
        Largest absolute eigenvalue, in inner loss per squared parameter. Shape ``()``, or
        ``(members,)``.

    Raises:
        InvalidValueError: if ``iterations`` is out of range or a product is not finite.
    """
    with torch.enable_grad():
        point = Point.at(inner, outer)
        kind: CurvatureName = "gauss-newton" if isinstance(loss, ComposedLoss) else "hessian"
        curvature = curvature_of(kind, loss, point)
    first = probe(point.inner, curvature.layout, generator, columns=1)
    start = first.squeeze(1).detach().expand_as(curvature.inner_gradient)
    largest = power_iteration(curvature.product, start, iterations=iterations)
    length = curvature.layout.per_member(largest)
    check_finite(length, "the largest curvature of inner_loss")
    return length


def _descend(
    loss: Loss, inner: Parameters, outer: Parameters, steps: int, size: Tensor
) -> Parameters:
    for _ in range(steps):
        leaves = {name: value.detach().requires_grad_() for name, value in inner.items()}
        with torch.enable_grad():
            value = loss(leaves, outer).sum()
        inner = moved(inner, gradient([value], list(leaves.values())), size)
    return {name: value.detach() for name, value in inner.items()}


def _checked_step(step_size: float | Tensor, loss: Tensor) -> Tensor:
    size = torch.as_tensor(step_size, dtype=loss.dtype, device=loss.device)
    if size.shape not in (torch.Size(()), loss.shape):
        raise ShapeError(
            f"step_size must be one number or of the loss's shape {tuple(loss.shape)}, got "
            f"{tuple(size.shape)}."
        )
    if not bool(((size > 0) & size.isfinite()).all()):
        raise InvalidValueError(f"step_size must be > 0 and finite, got {size.tolist()}.")
    return size
