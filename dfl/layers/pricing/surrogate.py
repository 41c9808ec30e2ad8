"""Hard decisions whose derivative, zero almost everywhere, is replaced by a useful vector."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast, final

import torch
from torch import Tensor

from dfl.errors import UnsupportedProblemError
from dfl.layers.pricing.problems import eagerly, signed

__all__ = ["AbstractSurrogate", "compared", "surrogate_decision"]


class AbstractSurrogate(ABC):
    """A decision and the vector that stands in for its vector-Jacobian product.

    Both methods are called without gradients. The tensors of ``context`` belong to the values:
    prices, say, that the decision needs too; no gradient goes to them.
    """

    @abstractmethod
    def decide(self, values: Tensor, *context: Tensor) -> Tensor:
        """Return decisions of the shape and dtype of ``values``."""

    @abstractmethod
    def pull(self, values: Tensor, decision: Tensor, slope: Tensor, *context: Tensor) -> Tensor:
        """Return what stands for ``slope @ d decision / d values``.

        Args:
            values: as `decide` had them.
            decision: what it returned.
            slope: gradient of the loss in the decision.
            context: as `decide` had it.
        """


def surrogate_decision(rule: AbstractSurrogate, values: Tensor, *context: Tensor) -> Tensor:
    """Decide by a rule, and differentiate by it in reverse mode.

    Works under `torch.func.grad` and `torch.func.vmap`; the latter calls the rule once per
    mapped element, so that each gets exactly what it gets alone.

    Args:
        rule: decision and its stand-in for a derivative.
        values: carries the gradient. Any shape that the rule takes.
        context: what the rule needs beside the values.

    Raises:
        UnsupportedProblemError: later, if a second or a forward-mode derivative is asked for.
    """
    decide = eagerly(_Decision.apply)
    return cast("Tensor", decide(rule, values, *context))  # type: ignore[no-untyped-call]


def compared(
    solve: Callable[[Tensor], Tensor],
    values: Tensor,
    decision: Tensor,
    slope: Tensor,
    step: float | Tensor,
) -> Tensor:
    """Return ``(decision - solve(values - step * slope)) / step``; NaN where the slope is.

    Args:
        solve: decides on values that are not NaN.
        values: see `AbstractSurrogate.pull`.
        decision: likewise.
        slope: likewise.
        step: length of the step.
    """
    moved = values - step * slope
    unknown = moved.isnan()
    found = (decision - solve(torch.where(unknown, values, moved))) / step
    return found.masked_fill(unknown, torch.nan)


def _one_by_one(
    size: int, in_dims: tuple[int | None, ...], tensors: tuple[Tensor, ...]
) -> list[tuple[Tensor, ...]]:
    """Take the axis that vmap runs over apart."""
    columns = [
        [one] * size if axis is None else one.unbind(axis)
        for one, axis in zip(tensors, in_dims, strict=True)
    ]
    return list(zip(*columns, strict=True))


@final
@signed
class _Decision(torch.autograd.Function):
    @staticmethod
    def forward(rule: AbstractSurrogate, values: Tensor, *context: Tensor) -> Tensor:
        return rule.decide(values, *context)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.rule, values, *context = inputs
        ctx.save_for_backward(values, output, *context)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        values, decision, *context = ctx.saved_tensors
        # Without a graph to build, there is nothing that a function of its own would add.
        pull = _Pull.apply if torch.is_grad_enabled() else type(ctx.rule).pull
        found = pull(ctx.rule, values, decision, slope, *context)
        return (None, found, *(None for _ in context))

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        raise UnsupportedProblemError(
            "this decision has a rule for reverse mode alone, but a forward-mode derivative was "
            "asked for; use torch.func.vjp or grad, or a layer with a true derivative "
            "(perturbed-argmax, softmax)."
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], rule: AbstractSurrogate, *tensors: Tensor
    ) -> tuple[Tensor, int]:
        each = _one_by_one(info.batch_size, in_dims[1:], tensors)
        return torch.stack([surrogate_decision(rule, *one) for one in each]), 0


@final
@signed
class _Pull(torch.autograd.Function):
    @staticmethod
    def forward(rule: AbstractSurrogate, *tensors: Tensor) -> Tensor:
        return rule.pull(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> None:
        raise _no_second_derivative()

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        raise _no_second_derivative()

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], rule: AbstractSurrogate, *tensors: Tensor
    ) -> tuple[Tensor, int]:
        each = _one_by_one(info.batch_size, in_dims[1:], tensors)
        found = [_Pull.apply(rule, *one) for one in each]  # type: ignore[no-untyped-call]
        return torch.stack(found), 0


def _no_second_derivative() -> UnsupportedProblemError:
    return UnsupportedProblemError(
        "the stand-in for a hard decision's derivative has no derivative itself, but one was "
        "asked for by create_graph or nested transforms; use a smooth layer (perturbed-argmax, "
        "softmax), or a hypergradient that needs first derivatives of the decision alone."
    )
