"""The derivative through descent steps, shared by `Unrolled` and `Truncated`."""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError, NotConvergedError
from dfl.hypergrad.base import Diagnostics, Hypergradient, Loss, Parameters
from dfl.hypergrad.convergence import OnFailure, check_on_failure
from dfl.hypergrad.descent import check_step_size, describe_rise, moved, rose
from dfl.hypergrad.layout import Layout
from dfl.hypergrad.look_ahead import largest_eigenvalue
from dfl.hypergrad.point import Point, check_finite, gradient, members_of
from dfl.hypergrad.update_rule import State, UpdateRule

__all__ = ["Descent"]


@final
@dataclass(frozen=True, kw_only=True)
class Descent:
    """Takes descent steps on an inner loss and differentiates through the last of them.

    Args:
        steps: descent steps, >= 1.
        last: how many of them, from the end, are differentiated, 1 to ``steps``.
        rule: optimiser that takes them.
        step_size: length per unit of the optimiser's direction, > 0, or ``"stable"``.
        power_iterations: products spent on ``"stable"``, >= 1.
        seed: draws the first vector of that power iteration.
        on_failure: what to do where the inner loss rises.

    Raises:
        InvalidValueError: if an option is out of range.
    """

    steps: int
    last: int
    rule: UpdateRule
    step_size: float | Literal["stable"]
    power_iterations: int
    seed: int
    on_failure: OnFailure

    def __post_init__(self) -> None:
        """Check the options."""
        for name in ("steps", "power_iterations"):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"{name} must be >= 1, got {getattr(self, name)}.")
        if not 1 <= self.last <= self.steps:
            raise InvalidValueError(
                f"last must be between 1 and steps = {self.steps}, got {self.last}."
            )
        check_step_size(self.step_size)
        if self.rule.optimiser == "adam" and self.step_size == "stable":
            raise InvalidValueError(
                "step_size must be a number for optimiser 'adam', got 'stable': Adam's directions "
                "have length 1 per parameter whatever the curvature; 1e-3 is usual."
            )
        check_on_failure(self.on_failure)

    def hypergradient(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        """Return the derivative of ``outer_loss`` after the steps from ``inner``.

        Raises:
            NotConvergedError: if the inner loss rises over the steps.
            InvalidValueError: if a loss or gradient is not finite, or ``"stable"`` meets a
                loss without curvature.
        """
        with torch.enable_grad():
            point = Point.at(inner, outer)
            before = point.value(inner_loss)
            layout = Layout.of(point.inner, members_of(before, point.inner))
            tracked = self.last == self.steps
            first = gradient([before.sum()], list(point.inner.values()), create_graph=tracked)
            size = self._size(inner_loss, point, before)
            stepped = Point(self._descend(inner_loss, point, first, size), point.outer)
            if self.on_failure == "raise":
                self._check_descent(inner_loss, stepped, before.detach(), size)
            value = stepped.outer_value(outer_loss, layout.members)
            found = gradient([value.sum()], list(point.outer.values()))
        outer_grad = dict(zip(point.outer, found, strict=True))
        for name, slope in outer_grad.items():
            check_finite(slope, f"the hypergradient of outer[{name!r}]")
        norm = layout.per_member(layout.flatten(first).detach().norm(dim=1))
        unknown = torch.full_like(norm, torch.nan)
        diagnostics = Diagnostics(self.steps, unknown, unknown, norm)
        return Hypergradient(outer_grad, value.detach(), diagnostics)

    def _descend(
        self, inner_loss: Loss, point: Point, slopes: tuple[Tensor, ...], size: Tensor
    ) -> Parameters:
        """Return the parameters after the steps, with the graph of the last ones."""
        inner, state = point.inner, State()
        constant = self.steps - self.last  # steps whose result counts as given
        for step in range(self.steps):
            if 0 < step <= constant:
                inner = {name: value.detach().requires_grad_() for name, value in inner.items()}
                state = state.detached()
            if step:
                value = inner_loss(inner, point.outer).sum()
                slopes = gradient([value], list(inner.values()), create_graph=step >= constant)
            directions, state = self.rule(slopes, state)
            inner = moved(inner, directions, size)
        return inner

    def _size(self, inner_loss: Loss, point: Point, value: Tensor) -> Tensor:
        if self.step_size != "stable":
            return torch.full_like(value, float(self.step_size), requires_grad=False)
        largest = largest_eigenvalue(
            inner_loss,
            point.inner,
            point.outer,
            iterations=self.power_iterations,
            generator=torch.Generator().manual_seed(self.seed),
        )
        if not bool((largest > 0).all()):
            raise InvalidValueError(
                "step_size 'stable' needs curvature, but inner_loss has none at inner: give "
                "step_size a number."
            )
        return 1 / largest

    def _check_descent(
        self, inner_loss: Loss, stepped: Point, before: Tensor, size: Tensor
    ) -> None:
        with torch.no_grad():
            after = inner_loss(stepped.inner, stepped.outer)
        if bool(rose(before, after).any()):
            raise NotConvergedError(
                f"{describe_rise(before, after)} over {self.steps} steps of size "
                f"{float(size.min()):.4g} to {float(size.max()):.4g}, goal: no rise. Lower "
                "step_size, use step_size='stable', take fewer steps, or take the answer as it "
                "is with on_failure='return'."
            )
