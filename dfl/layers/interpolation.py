"""`Interpolation`, `InterpolatedDecision`: hard decisions, differentiated by a second solve."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from dfl.layers.perturbed.argmax import Argmax, decide_rows
from dfl.layers.pricing.pricing import (
    AbstractPricedLayer,
    Scale,
    decide_one_hot,
    priced_revenue,
    scores,
)
from dfl.layers.pricing.step import Step
from dfl.layers.pricing.surrogate import AbstractSurrogate, surrogate_decision
from dfl.solvers.base import AbstractSolver

__all__ = ["InterpolatedDecision", "Interpolation"]


@final
class InterpolatedDecision(nn.Module):
    """Decides by any argmax; its gradient interpolates between two solves.

    Backward, for an incoming gradient ``g``: ``(decision(value) - decision(value - step * g)) /
    step``, one extra solve. That is the exact gradient of a piecewise linear interpolation of
    the loss, linearised in the decision.

    Args:
        argmax: maximises ``value @ decision`` row by row; see `Argmax`.
        strength: length of the step, > 0; its unit depends on ``scale``, see `Step`. Small is
            faithful but mostly flat; large is smooth but biased.
        scale: ``"relative"`` to the spread of values and gradient over the batch, or
            ``"absolute"``.

    Shapes:
        value ``(..., D)`` -> decision ``(..., D)``.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Vlastelica et al. (2020), arXiv:1912.02175, Algorithm 1; sign flipped, we maximise.
        Deviation: the relative step.
    """

    def __init__(self, argmax: Argmax, *, strength: float = 1.0, scale: Scale = "relative") -> None:
        super().__init__()
        self.step = Step(strength, scale)
        self.argmax = argmax

    def extra_repr(self) -> str:
        """Return the options for printing."""
        return f"strength={self.step.strength:g}, scale={self.step.scale!r}"

    def forward(self, values: Tensor) -> Tensor:
        """Return the best decision ``(..., D)``, in the dtype of ``values``.

        Args:
            values: value of each entry. Shape ``(..., D)``.

        Raises:
            ShapeError: if the argmax returns another shape.
            DTypeError: if the values are not floating point.
            UnsupportedProblemError: later, if a second or a forward-mode derivative is asked for.
        """
        rule = _Interpolate(lambda moved: decide_rows(self.argmax, moved), _itself, self.step)
        return surrogate_decision(rule, values)


@final
class Interpolation(AbstractPricedLayer):
    """The hard choice at a multiplier; its gradient interpolates between two choices.

    Shares are 1 at everyone's ``argmax_j revenue_j - multiplier * cost_j``, ties to the cheaper.
    Backward, for an incoming gradient ``g`` and with the multiplier held constant: ``d revenue =
    (choice(revenue) - choice(revenue - step * g)) / step`` and ``d cost = - multiplier *
    d revenue``. With a multiplier found on predicted costs the spend is within the budget.

    Args:
        strength: length of the step, > 0; see `Step`.
        scale: ``"relative"`` to the spread of scores and gradient, or ``"absolute"``.
        multiplier: a fixed multiplier >= 0, or None to find the one that meets the budget.
        solver: finds the multiplier from detached values; None for greedy-dual or, with
            observed costs, dual-bisection which takes the multiplier of least spend where none
            meets the budget.

    Raises:
        InvalidValueError: if an option is out of range.

    Shapes:
        revenue, cost ``(..., N, M)`` -> shares ``(..., N, M)``, multiplier ``(...)``.

    Source:
        Vlastelica et al. (2020), arXiv:1912.02175, Algorithm 1, on the Lagrangian of the budget.
        Deviations: the relative step; the multiplier is not found again for the second choice.
    """

    def __init__(
        self,
        *,
        strength: float = 1.0,
        scale: Scale = "relative",
        multiplier: float | None = None,
        solver: AbstractSolver | None = None,
    ) -> None:
        super().__init__(multiplier=multiplier, solver=solver)
        self.step = Step(strength, scale)
        self.strength = strength
        self.scale = scale

    def extra_repr(self) -> str:
        """Return the options for printing."""
        return (
            f"strength={self.strength:g}, scale={self.scale!r}, multiplier={self.multiplier}, "
            f"solver={self.solver}"
        )

    def shares(self, revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
        """Return the shares at a multiplier; see the interface."""
        rule = _Interpolate(decide_one_hot, scores, self.step)
        priced = priced_revenue(revenue, cost, multiplier)
        return surrogate_decision(rule, priced, cost.detach(), multiplier)


@final
@dataclass(frozen=True, eq=False)
class _Interpolate(AbstractSurrogate):
    """See `InterpolatedDecision`.

    Args:
        solve: the decision on values and context.
        size: values and context to what the step is relative to.
        step: length of the step.
    """

    solve: Callable[..., Tensor]
    size: Callable[..., Tensor]
    step: Step

    def decide(self, values: Tensor, *context: Tensor) -> Tensor:
        return self.solve(values, *context)

    def pull(self, values: Tensor, decision: Tensor, slope: Tensor, *context: Tensor) -> Tensor:
        step = self.step.length(self.size(values, *context), slope)
        return (decision - self.solve(values - step * slope, *context)) / step


def _itself(values: Tensor) -> Tensor:
    return values
