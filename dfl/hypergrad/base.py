"""Interface of the hypergradients: the losses they take, and what they return."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, final

from torch import Tensor

__all__ = [
    "AbstractHypergradient",
    "ComposedLoss",
    "Diagnostics",
    "Hypergradient",
    "Loss",
    "OnFailure",
    "Outputs",
    "Parameters",
]

Parameters: TypeAlias = dict[str, Tensor]
Loss: TypeAlias = Callable[[Parameters, Parameters], Tensor]
Outputs: TypeAlias = Tensor | tuple[Tensor, ...]
OnFailure: TypeAlias = Literal["raise", "return"]


@final
@dataclass(frozen=True, eq=False)
class ComposedLoss:
    """Computes ``criterion(outputs(inner, outer), outer)``, a loss that Gauss-Newton can split.

    Anything convex belongs in the criterion. A ridge penalty, say, is one more output:
    ``outputs`` returns ``(prediction, weights)`` and the criterion adds the two terms.

    Args:
        outputs: network outputs, ``(inner, outer) -> tensor`` or tuple of tensors of any
            shape.
        criterion: ``(outputs, outer) ->`` scalar, or one value per member ``(members,)``.
            Given what ``outputs`` returned; convex in it (least squares, cross-entropy),
            so that its Hessian in the outputs is positive semi-definite.
    """

    outputs: Callable[[Parameters, Parameters], Outputs]
    criterion: Callable[[Any, Parameters], Tensor]  # Any: a tensor or a tuple, as outputs gives

    def __call__(self, inner: Parameters, outer: Parameters) -> Tensor:
        """Return the loss. Shape ``()``, or ``(members,)``."""
        return self.criterion(self.outputs(inner, outer), outer)


@final
@dataclass(frozen=True, eq=False)
class Diagnostics:
    """How the linear system behind a hypergradient was solved.

    Args:
        iterations: products or unrolled steps done.
        residual: ``|H q - v| / |v|`` of the returned solution, the damping counted in ``H``,
            no unit; NaN where no linear system is solved. Shape ``()``, or ``(members,)``.
        curvature: smallest ``p.Hp / p.p`` met along the way, without the damping; negative
            means the inner problem is not at a minimum; NaN where none is measured. Shape as
            ``residual``.
        inner_gradient: norm of the inner gradient at ``inner``; implicit formulas assume it
            is near zero. Shape as ``residual``.
    """

    iterations: int
    residual: Tensor
    curvature: Tensor
    inner_gradient: Tensor

    def describe(self) -> str:
        """Say it in a sentence, of the worst member where there are several."""
        parts = [f"{self.iterations} steps"]
        if not bool(self.residual.isnan().all()):
            parts.append(f"relative residual {float(self.residual.max()):.2g}")
        if not bool(self.curvature.isnan().all()):
            least = float(self.curvature[~self.curvature.isnan()].min())
            parts.append(f"smallest curvature {least:.2g}" + " (negative!)" * (least < 0))
        slope = float(self.inner_gradient.max())
        parts.append(f"inner gradient of norm {slope:.2g}, which is 0 at an inner optimum")
        return ", ".join(parts)


@final
@dataclass(frozen=True, eq=False)
class Hypergradient:
    """Derivative of the outer loss with respect to the outer parameters.

    Args:
        outer_grad: one tensor per outer parameter, same names and shapes, zero where the
            losses do not use it. Without a graph: it cannot be differentiated again.
        outer_value: the outer loss, detached. Shape ``()``, or ``(members,)``.
        diagnostics: how it was computed.
    """

    outer_grad: Parameters
    outer_value: Tensor
    diagnostics: Diagnostics


class AbstractHypergradient(ABC):
    """Differentiates an outer loss through the optimum of an inner loss.

    ``d/d outer  F(inner*(outer), outer)`` with ``inner*(outer) = argmin f(inner, outer)``.

    Losses are functions ``(inner, outer) -> scalar`` of dicts of tensors, made with
    ``torch.func.functional_call``. A loss may instead return one value per member, shape
    ``(members,)``: then every tensor of ``inner`` and ``outer`` has that leading axis,
    members do not interact, and each member's system is solved on its own. An outer tensor
    that all members share, without the axis, receives the sum over members; an outer loss
    may be one scalar for all members.

    Parameters that are frozen are simply not in the dicts. Second order (a hypergradient of
    a hypergradient) is refused by torch: results carry no graph, and `torch.func` cannot
    look inside.
    """

    needs_optimum: ClassVar[bool]
    """True where ``inner`` should be (near) the inner optimum, as the implicit function
    theorem assumes; False where the member itself takes the inner steps from ``inner``."""

    @abstractmethod
    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        """Return the hypergradient at ``inner``. No ``.grad`` is written, no input changed.

        Args:
            inner_loss: ``f(inner, outer)``.
            outer_loss: ``F(inner, outer)``.
            inner: inner parameters.
            outer: outer parameters.

        Raises:
            ShapeError: if a loss returns neither a scalar nor one value per member.
            DTypeError: if a parameter is not floating point, or inner tensors differ in
                dtype or device.
            InvalidValueError: if a loss or gradient is not finite, or a dict is empty.
            NotConvergedError: if the member promises a tolerance and misses it.
        """
