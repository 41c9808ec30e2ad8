"""Interface of the hypergradients: the losses they take, held to it, and what they return."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, final

from torch import Tensor
from torch.overrides import TorchFunctionMode

from dfl.errors import UnsupportedProblemError

__all__ = [
    "AbstractHypergradient",
    "ComposedLoss",
    "Diagnostics",
    "Hypergradient",
    "Loss",
    "OnFailure",
    "Outputs",
    "Parameters",
    "Repeatable",
]

Parameters: TypeAlias = dict[str, Tensor]
Loss: TypeAlias = Callable[[Parameters, Parameters], Tensor]
Outputs: TypeAlias = Tensor | tuple[Tensor, ...]
OnFailure: TypeAlias = Literal["raise", "return"]

# Functions that draw from torch's own generators, unless they are given another.
_DRAWS = re.compile(
    "(bernoulli|cauchy|exponential|geometric|log_normal|multinomial|normal|poisson|rand|randint|"
    "randn|random|randperm|rrelu|uniform)(_|_like)?|fractional_max_pool[23]d|gumbel_softmax"
)


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


@final
class Repeatable(TorchFunctionMode):
    """Watches one evaluation of a loss; losses are evaluated several times per hypergradient.

    Args:
        name: the argument that the loss came as, for messages.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, unless it is one that must not be repeated.

        Raises:
            UnsupportedProblemError: at dropout, at batch or spectral normalisation that updates
                what it keeps, and, in an inner loss, at random numbers.
        """
        options = dict(kwargs or {})
        kind = getattr(func, "__name__", "")
        if _is_dropout(kind, args, options):
            raise UnsupportedProblemError(
                f"{self._name} must give the same value at every call, but it uses dropout: call "
                "network.eval(), which switches it off, or multiply by a mask that you drew once."
            )
        if self._name == "inner_loss" and _draws(kind, args, options):
            raise UnsupportedProblemError(
                f"inner_loss must give the same value at every call, but its {kind} draws random "
                "numbers: draw them once, outside of the loss, or from a torch.Generator that the "
                "loss itself seeds."
            )
        if kind == "normalize" and options.get("out") is not None:
            raise UnsupportedProblemError(
                f"{self._name} must change nothing, but its spectral_norm takes a step of power "
                "iteration at every call: call network.eval()."
            )
        if _updates_averages(kind, args, options):
            raise UnsupportedProblemError(
                f"{self._name} must change nothing, but its {kind} updates running averages at "
                "every call: call network.eval(), or build the layer with "
                "track_running_stats=False, which normalises by the rows given."
            )
        return func(*args, **options)


def _is_dropout(kind: str, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    if kind == "scaled_dot_product_attention":
        return float(options.get("dropout_p", args[4] if len(args) > 4 else 0.0)) > 0
    if "dropout" not in kind:
        return False
    share = args[1] if len(args) > 1 else options.get("p", 0.5)
    training = args[2] if len(args) > 2 else options.get("training", True)
    return bool(training) and float(share) > 0


def _draws(kind: str, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    if not _DRAWS.fullmatch(kind) or options.get("generator") is not None:
        return False
    # rrelu(input, lower, upper, training)
    return not kind.startswith("rrelu") or bool(options.get("training", len(args) > 3 and args[3]))


def _updates_averages(kind: str, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    """Say so for functional batch and instance normalisation with averages, while training."""
    if kind not in ("batch_norm", "instance_norm"):
        return False
    averages = options.get("running_mean", args[1] if len(args) > 1 else None)
    flag = {"batch_norm": "training", "instance_norm": "use_input_stats"}[kind]
    on = args[5] if len(args) > 5 else options.get(flag, kind == "instance_norm")
    return averages is not None and bool(on)
