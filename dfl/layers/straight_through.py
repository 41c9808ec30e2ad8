"""`StraightThrough`, `StraightThroughDecision`: hard decisions that pass their gradient on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from dfl.layers.perturbed.argmax import Argmax, check_argmax, decide_rows, only, prepare
from dfl.layers.pricing.options import Price, Softness, check_values, far_below
from dfl.layers.pricing.priced import (
    AbstractPricedLayer,
    decide_one_hot,
    priced_revenue,
    scores,
)
from dfl.layers.pricing.surrogate import AbstractSurrogate, surrogate_decision

__all__ = ["StraightThrough", "StraightThroughDecision"]

_SOFTNESS = Softness(1.0)
_PRICE = Price()


@final
class StraightThroughDecision(nn.Module):
    """Decides by any argmax; hands the gradient through as if the decision were its values.

    Backward, for an incoming gradient ``g``: ``g``. No extra solve, no option; blind to which
    decisions are possible.

    Args:
        argmax: maximises ``value @ decision`` row by row; see `Argmax`.

    Shapes:
        value ``(..., D)`` -> decision ``(..., D)``.

    Raises:
        InvalidValueError: if the argmax cannot be called.

    Source:
        Bengio et al. (2013), arXiv:1308.3432; Sahoo et al. (2023), arXiv:2205.15213, for
        solvers (there without a sign, for they minimise).
    """

    def __init__(self, argmax: Argmax) -> None:
        super().__init__()
        check_argmax(argmax)
        self.argmax = argmax

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
        rule = _PassThrough(lambda given: decide_rows(self.argmax, given), lambda _, slope: slope)
        return only(surrogate_decision(rule, prepare(values, allowed)), allowed)


@final
class StraightThrough(AbstractPricedLayer):
    """The hard choice at a multiplier; its gradient is passed through to the scores.

    Shares are 1 at everyone's ``argmax_j revenue_j - multiplier * cost_j``, ties to the cheaper.
    Backward, for an incoming gradient ``g`` and with the multiplier held constant: ``d revenue =
    (g - mean_j g) / tau`` and ``d cost = - multiplier * d revenue``; the mean is taken off
    because shares add up to 1. With a multiplier found on predicted costs the spend is within
    the budget.

    Args:
        softness: tau, what a unit of share is worth.
        price: of money, fixed or met by the decision.

    Raises:
        InvalidValueError: if an option is out of range.

    Shapes:
        revenue, cost ``(..., N, M)`` -> shares ``(..., N, M)``, multiplier ``(...)``.

    Source:
        Sahoo et al. (2023), arXiv:2205.15213: identity with the projection that takes off what
        cannot change the decision. Deviation: divided by tau, so that units fit.
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
        rule = _PassThrough(decide_one_hot, self._pull)
        priced = priced_revenue(revenue, cost, multiplier)
        return surrogate_decision(rule, priced, cost.detach(), multiplier)

    def _pull(self, revenue: Tensor, slope: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
        priced = scores(revenue, cost, multiplier)
        far = far_below(priced)
        slope = slope.masked_fill(far, 0)
        mean = slope.sum(dim=-1, keepdim=True) / (~far).sum(dim=-1, keepdim=True)
        return ((slope - mean) / self.softness.of(priced)).masked_fill(far, 0)


@final
@dataclass(frozen=True, eq=False)
class _PassThrough(AbstractSurrogate):
    """See `StraightThroughDecision`.

    Args:
        solve: the decision on values and context.
        through: values, gradient and context to what goes on.
    """

    solve: Callable[..., Tensor]
    through: Callable[..., Tensor]

    def decide(self, values: Tensor, *context: Tensor) -> Tensor:
        return self.solve(values, *context)

    def pull(self, values: Tensor, decision: Tensor, slope: Tensor, *context: Tensor) -> Tensor:
        return self.through(values, slope, *context)
