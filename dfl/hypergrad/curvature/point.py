"""`Point`: where derivatives are taken; losses and first derivatives there, checked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, Self, final

import torch
from torch import Tensor

from dfl.checks import check_unmapped, put_off, putting_off
from dfl.errors import DTypeError, InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.hypergrad.base import Loss, Parameters, Repeatable
from dfl.scale import check_bare

__all__ = [
    "Point",
    "check_depends",
    "check_finite",
    "check_graph",
    "evaluate",
    "gradient",
    "members_of",
    "recording",
]

_UNMAPPED = "stack problems along a leading axis; a hypergradient itself has no derivative"
_AMBIENT = ("cpu", "cuda", "mps", "xpu")  # kinds of device that torch.autocast knows of


@final
@dataclass(frozen=True, eq=False)
class Point:
    """Holds inner and outer parameters as leaves of a graph of their own.

    Args:
        inner: inner parameters; share memory with the caller's, not their graph. (Tensors
            made under `torch.inference_mode` cannot have one, and are copied.)
        outer: outer parameters, likewise.
    """

    inner: Parameters
    outer: Parameters

    @classmethod
    def at(cls, inner: Parameters, outer: Parameters) -> Self:
        """Detach the caller's parameters and check them.

        Raises:
            InvalidValueError: if ``inner`` or ``outer`` is no dict of tensors, or there is
                nothing to differentiate in it.
            DTypeError: if a tensor is not real floating point, or inner ones differ in kind.
            UnsupportedProblemError: if one is sparse, on "meta", of a wrapped module, or mapped.
        """
        for name, parameters in (("inner", inner), ("outer", outer)):
            _check_parameters(name, parameters)
            check_bare(name, parameters)
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
            InvalidValueError: if it depends on neither inner nor outer parameters.
        """
        value = self.value(loss, "outer_loss")
        if value.ndim and len(value) != members:
            came = "a scalar" if members is None else f"{members} values"
            raise ShapeError(
                f"outer_loss must return a scalar or one value per member, got {len(value)} values "
                f"where inner_loss returned {came}: let both return (members,)."
            )
        check_graph(value, "outer_loss", "inner or outer")
        return value

    def value(self, loss: Loss, name: str = "inner_loss") -> Tensor:
        """Evaluate a loss here and check what it returns. Shape ``()`` or ``(members,)``.

        Args:
            loss: the function to evaluate.
            name: the argument that it came as, for messages.

        Raises:
            ShapeError: if the value is neither a scalar nor one value per member.
            InvalidValueError: if the loss is no function, or its value no finite tensor.
            DTypeError: if the value is complex.
            UnsupportedProblemError: if the loss uses dropout, or batch or spectral normalisation
                that updates what it keeps; if an inner loss draws random numbers.
        """
        if not callable(loss):
            raise InvalidValueError(
                f"{name} must be a function (inner, outer) -> tensor, got {type(loss).__name__}."
            )
        with Repeatable(name):
            value = evaluate(loss, self.inner, self.outer)
        if not isinstance(value, Tensor):
            raise InvalidValueError(
                f"{name} must return a tensor, got {type(value).__name__}: leave out .item()."
            )
        if value.ndim > 1:
            raise ShapeError(
                f"{name} must return a scalar () or one value per member (members,), got "
                f"{tuple(value.shape)}: average over rows."
            )
        if value.is_complex():
            raise DTypeError(f"{name} must return a real number, got {value.dtype}: take .real.")
        check_finite(value, f"the value of {name}")
        return value


@contextmanager
def recording() -> Iterator[None]:
    """Let autograd record in the parameters' own dtype, whatever mode the caller is in.

    `torch.no_grad`, `torch.inference_mode` and `torch.autocast` are suspended inside. (Under the
    last, products of curvature would carry three digits only; a loss may switch it on itself.)

    Raises:
        UnsupportedProblemError: if a loss cannot be differentiated, because it uses tensors
            that were made under inference mode, writes into its parameters, or uses a function
            of which torch has no second derivative.
        DTypeError: if a loss mixes dtypes and relies on autocast.
        RuntimeError: another error of torch, as it is.
    """
    cast = [device for device in _AMBIENT if torch.is_autocast_enabled(device)]
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in cast:
            stack.enter_context(torch.autocast(device, enabled=False))
        try:
            yield
        except RuntimeError as error:
            said = str(error)
            if "Inference tensors cannot be saved" in said:
                raise UnsupportedProblemError(
                    "a loss must be differentiable, but it uses tensors that were made under "
                    "torch.inference_mode: make them outside of it, or use copies made by .clone() "
                    "outside of it."
                ) from error
            if "in-place operation" in said or "inplace operation" in said:
                raise UnsupportedProblemError(
                    "a loss must change nothing, but it writes into its parameters, or into what "
                    "their derivatives need, in place: write value * 2 in place of value.mul_(2)."
                ) from error
            if said.startswith("derivative for aten::") and "not implemented" in said:
                raise UnsupportedProblemError(
                    f"a loss must be twice differentiable, but torch says: {said}. "
                    f"Attention has one under "
                    "torch.nn.attention.sdpa_kernel(SDPBackend.MATH), used within the loss."
                ) from error
            if cast and "same dtype" in said:
                raise DTypeError(
                    f"a loss must not rely on torch.autocast, which is suspended here: {said}: "
                    "convert with .to(...), or switch autocast on inside the loss."
                ) from error
            raise


def evaluate(loss: Loss, inner: Parameters, outer: Parameters) -> Tensor:
    """Return ``loss(inner, outer)``, on dicts of its own: what it does to them is forgotten."""
    return loss(dict(inner), dict(outer))


def check_graph(value: Tensor, name: str, leaves: str) -> None:
    """Refuse a loss that depends on no parameter: every derivative would be zero.

    Args:
        value: what the loss returned, with gradients switched on.
        name: the argument that the loss came as, for the message.
        leaves: what it must depend on, for the message.

    Raises:
        InvalidValueError: if the value has no graph.
    """
    if not value.requires_grad:
        raise InvalidValueError(
            f"{name} must depend on {leaves}, got a value without a derivative: leave out "
            ".detach(), .item(), torch.no_grad, comparisons and whole numbers."
        )


def check_depends(
    slopes: Iterable[Tensor],
    losses: Mapping[str, Loss],
    point: Point,
    leaves: Literal["inner", "outer"],
) -> None:
    """Refuse a derivative that is zero because no loss uses any of the parameters.

    Args:
        slopes: the derivative; where a number is not zero, nothing is done.
        losses: what was differentiated, by the arguments that they came as.
        point: where it was taken.
        leaves: with respect to what.

    Raises:
        InvalidValueError: if no loss depends on these parameters.
    """
    # In a step of training, whose losses are ours, this would wait for the device.
    if putting_off() or any(bool(slope.any()) for slope in slopes):
        return
    parameters = getattr(point, leaves)
    for loss in losses.values():
        value = evaluate(loss, point.inner, point.outer)
        if value.requires_grad:
            inputs = list(parameters.values())
            found = torch.autograd.grad(value.sum(), inputs, allow_unused=True)
            if any(slope is not None for slope in found):
                return
    raise InvalidValueError(
        f"{' or '.join(losses)} must depend on {leaves}, but uses none of "
        f"{', '.join(map(repr, parameters))}: look for .detach(), .item() or torch.no_grad on the "
        "way, or for a tensor that is used in place of the argument."
    )


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
    text = f"{name} must be finite, got NaN or infinity"
    remedy = ": look for overflow in the loss, a step too large, or missing values in the data."
    if put_off(finite.all(), text + remedy) or bool(finite.all()):
        return
    if value.ndim:
        members = (~finite).reshape(len(value), -1).any(dim=1).nonzero().flatten().tolist()
        text += f" at index {members} of its first axis"
    raise InvalidValueError(text + remedy)


def _leaves(parameters: Parameters) -> Parameters:
    return {name: _leaf(value) for name, value in parameters.items()}


def _leaf(value: Tensor) -> Tensor:
    with torch.inference_mode(False):
        return (value.clone() if value.is_inference() else value.detach()).requires_grad_()


def _check_parameters(name: str, parameters: Parameters) -> None:
    if not isinstance(parameters, Mapping):
        raise InvalidValueError(
            f"{name} must be a dict of tensors by name, got {type(parameters).__name__}: "
            "dict(module.named_parameters()) is one."
        )
    for key, value in parameters.items():
        if not isinstance(value, Tensor):
            raise InvalidValueError(
                f"{name}[{key!r}] must be a tensor, got {type(value).__name__}: use "
                "torch.as_tensor."
            )
        if not value.is_floating_point():
            raise DTypeError(
                f"{name}[{key!r}] must be floating point, got {value.dtype}: keep what is "
                "not differentiated inside the loss function."
            )
        if value.layout != torch.strided or value.is_meta:
            came = "the device meta" if value.is_meta else str(value.layout)
            raise UnsupportedProblemError(
                f"{name}[{key!r}] must hold its numbers densely, got {came}: use .to_dense(), or a "
                "tensor with numbers."
            )
        check_unmapped(f"{name}[{key!r}]", value, _UNMAPPED)
    if not sum(value.numel() for value in parameters.values()):
        raise InvalidValueError(f"{name} must hold at least one number, got none.")
