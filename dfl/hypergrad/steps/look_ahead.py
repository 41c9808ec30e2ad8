"""`LookAhead`: descent steps on an inner loss that are sure to descend."""

from collections.abc import Sequence
from typing import Literal, final

import torch
from torch import Tensor

from dfl.checks import check_count, put_off
from dfl.errors import InvalidValueError, NotConvergedError, ShapeError
from dfl.hypergrad.base import (
    AbstractHypergradient,
    ComposedLoss,
    Hypergradient,
    Loss,
    Parameters,
)
from dfl.hypergrad.curvature.base import Curvature
from dfl.hypergrad.curvature.point import (
    Point,
    check_finite,
    check_graph,
    evaluate,
    gradient,
    members_of,
    recording,
)
from dfl.hypergrad.curvature.products import CurvatureName, curvature_of
from dfl.scale import all_over_ranks, over_ranks

__all__ = [
    "LookAhead",
    "curvature_for_steps",
    "describe_rise",
    "largest_eigenvalue",
    "moved",
    "rose",
]

_POWER_ITERATIONS = 10


@final
class LookAhead:
    """Takes plain descent steps ``inner <- inner - step_size * d loss / d inner``, no graph.

    Steps above 2 / `largest_eigenvalue` climb, and a hypergradient taken where they lead
    can have the wrong sign. So the loss is compared before and after: a member whose loss
    rose starts again with half the step.

    Args:
        steps: descent steps, >= 0, one plain gradient each; with 0 the parameters come back
            as they are.
        step_size: length per unit of gradient, > 0: a number, ``()``, or ``(members,)``; or
            ``"stable"``, 1 / largest curvature, as found by 10 products at the first call after
            `measure_anew` and kept at later calls.
        max_halvings: most retries, >= 0.

    Raises:
        InvalidValueError: if an option is out of range.
    """

    def __init__(
        self,
        steps: int,
        *,
        step_size: float | Tensor | Literal["stable"] = "stable",
        max_halvings: int = 10,
    ) -> None:
        check_count("steps", steps, at_least=0)
        check_count("max_halvings", max_halvings, at_least=0)
        self._steps, self._max_halvings = steps, max_halvings
        self._measures = isinstance(step_size, str)
        if isinstance(step_size, str) and step_size != "stable":
            raise InvalidValueError(f"step_size must be a number or 'stable', got {step_size!r}.")
        self._step_size = None if isinstance(step_size, str) else step_size
        self._generator = torch.Generator().manual_seed(0)

    def measure_anew(self, generator: torch.Generator) -> None:
        """Forget a step size that was measured.

        Args:
            generator: draws the first vector of the next measurement.
        """
        self._generator = generator
        if self._measures:
            self._step_size = None

    def __call__(self, loss: Loss, inner: Parameters, outer: Parameters) -> Parameters:
        """Return the stepped inner parameters, without a graph; nothing given is changed.

        Args:
            loss: inner loss, a scalar or one value per member.
            inner: where to start.
            outer: outer parameters.

        Raises:
            NotConvergedError: if a member's loss still rises after ``max_halvings``.
            InvalidValueError: if a loss is not finite, or has no curvature at all.
            ShapeError: if ``step_size`` or a loss has neither one value nor one per member.
        """
        if not self._steps:
            return {name: value.detach() for name, value in inner.items()}
        with recording():
            start = Point.at(inner, outer)
            if self._step_size is None:
                found = curvature_for_steps(loss, start)
                step = found.stable_step(self._generator, iterations=_POWER_ITERATIONS)
                self._step_size = found.layout.per_member(step)
            return self._stepped(loss, start, self._step_size)

    def _stepped(self, loss: Loss, start: Point, step_size: float | Tensor) -> Parameters:
        before = start.value(loss)
        members_of(before, start.inner)
        check_graph(before, "inner_loss", "inner")
        before = over_ranks(before.detach())
        size = _checked_step(step_size, before)
        fixed = {name: value.detach() for name, value in start.outer.items()}
        halvings = torch.zeros_like(before, dtype=torch.int64)
        for _ in range(self._max_halvings + 1):
            stepped = self._descend(loss, start.inner, fixed, size / 2**halvings)
            with torch.no_grad():
                after = over_ranks(evaluate(loss, stepped, fixed))
            up = rose(before, after)
            if not bool(up.any()):
                return stepped
            halvings = halvings + up
        slopes = gradient([start.value(loss).sum()], list(start.inner.values()))
        for name, slope in zip(start.inner, slopes, strict=True):
            check_finite(slope, f"the gradient of inner_loss in inner[{name!r}]")
        raise NotConvergedError(
            f"{describe_rise(before, after)} over {self._steps} steps, even with the step halved "
            f"{self._max_halvings} times: give a smaller step_size, or check that the loss is "
            "smooth and the same at every call (no dropout)."
        )

    def hypergradient(
        self,
        method: AbstractHypergradient,
        inner_loss: Loss,
        outer_loss: Loss,
        inner: Parameters,
        outer: Parameters,
    ) -> Hypergradient:
        """Return the hypergradient at the end of the steps, if the method needs an optimum.

        A method that takes inner steps itself is called at ``inner`` as it is.

        Args:
            method: any hypergradient.
            inner_loss: ``f(inner, outer)``, on which the steps are taken.
            outer_loss: ``F(inner, outer)``.
            inner: where to start.
            outer: outer parameters.

        Raises:
            DflError: as a call and ``method`` do.
        """
        at = self(inner_loss, inner, outer) if method.needs_optimum else inner
        return method(inner_loss, outer_loss, at, outer)

    def _descend(
        self, loss: Loss, inner: Parameters, outer: Parameters, size: Tensor
    ) -> Parameters:
        for _ in range(self._steps):
            leaves = {name: value.detach().requires_grad_() for name, value in inner.items()}
            value = evaluate(loss, leaves, outer).sum()
            slopes = gradient([value], list(leaves.values()))
            with torch.no_grad():
                inner = moved(inner, all_over_ranks(slopes), size)
        return inner


def largest_eigenvalue(
    loss: Loss,
    inner: Parameters,
    outer: Parameters,
    *,
    iterations: int = 20,
    generator: torch.Generator,
) -> Tensor:
    """Estimate the largest absolute curvature of an inner loss by power iteration.

    A lower bound that closes in from below. ``H`` is the Gauss-Newton matrix of a
    `ComposedLoss`, else the Hessian. Plain descent is stable below twice its inverse.

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
    with recording():
        curvature = curvature_for_steps(loss, Point.at(inner, outer))
        return curvature.layout.per_member(curvature.largest(generator, iterations=iterations))


def curvature_for_steps(loss: Loss, point: Point) -> Curvature:
    """Return the curvature that bounds steps: Gauss-Newton's where the loss is composed."""
    kind: CurvatureName = "gauss-newton" if isinstance(loss, ComposedLoss) else "hessian"
    return curvature_of(kind, loss, point)


def moved(parameters: Parameters, slopes: Sequence[Tensor], size: Tensor) -> Parameters:
    """Return ``parameters - size * slopes``; ``size`` is ``()`` or ``(members,)``."""
    return {
        name: value - size.reshape(size.shape + (1,) * (value.ndim - size.ndim)) * slope
        for (name, value), slope in zip(parameters.items(), slopes, strict=True)
    }


def rose(before: Tensor, after: Tensor) -> Tensor:
    """Say which losses went up by more than rounding, or became NaN. Shape of the losses."""
    slack = 8 * torch.finfo(before.dtype).eps * before.abs()
    return ~(after <= before + slack)


def describe_rise(before: Tensor, after: Tensor) -> str:
    """Say for an error message which losses went up, and how far the first of them."""
    up = rose(before, after)
    low, high = float(before[up][0]), float(after[up][0])
    far = f"from {low:.4g} to {high:.4g}"
    if not up.ndim:
        return f"the inner loss rises {far}"
    members = up.nonzero().flatten().tolist()
    return f"the inner loss of members {members} rises (member {members[0]}: {far})"


def _checked_step(step_size: float | Tensor, loss: Tensor) -> Tensor:
    size = torch.as_tensor(step_size, dtype=loss.dtype, device=loss.device)
    if size.shape not in (torch.Size(()), loss.shape):
        raise ShapeError(
            f"step_size must be one number or of the loss's shape {tuple(loss.shape)}, got "
            f"{tuple(size.shape)}."
        )
    sound = ((size > 0) & size.isfinite()).all()
    if not put_off(sound, "step_size must be > 0 and finite.") and not bool(sound):
        raise InvalidValueError(f"step_size must be > 0 and finite, got {size.tolist()}.")
    return size
