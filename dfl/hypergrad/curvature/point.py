"""`Point`: where derivatives are taken; losses and first derivatives there, checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dfl.errors import DTypeError, InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.hypergrad.base import Loss, Parameters

__all__ = ["Point", "Repeatable", "check_finite", "gradient", "members_of"]


@final
@dataclass(frozen=True, eq=False)
class Point:
    """Holds inner and outer parameters as leaves of a graph of their own.

    Args:
        inner: inner parameters; share memory with the caller's, not their graph.
        outer: outer parameters, likewise.
    """

    inner: Parameters
    outer: Parameters

    @classmethod
    def at(cls, inner: Parameters, outer: Parameters) -> Self:
        """Detach the caller's parameters and check them.

        Raises:
            InvalidValueError: if there is nothing to differentiate in ``inner`` or ``outer``.
            DTypeError: if a tensor is not real floating point, or inner tensors differ in
                dtype or device.
        """
        for name, parameters in (("inner", inner), ("outer", outer)):
            if not sum(value.numel() for value in parameters.values()):
                raise InvalidValueError(f"{name} must hold at least one number, got none.")
            for key, value in parameters.items():
                if not value.is_floating_point():
                    raise DTypeError(
                        f"{name}[{key!r}] must be floating point, got {value.dtype}: keep what is "
                        "not differentiated inside the loss function."
                    )
        kinds = {f"{value.dtype} on {value.device}" for value in inner.values()}
        if len(kinds) > 1:
            raise DTypeError(
                "inner tensors must share one dtype and device, got "
                f"{', '.join(sorted(kinds))}: convert them with .to(...)."
            )
        return cls(_leaves(inner), _leaves(outer))

    def outer_value(self, loss: Loss, members: int | None) -> Tensor:
        """Evaluate the outer loss here and check it. Shape ``()`` or ``(members,)``.

        Args:
            loss: the outer loss; a scalar is right for any inner loss.
            members: number of members of the inner loss; None for a scalar.

        Raises:
            ShapeError: if the outer loss has members and the inner loss has not as many.
        """
        value = self.value(loss, "outer_loss")
        if value.ndim and len(value) != members:
            came = "a scalar" if members is None else f"{members} values"
            raise ShapeError(
                f"outer_loss must return a scalar or one value per member, got {len(value)} values "
                f"where inner_loss returned {came}: let both return (members,)."
            )
        return value

    def value(self, loss: Loss, name: str = "inner_loss") -> Tensor:
        """Evaluate a loss here and check what it returns. Shape ``()`` or ``(members,)``.

        Args:
            loss: the function to evaluate.
            name: the argument that it came as, for messages.

        Raises:
            ShapeError: if the value is neither a scalar nor one value per member.
            InvalidValueError: if the value is not a finite tensor.
            UnsupportedProblemError: if the loss uses dropout, or batch normalisation that
                updates its running averages.
        """
        with Repeatable(name):
            value = loss(self.inner, self.outer)
        if not isinstance(value, Tensor):
            raise InvalidValueError(
                f"{name} must return a tensor, got {type(value).__name__}: leave out .item()."
            )
        if value.ndim > 1:
            raise ShapeError(
                f"{name} must return a scalar () or one value per member (members,), got "
                f"{tuple(value.shape)}: average over rows."
            )
        check_finite(value, f"the value of {name}")
        return value


def members_of(value: Tensor, inner: Parameters) -> int | None:
    """Return how many members a loss of this value has; None for a scalar.

    Args:
        value: what the inner loss returned.
        inner: inner parameters, which must have a leading axis of that size.

    Raises:
        ShapeError: if an inner tensor lacks the member axis.
    """
    if value.ndim == 0:
        return None
    for key, tensor in inner.items():
        if tensor.shape[:1] != value.shape:
            raise ShapeError(
                f"inner_loss returned one value for each of {len(value)} members, so "
                f"inner[{key!r}] must be ({len(value)}, ...), got {tuple(tensor.shape)}: stack "
                "the members' parameters, or return the mean over rows as a scalar."
            )
    return len(value)


def gradient(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor] | None = None,
    *,
    create_graph: bool = False,
    retain_graph: bool = False,
) -> tuple[Tensor, ...]:
    """Return ``sum over outputs of cotangent . d output / d input``, zero where unrelated.

    `torch.autograd.grad` refuses an output without a graph (a loss linear in a parameter
    has such a gradient); its derivative is zero, and zero is what comes back.

    Args:
        outputs: what is differentiated.
        inputs: with respect to what.
        cotangents: one weight per output, of its shape; None for scalar outputs of weight 1.
        create_graph: keep a graph of the result.
        retain_graph: keep the graph of ``outputs`` for another call.

    Returns:
        One tensor per input, of its shape.
    """
    weights = [None] * len(outputs) if cotangents is None else cotangents
    related = [pair for pair in zip(outputs, weights, strict=True) if pair[0].requires_grad]
    if not related:
        return tuple(torch.zeros_like(each) for each in inputs)
    return torch.autograd.grad(
        [output for output, _ in related],
        inputs,
        [weight for _, weight in related],
        create_graph=create_graph,
        retain_graph=create_graph or retain_graph,
        materialize_grads=True,
    )


def check_finite(value: Tensor, name: str) -> None:
    """Refuse NaN and infinity.

    Args:
        value: scalar, or with a leading member axis.
        name: what the value is, for the message.

    Raises:
        InvalidValueError: if an entry is not finite.
    """
    finite = value.isfinite()
    if bool(finite.all()):
        return
    where = ""
    if value.ndim:
        members = (~finite).reshape(len(value), -1).any(dim=1).nonzero().flatten().tolist()
        where = f" at index {members} of its first axis"
    raise InvalidValueError(
        f"{name} must be finite, got NaN or infinity{where}: look for overflow in the loss, a "
        "step that is too large, or missing values in the data."
    )


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
            UnsupportedProblemError: at dropout, or batch normalisation that updates its
                running averages.
        """
        options = dict(kwargs or {})
        kind = getattr(func, "__name__", "")
        if _is_dropout(kind, args, options):
            raise UnsupportedProblemError(
                f"{self._name} must give the same value at every call, but it uses dropout: call "
                "network.eval(), which switches it off, or multiply by a mask that you drew once."
            )
        if _updates_averages(kind, args, options):
            raise UnsupportedProblemError(
                f"{self._name} must change nothing, but its {kind} updates running averages at "
                "every call: call network.eval(), or build the layer with "
                "track_running_stats=False, which normalises by the rows given."
            )
        return func(*args, **options)


def _leaves(parameters: Parameters) -> Parameters:
    return {name: value.detach().requires_grad_() for name, value in parameters.items()}


def _is_dropout(kind: str, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    if kind == "scaled_dot_product_attention":
        return float(options.get("dropout_p", args[4] if len(args) > 4 else 0.0)) > 0
    if "dropout" not in kind:
        return False
    share, training = options.get("p", 0.5), options.get("training", True)
    if len(args) > 1:
        share = args[1]
    if len(args) > 2:
        training = args[2]
    return bool(training) and float(share) > 0


def _updates_averages(kind: str, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    """Say so for functional batch and instance normalisation with averages, while training."""
    if kind not in ("batch_norm", "instance_norm"):
        return False
    averages = options.get("running_mean", args[1] if len(args) > 1 else None)
    flag = {"batch_norm": "training", "instance_norm": "use_input_stats"}[kind]
    on = args[5] if len(args) > 5 else options.get(flag, kind == "instance_norm")
    return averages is not None and bool(on)
