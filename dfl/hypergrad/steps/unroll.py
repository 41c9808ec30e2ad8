"""`AbstractUnrolled`: the derivative through descent steps, all of them or the last."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from dfl.checks import check_choice, check_count, check_seed, is_whole
from dfl.errors import InvalidValueError, NotConvergedError
from dfl.hypergrad.base import (
    AbstractHypergradient,
    Diagnostics,
    Hypergradient,
    Loss,
    OnFailure,
    Parameters,
)
from dfl.hypergrad.curvature.base import Layout, StepSize, check_step_size
from dfl.hypergrad.curvature.point import (
    Point,
    check_depends,
    check_finite,
    evaluate,
    gradient,
    members_of,
    recording,
)
from dfl.hypergrad.steps.look_ahead import curvature_for_steps, describe_rise, moved, rose
from dfl.hypergrad.steps.update_rule import Optimiser, State, UpdateRule
from dfl.scale import all_over_ranks, over_ranks

__all__ = ["AbstractUnrolled"]

_ROUNDED = 64  # rounding errors of the parameters: who moves no farther is at an optimum


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractUnrolled(AbstractHypergradient):
    """Takes descent steps on the inner loss and differentiates through the last of them.

    ``theta_0 = inner``, ``theta_(t+1) = theta_t - step_size * d_t`` with ``d_t`` the
    optimiser's direction, ``df/d inner(theta_t, outer)`` for plain descent; returns
    ``dF(theta_steps, outer) / d outer`` with the step and what came before the last steps
    held constant. The outer value is taken at ``theta_steps``. Time grows with the steps, and
    memory with those that are differentiated, about three plain gradients each.

    A step above 2 / largest curvature climbs instead, and the result's sign can be wrong:
    an inner loss that rises over the steps is an error. Adam's steps hardly shrink near an
    optimum, where it rises, and at one each step multiplies the derivative by up to
    ``step_size * curvature * 1e8``: an inner gradient of exactly 0 is an error with Adam.

    Args:
        steps: descent steps, >= 1.
        step_size: length per unit of direction, > 0; ``"stable"`` takes 1 / largest
            curvature at ``inner``, one per member, by `largest_eigenvalue`. Adam needs a
            number.
        optimiser: ``"sgd"``, plain descent; ``"momentum"``; or ``"adam"``.
        momentum: what a step keeps of the gradients before, in [0, 1); not used by ``sgd``.
        second_momentum: the same for squared gradients, in [0, 1); used by ``adam`` alone.
        power_iterations: products spent on ``"stable"``, >= 1.
        seed: draws the first vector of that power iteration.
        on_failure: ``"raise"`` an error where an inner loss rises or Adam starts at an optimum,
            or ``"return"`` the derivative of what was done.

    Raises:
        InvalidValueError: if an option is out of range; when called, if ``"stable"`` meets
            a loss without curvature.
    """

    needs_optimum: ClassVar[bool] = False

    steps: int
    step_size: StepSize = "stable"
    optimiser: Optimiser = "sgd"
    momentum: float = 0.9
    second_momentum: float = 0.999
    power_iterations: int = 10
    seed: int = 0
    on_failure: OnFailure = "raise"

    def __post_init__(self) -> None:
        """Check the options."""
        check_count("steps", self.steps, at_least=1)
        check_count("power_iterations", self.power_iterations, at_least=1)
        check_seed(self.seed)
        if not is_whole(self._differentiated) or not 1 <= self._differentiated <= self.steps:
            raise InvalidValueError(
                f"last must be a whole number between 1 and steps = {self.steps}, got "
                f"{self._differentiated}."
            )
        check_step_size(self.step_size)
        if self._rule.optimiser == "adam" and self.step_size == "stable":
            raise InvalidValueError(
                "step_size must be a number for optimiser 'adam', got 'stable': Adam's directions "
                "have length 1 per parameter whatever the curvature; 1e-3 is usual."
            )
        check_choice("on_failure", self.on_failure, ("raise", "return"))

    @property
    @abstractmethod
    def _differentiated(self) -> int:
        """How many steps, from the end, are differentiated, 1 to ``steps``."""

    @property
    def _rule(self) -> UpdateRule:
        return UpdateRule(
            optimiser=self.optimiser,
            momentum=self.momentum,
            second_momentum=self.second_momentum,
        )

    @final
    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        """Return the derivative of ``outer_loss`` after the steps from ``inner``.

        Raises:
            NotConvergedError: if the inner loss rises over the steps, or Adam starts where the
                inner gradient is 0.
            InvalidValueError: if a loss or gradient is not finite, or ``"stable"`` meets a
                loss without curvature.
        """
        with recording():
            point = Point.at(inner, outer)
            before = point.value(inner_loss)
            layout = Layout.of(point.inner, members_of(before, point.inner))
            tracked = self._differentiated == self.steps
            first = gradient([before.sum()], list(point.inner.values()), create_graph=tracked)
            check_finite(
                layout.per_member(layout.flatten(first).detach()),
                "the gradient of inner_loss in inner",
            )
            losses = {"inner_loss": inner_loss}
            check_depends(first, losses, point, "inner")
            slope = over_ranks(layout.flatten(first).detach())
            norm = layout.per_member(slope.norm(dim=1))
            self._check_start(layout.per_member(slope.abs().amax(dim=1)))
            size = self._size(inner_loss, point, before)
            stepped = Point(self._descend(inner_loss, point, first, size), point.outer)
            if self.on_failure == "raise":
                self._check_descent(inner_loss, point, stepped, over_ranks(before.detach()), size)
            value = stepped.outer_value(outer_loss, layout.members)
            found = gradient([value.sum()], list(point.outer.values()))
            # Copies, because autograd may give two names the same memory.
            copies = (slope.clone() for slope in all_over_ranks(found))
            outer_grad = dict(zip(point.outer, copies, strict=True))
            losses["outer_loss"] = outer_loss
            check_depends(outer_grad.values(), losses, point, "outer")
        for name, slope in outer_grad.items():
            check_finite(slope, f"the hypergradient of outer[{name!r}]")
        unknown = torch.full_like(norm, torch.nan)
        diagnostics = Diagnostics(self.steps, unknown, unknown, norm)
        return Hypergradient(outer_grad, over_ranks(value.detach()).clone(), diagnostics)

    def _descend(
        self, inner_loss: Loss, point: Point, slopes: tuple[Tensor, ...], size: Tensor
    ) -> Parameters:
        """Return the parameters after the steps, with the graph of the last ones."""
        rule, inner, state = self._rule, point.inner, State()
        constant = self.steps - self._differentiated  # steps whose result counts as given
        for step in range(self.steps):
            if 0 < step <= constant:
                inner = {name: value.detach().requires_grad_() for name, value in inner.items()}
                state = state.detached()
            if step:
                value = evaluate(inner_loss, inner, point.outer).sum()
                slopes = gradient([value], list(inner.values()), create_graph=step >= constant)
            directions, state = rule(all_over_ranks(slopes), state)
            inner = moved(inner, directions, size)
        return inner

    def _size(self, inner_loss: Loss, point: Point, value: Tensor) -> Tensor:
        if self.step_size != "stable":
            return torch.full_like(value, float(self.step_size), requires_grad=False)
        curvature = curvature_for_steps(inner_loss, Point.at(point.inner, point.outer))
        step = curvature.stable_step(
            torch.Generator().manual_seed(int(self.seed)), iterations=self.power_iterations
        )
        return curvature.layout.per_member(step)

    def _check_start(self, slope: Tensor) -> None:
        """Refuse Adam at an optimum: divided by its own size, no gradient is near 0."""
        if self.optimiser == "adam" and self.on_failure == "raise" and bool((slope == 0).any()):
            raise NotConvergedError(
                "optimiser 'adam' must start where the inner gradient is not 0, got an inner "
                "optimum, at which its derivative is up to 1e8 times too large. Use optimiser "
                "'sgd' or 'momentum' or an implicit hypergradient, start elsewhere, or take the "
                "answer as it is with on_failure='return'."
            )

    def _check_descent(
        self, inner_loss: Loss, start: Point, stepped: Point, before: Tensor, size: Tensor
    ) -> None:
        """Refuse steps that climb; those at an optimum move by rounding, and so does the loss."""
        with torch.no_grad():
            after = over_ranks(evaluate(inner_loss, stepped.inner, stepped.outer))
        if not bool(rose(before, after).any()):
            return
        layout = Layout.of(start.inner, members_of(before, start.inner))
        ends = [layout.flatten([*one.inner.values()]).detach() for one in (start, stepped)]
        far, long = ((ends[1] - ends[0]).norm(dim=1), ends[0].norm(dim=1))
        moves = layout.per_member(far > _ROUNDED * torch.finfo(far.dtype).eps * long)
        before = before.where(moves, after)
        if bool(rose(before, after).any()):
            raise NotConvergedError(
                f"{describe_rise(before, after)} over {self.steps} steps of size "
                f"{float(size.min()):.4g} to {float(size.max()):.4g}, goal: no rise. Lower "
                "step_size, use step_size='stable', take fewer steps, or take the answer as it "
                "is with on_failure='return'."
            )
