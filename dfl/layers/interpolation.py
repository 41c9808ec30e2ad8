"""`Interpolation`, `InterpolatedDecision`: hard decisions, differentiated by a second solve."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from dfl.layers.perturbed.argmax import Argmax, check_argmax, decide_rows, only, prepare
from dfl.layers.pricing.options import Price, Softness, check_values
from dfl.layers.pricing.priced import (
    AbstractPricedLayer,
    decide_one_hot,
    priced_revenue,
    scores,
)
from dfl.layers.pricing.surrogate import AbstractSurrogate, compared, surrogate_decision

__all__ = ["InterpolatedDecision", "Interpolation"]

_SOFTNESS = Softness(1.0)
_PRICE = Price()


@final
class InterpolatedDecision(nn.Module):
    """Decides by any argmax; its gradient interpolates between two solves.

    Backward, for an incoming gradient ``g``: ``(decision(value) - decision(value - step * g)) /
    step``, one extra solve. That is the exact gradient of a piecewise linear interpolation of
    the loss, linearised in the decision.

    Args:
        argmax: maximises ``value @ decision`` row by row; see `Argmax`.
        softness: length of the step, see `Softness.step`, the scale being that of values and
            gradient over the batch. Small is faithful but mostly flat; large is smooth but
            biased.

    Shapes:
        value ``(..., D)`` -> decision ``(..., D)``.

    Raises:
        InvalidValueError: if the argmax cannot be called, or the softness is none.

    Source:
        Vlastelica et al. (2020), arXiv:1912.02175, Algorithm 1; sign flipped, we maximise.
        Deviation: the relative step.
    """

    def __init__(self, argmax: Argmax, *, softness: Softness = _SOFTNESS) -> None:
        super().__init__()
        check_argmax(argmax)
        check_values(softness=softness)
        self.argmax = argmax
        self.softness = softness

    def extra_repr(self) -> str:
        """Return the options for printing."""
        return f"softness={self.softness}"

    def forward(self, values: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Return the best decision ``(..., D)``, in the dtype of ``values``.

        Args:
            values: value of each entry, never NaN. Shape ``(..., D)``.
            allowed: which entries may be chosen, None for all: the argmax sees others far below
                the rest, and they take no part in any scale. bool, shape ``(..., D)``.

        Raises:
            ShapeError: if the argmax returns another shape, or ``allowed`` does not fit.
            DTypeError: if values are no tensor or not floating point, or the argmax returns none.
            InvalidValueError: if a value is NaN, or a row has no entry that is allowed.
            UnsupportedProblemError: later, if a second or a forward-mode derivative is asked for.
        """
        rule = _Interpolate(lambda moved: decide_rows(self.argmax, moved), _itself, self.softness)
        return only(surrogate_decision(rule, prepare(values, allowed)), allowed)


@final
class Interpolation(AbstractPricedLayer):
    """The hard choice at a multiplier; its gradient interpolates between two choices.

    Shares are 1 at everyone's ``argmax_j revenue_j - multiplier * cost_j``, ties to the cheaper.
    Backward, for an incoming gradient ``g`` and with the multiplier held constant: ``d revenue =
    (choice(revenue) - choice(revenue - step * g)) / step`` and ``d cost = - multiplier *
    d revenue``. With a multiplier found on predicted costs the spend is within the budget.

    Args:
        softness: length of the step, see `Softness.step`.
        price: of money, fixed or met by the decision.

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
        softness: Softness = _SOFTNESS,
        price: Price = _PRICE,
    ) -> None:
        super().__init__(price)
        check_values(softness=softness)
        self.softness = softness

    def shares(self, revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
        """Return the shares at a multiplier; see the interface."""
        rule = _Interpolate(decide_one_hot, scores, self.softness)
        priced = priced_revenue(revenue, cost, multiplier)
        return surrogate_decision(rule, priced, cost.detach(), multiplier)


@final
@dataclass(frozen=True, eq=False)
class _Interpolate(AbstractSurrogate):
    """See `InterpolatedDecision`.

    Args:
        solve: the decision on values and context.
        size: values and context to what the step is relative to.
        softness: length of the step.
    """

    solve: Callable[..., Tensor]
    size: Callable[..., Tensor]
    softness: Softness

    def decide(self, values: Tensor, *context: Tensor) -> Tensor:
        return self.solve(values, *context)

    def pull(self, values: Tensor, decision: Tensor, slope: Tensor, *context: Tensor) -> Tensor:
        step = self.softness.step(self.size(values, *context), slope)
        return compared(lambda moved: self.solve(moved, *context), values, decision, slope, step)


def _itself(values: Tensor) -> Tensor:
    return values
