"""`LinearStack`: a plain multi-layer perceptron, whose products need no autograd."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias, final

import torch
from torch import Tensor, nn

from dfl.errors import InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.hypergrad.base import ComposedLoss, Parameters
from dfl.hypergrad.curvature.base import Curvature, Layout
from dfl.hypergrad.curvature.point import Point, gradient, members_of

__all__ = ["ACTIVATIONS", "LinearStack", "linear_stack_curvature"]

ACTIVATIONS: Final[tuple[type[nn.Module], ...]] = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Identity,
)


@final
class LinearStack:
    """Computes the outputs of an ``nn.Sequential`` of linear layers and activations.

    ``ComposedLoss(LinearStack(network, features), criterion)`` is the same loss as one built by
    `torch.func.functional_call`, and its Hessian and Gauss-Newton products are quicker: they
    are written layer by layer, without autograd.

    Args:
        network: ``Linear`` layers, and between them elementwise activations of
            `ACTIVATIONS`, without hooks or parametrisations. A layer or parameter may stand
            at several places. Parameters that ``inner`` does not name are taken from it and
            count as frozen.
        features: rows, ``(rows, inputs)``, or ``(members, rows, inputs)``.
        with_parameters: outputs are then ``(predictions, *inner values)``, so that the
            criterion can penalise parameters.

    Raises:
        UnsupportedProblemError: if the network is built otherwise.
        ShapeError: if ``features`` does not fit the first layer.
    """

    def __init__(
        self, network: nn.Sequential, features: Tensor, *, with_parameters: bool = False
    ) -> None:
        _check_layers(network)
        inputs = network[0].in_features
        if features.ndim not in (2, 3) or features.shape[-1] != inputs:
            raise ShapeError(
                f"features must be (rows, {inputs}) or (members, rows, {inputs}), got "
                f"{tuple(features.shape)}."
            )
        self.network, self.features, self.with_parameters = network, features, with_parameters
        # A tensor at several places has one name: that of the first, as in named_parameters.
        self._names = {id(value): name for name, value in network.named_parameters()}

    def __call__(self, inner: Parameters, outer: Parameters) -> Tensor | tuple[Tensor, ...]:
        """Return predictions ``(rows, outputs)``, or ``(members, rows, outputs)``.

        Raises:
            InvalidValueError: if ``inner`` names a parameter that the network has not.
        """
        self._check_names(inner)
        hidden = self.features
        for layer in self.network:
            if isinstance(layer, nn.Linear):
                weight, bias = self.parameters_of(layer, inner)
                hidden = hidden @ weight.mT
                hidden = hidden if bias is None else hidden + bias.unsqueeze(-2)
            else:
                hidden = layer(hidden)
        return (hidden, *inner.values()) if self.with_parameters else hidden

    def names_of(self, layer: nn.Linear) -> tuple[str, str | None]:
        """Return the names of weight and bias of a linear layer in ``inner``."""
        own: Tensor | None = layer.bias  # None without bias, whatever torch's annotation says
        return self._names[id(layer.weight)], None if own is None else self._names[id(own)]

    def parameters_of(self, layer: nn.Linear, inner: Parameters) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias of a linear layer, frozen ones from the network."""
        weight, bias = self.names_of(layer)
        frozen = layer.weight.detach()
        if bias is None:
            return inner.get(weight, frozen), None
        return inner.get(weight, frozen), inner.get(bias, layer.bias.detach())

    def _check_names(self, inner: Parameters) -> None:
        unknown = [name for name in inner if name not in self._names.values()]
        if unknown:
            raise InvalidValueError(
                f"inner must hold parameters of the network, {', '.join(self._names.values())}, "
                f"got {', '.join(map(repr, unknown))}: take dict(network.named_parameters()), "
                "where a layer that is used twice stands once."
            )


def _check_layers(network: nn.Sequential) -> None:
    for index, layer in enumerate(network):
        kinds = (nn.Linear,) if index % 2 == 0 else ACTIVATIONS
        if type(layer) not in kinds:  # a subclass may compute anything
            raise UnsupportedProblemError(
                "network must alternate Linear layers and elementwise activations, got "
                f"{type(layer).__name__} at {index}: give ComposedLoss a function that uses "
                "torch.func.functional_call instead."
            )
        if layer._forward_hooks or layer._forward_pre_hooks:
            raise UnsupportedProblemError(
                f"network must have no forward hooks, got one at {index}: give ComposedLoss a "
                "function that uses torch.func.functional_call instead."
            )
    if len(network) % 2 == 0:
        raise UnsupportedProblemError(
            f"network must end with a Linear layer, got {len(network)} layers: put a last "
            "activation into the criterion."
        )


def linear_stack_curvature(
    criterion: ComposedLoss, stack: LinearStack, point: Point, *, exact: bool
) -> Curvature:
    """Return the Hessian or the Gauss-Newton matrix of a loss on a `LinearStack`.

    A product is one forward and one backward pass of directional derivatives: four matrix
    products per layer for Gauss-Newton and six for the Hessian, two in the first layer, where
    a plain gradient has three, and two in the first layer.

    Args:
        criterion: the loss, whose outputs are ``stack``.
        stack: the outputs.
        point: where to differentiate.
        exact: the Hessian; else Gauss-Newton.

    Raises:
        ShapeError: if the loss returns neither a scalar nor one value per member.
        InvalidValueError: if the loss is not finite.

    Source:
        Pearlmutter (1994), doi:10.1162/neco.1994.6.1.147, section 4, for the Hessian;
        Schraudolph (2002), doi:10.1162/08997660260028683, section 3, for Gauss-Newton.
    """
    with torch.no_grad():
        raw = stack(point.inner, point.outer)  # refuses names that the network has not
    free = [each.detach().requires_grad_() for each in (raw if isinstance(raw, tuple) else (raw,))]
    given = tuple(free) if isinstance(raw, tuple) else free[0]
    value = point.value(lambda _, outer: criterion.criterion(given, outer))
    layout = Layout.of(point.inner, members_of(value, point.inner))
    outer = list(point.outer.values())
    slopes = gradient([value.sum()], free, create_graph=True)
    network = _Passes.of(stack, point.inner, layout.rows, slopes[0].detach())

    def outputs(tangent: Tensor, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (tangent.reshape(free[0].shape), *(parts if len(free) > 1 else ()))

    def product(vector: Tensor) -> Tensor:
        parts = layout.unflatten(vector)
        moving = dict(zip(point.inner, parts, strict=True))
        steps, tangent = network.forward(moving)
        curved = gradient(slopes, free, outputs(tangent, parts), retain_graph=True)
        found = network.backward(moving, steps, curved[0], exact=exact)
        images = [found[name].reshape(value.shape) for name, value in point.inner.items()]
        if len(free) > 1:
            images = [image + more for image, more in zip(images, curved[1:], strict=True)]
        return layout.flatten(images)

    def mixed(vector: Tensor) -> Parameters:
        parts = layout.unflatten(vector)
        tangent = network.forward(dict(zip(point.inner, parts, strict=True)))[1]
        found = gradient(slopes, outer, outputs(tangent, parts), retain_graph=True)
        return dict(zip(point.outer, found, strict=True))

    first = network.gradient()
    slope = [first[name].reshape(value.shape) for name, value in point.inner.items()]
    if len(free) > 1:
        slope = [own + more.detach() for own, more in zip(slope, slopes[1:], strict=True)]
    return Curvature(layout, layout.flatten(slope), product, mixed)


@final
@dataclass(frozen=True, eq=False)
class _Layer:
    """One linear layer at the point. Tensors are ``(members, ...)``.

    Args:
        weight_name: of its weight in ``inner``; a name may stand at several layers.
        bias_name: of its bias; None without.
        inputs: what goes in. Shape ``(members, rows, in)``.
        weight: shape ``(members, out, in)``.
        first: derivative of the activation that made ``inputs``; None for the first layer.
        second: its second derivative times the slope behind it; None where that is 0.
        slope: derivative of the loss in what goes out. Shape ``(members, rows, out)``.
        moved_inputs: room for the inputs' directional derivative, reused by every product.
        moved_outputs: likewise for the outputs'.
    """

    weight_name: str
    bias_name: str | None
    inputs: Tensor
    weight: Tensor
    first: Tensor | None
    second: Tensor | None
    slope: Tensor
    moved_inputs: Tensor
    moved_outputs: Tensor


_Step: TypeAlias = tuple[Tensor | None, Tensor | None]
"""Directional derivatives before and after the activation that feeds a layer; None for 0."""


@final
@dataclass(frozen=True, eq=False)
class _Passes:
    """Passes of derivatives through the layers, at one point.

    Args:
        layers: from the first to the last.
    """

    layers: tuple[_Layer, ...]

    @classmethod
    @torch.no_grad()
    def of(cls, stack: LinearStack, inner: Parameters, members: int, slope: Tensor) -> Self:
        """Run the network forward and backward once, and keep what every product needs."""
        hidden = stack.features.expand(members, *stack.features.shape[-2:])
        activation: tuple[Tensor | None, Tensor | None] = (None, None)
        forward = []
        for layer in stack.network:
            if isinstance(layer, nn.Linear):
                weight, bias = stack.parameters_of(layer, inner)
                weight = weight.expand(members, *weight.shape[-2:])
                forward.append((stack.names_of(layer), hidden, weight, *activation))
                hidden = hidden @ weight.mT
                hidden = hidden if bias is None else hidden + bias.unsqueeze(-2)
            else:
                activation = _derivatives(layer, hidden)
                hidden = layer(hidden)
        slope, layers = slope.reshape(hidden.shape), []
        for names, inputs, weight, first, second in reversed(forward):
            above = slope @ weight
            second = None if second is None else second * above
            rooms = above.new_empty(above.shape), slope.new_empty(slope.shape)
            layers.append(_Layer(*names, inputs, weight, first, second, slope, *rooms))
            slope = above if first is None else above * first
        return cls(tuple(reversed(layers)))

    @torch.no_grad()
    def forward(self, moving: Parameters) -> tuple[list[_Step], Tensor]:
        """Return the steps, and the outputs' derivative along ``moving``."""
        steps: list[_Step] = []
        outgoing: Tensor | None = None
        for layer in self.layers:
            before, incoming = outgoing, outgoing
            if incoming is not None and layer.first is not None:
                room = incoming if layer.second is None else layer.moved_inputs
                incoming = torch.mul(incoming, layer.first, out=room)
            steps.append((before, incoming))
            outgoing = _moved(layer, moving, incoming)
        last = self.layers[-1]
        return steps, torch.zeros_like(last.slope) if outgoing is None else outgoing

    @torch.no_grad()
    def backward(
        self, moving: Parameters, steps: Sequence[_Step], slope: Tensor, *, exact: bool
    ) -> Parameters:
        """Return the derivative of the gradient along ``moving``.

        Args:
            moving: the direction.
            steps: what `forward` returned for it.
            slope: derivative along it of the loss's gradient in the outputs.
            exact: count in the network's own curvature.
        """
        slope, found = slope.reshape(self.layers[-1].slope.shape), _Sums()
        for layer, (before, incoming) in zip(reversed(self.layers), reversed(steps), strict=True):
            weight = _outer(slope, layer.inputs)
            if exact and incoming is not None:
                weight.baddbmm_(layer.slope.mT, incoming)
            found.add(layer, weight, slope.sum(dim=1))
            if layer.first is None:
                break
            slope = torch.bmm(slope, layer.weight, out=layer.moved_inputs)
            turned = _shaped(moving, layer.weight_name, layer.weight) if exact else None
            if turned is not None:
                slope.baddbmm_(layer.slope, turned)
            slope.mul_(layer.first)
            if exact and layer.second is not None and before is not None:
                slope.addcmul_(layer.second, before)
        return found.by_name

    @torch.no_grad()
    def gradient(self) -> Parameters:
        """Return the plain gradient through the outputs."""
        found = _Sums()
        for layer in self.layers:
            found.add(layer, layer.slope.mT @ layer.inputs, layer.slope.sum(dim=1))
        return found.by_name


@final
class _Sums:
    """Derivatives by name; those of a parameter at several places add up."""

    def __init__(self) -> None:
        self.by_name: Parameters = {}

    def add(self, layer: _Layer, weight: Tensor, bias: Tensor) -> None:
        """Add what one place contributes."""
        for name, value in ((layer.weight_name, weight), (layer.bias_name, bias)):
            if name is not None:
                old = self.by_name.get(name)
                self.by_name[name] = value if old is None else old + value


def _moved(layer: _Layer, moving: Parameters, incoming: Tensor | None) -> Tensor | None:
    """Return the derivative of what a layer gives; None where nothing moves."""
    turned = _shaped(moving, layer.weight_name, layer.weight)
    bias = None if layer.bias_name is None else moving.get(layer.bias_name)
    found: Tensor | None = None
    if bias is not None:
        found = layer.moved_outputs.copy_(bias.reshape(layer.slope.shape[0], 1, -1))
    for left, right in ((layer.inputs, turned), (incoming, layer.weight)):
        if left is None or right is None:
            continue
        if found is None:
            found = torch.bmm(left, right.mT, out=layer.moved_outputs)
        else:
            found.baddbmm_(left, right.mT)
    return found


def _outer(slope: Tensor, inputs: Tensor) -> Tensor:
    """Return ``slope^T inputs``; the larger side as columns is quicker by up to a half."""
    if slope.shape[2] > inputs.shape[2]:
        return (inputs.mT @ slope).mT
    return slope.mT @ inputs


def _shaped(moving: Parameters, name: str, like: Tensor) -> Tensor | None:
    value = moving.get(name)
    return None if value is None else value.reshape(like.shape)


def _derivatives(layer: nn.Module, before: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return first and second derivative of an activation; None for a second that is 0."""
    leaf = before.detach().requires_grad_()
    with torch.enable_grad():
        after = layer(leaf.clone())  # a copy, because an activation may write in place
        (first,) = gradient([after.sum()], [leaf], create_graph=True)
        (second,) = gradient([first.sum()], [leaf])
    return first.detach(), second if bool(second.any()) else None
