"""`Unrolled`: differentiates through the descent steps themselves."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError, NotConvergedError
from dfl.hypergrad.base import AbstractHypergradient, Diagnostics, Hypergradient, Loss, Parameters
from dfl.hypergrad.convergence import OnFailure, check_on_failure
from dfl.hypergrad.descent import describe_rise, moved, rose
from dfl.hypergrad.layout import Layout
from dfl.hypergrad.look_ahead import largest_eigenvalue
from dfl.hypergrad.point import Point, check_finite, gradient, members_of

__all__ = ["Unrolled"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Unrolled(AbstractHypergradient):
    """Differentiates the outer loss through ``steps`` plain descent steps.

    ``theta_0 = inner``, ``theta_(t+1) = theta_t - step_size * df/d inner(theta_t, outer)``;
    returns ``dF(theta_steps, outer) / d outer`` with ``theta_0`` and the step held constant.
    The outer value is taken at ``theta_steps``. Tends to the implicit gradient as the steps
    reach the minimum; time and memory grow with ``steps``, about three plain gradients
    each.

    A step above 2 / largest curvature climbs instead, and the result's sign can be wrong:
    an inner loss that rises over the steps is an error.

    Args:
        steps: descent steps, >= 1.
        step_size: length per unit of gradient, > 0; ``"stable"`` takes 1 / largest
            curvature at ``inner``, one per member, by `largest_eigenvalue`.
        power_iterations: products spent on ``"stable"``, >= 1.
        seed: draws the first vector of that power iteration.
        on_failure: ``"raise"`` an error where an inner loss rises, or ``"return"`` the
            derivative of what was done.

    Raises:
        InvalidValueError: if an option is out of range; when called, if ``"stable"`` meets
            a loss without curvature.

    Source:
        Maclaurin, Duvenaud and Adams (2015), arXiv:1502.03492, with the graph kept instead
        of the steps reversed; Franceschi et al. (2017), arXiv:1703.01785, reverse mode.
    """

    needs_optimum: ClassVar[bool] = False

    steps: int = 5
    step_size: float | Literal["stable"] = "stable"
    power_iterations: int = 10
    seed: int = 0
    on_failure: OnFailure = "raise"

    def __post_init__(self) -> None:
        """Check the options."""
        for name in ("steps", "power_iterations"):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"{name} must be >= 1, got {getattr(self, name)}.")
        if not _is_step(self.step_size):
            raise InvalidValueError(
                f"step_size must be a finite number > 0 or 'stable', got {self.step_size!r}."
            )
        check_on_failure(self.on_failure)

    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        """Return the derivative of ``outer_loss`` after the steps from ``inner``."""
        with torch.enable_grad():
            point = Point.at(inner, outer)
            before = point.value(inner_loss)
            layout = Layout.of(point.inner, members_of(before, point.inner))
            first = _slopes(before, point.inner)
            size = self._size(inner_loss, point, before)
            stepped = self._descend(inner_loss, point, first, size)
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
    ) -> Point:
        point = Point(moved(point.inner, slopes, size), point.outer)
        for _ in range(self.steps - 1):
            slopes = _slopes(inner_loss(point.inner, point.outer), point.inner)
            point = Point(moved(point.inner, slopes, size), point.outer)
        return point

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


def _is_step(step_size: object) -> bool:
    return step_size == "stable" or (isinstance(step_size, int | float) and 0 < step_size < inf)


def _slopes(value: Tensor, inner: Parameters) -> tuple[Tensor, ...]:
    return gradient([value.sum()], list(inner.values()), create_graph=True)
