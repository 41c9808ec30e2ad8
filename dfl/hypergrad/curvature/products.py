"""`curvature_of`: second derivatives of an inner loss, exact or Gauss-Newton, as products."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from dfl.errors import DTypeError, InvalidValueError
from dfl.hypergrad.base import ComposedLoss, Loss, Outputs, Parameters, Repeatable
from dfl.hypergrad.curvature.base import Curvature, Layout
from dfl.hypergrad.curvature.linear_stack import LinearStack, linear_stack_curvature
from dfl.hypergrad.curvature.point import Point, gradient, members_of
from dfl.scale import all_over_ranks, over_ranks

__all__ = ["CURVATURES", "CurvatureName", "curvature_of", "gauss_newton", "hessian"]

CurvatureName: TypeAlias = Literal["hessian", "gauss-newton"]


def curvature_of(name: CurvatureName, loss: Loss, point: Point) -> Curvature:
    """Return the named second derivatives of ``loss`` at ``point``, summed over ranks.

    Raises:
        ShapeError: if the loss returns neither a scalar nor one value per member.
        InvalidValueError: if the loss is not finite, or no `ComposedLoss` where
            Gauss-Newton needs one.
    """
    own = CURVATURES[name](loss, point)

    def product(vector: Tensor) -> Tensor:
        return over_ranks(own.product(vector))

    def mixed(vector: Tensor) -> Parameters:
        found = own.mixed(vector)
        return dict(zip(found, all_over_ranks(list(found.values())), strict=True))

    return Curvature(own.layout, over_ranks(own.inner_gradient), product, mixed)


def hessian(loss: Loss, point: Point) -> Curvature:
    """Return the exact Hessian of ``loss`` in the inner parameters, as products.

    ``H v = d (v . df/d inner) / d inner``: the gradient's graph is built once, a product is
    one backward pass through it, about two plain gradients of work. A `LinearStack` has
    products of its own, at about one.

    Args:
        loss: inner loss.
        point: where to differentiate.

    Raises:
        ShapeError: if the loss returns neither a scalar nor one value per member.
        InvalidValueError: if the loss is not finite.

    Source:
        Pearlmutter (1994), Fast exact multiplication by the Hessian,
        doi:10.1162/neco.1994.6.1.147; reverse over reverse instead of forward over reverse.
    """
    if isinstance(loss, ComposedLoss) and isinstance(loss.outputs, LinearStack):
        return linear_stack_curvature(loss, loss.outputs, point, exact=True)
    value = point.value(loss)
    layout = Layout.of(point.inner, members_of(value, point.inner))
    inner, outer = list(point.inner.values()), list(point.outer.values())
    slopes = gradient([value.sum()], inner, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        parts = layout.unflatten(vector)
        return layout.flatten(gradient(slopes, inner, parts, retain_graph=True))

    def mixed(vector: Tensor) -> Parameters:
        parts = layout.unflatten(vector)
        found = gradient(slopes, outer, parts, retain_graph=True)
        return dict(zip(point.outer, found, strict=True))

    return Curvature(layout, layout.flatten(slopes).detach(), product, mixed)


def gauss_newton(loss: Loss, point: Point) -> Curvature:
    """Return the generalised Gauss-Newton matrix of ``loss``, as products.

    ``G v = J^T B J v`` with ``J = d outputs / d inner`` and ``B`` the Hessian of the
    criterion in the outputs. ``J v`` is a backward pass through the graph of ``u -> J^T u``,
    which is linear in ``u``, so that graph is built once; a product costs about 1.1 plain
    gradients. The mixed derivative is exact.

    Args:
        loss: inner loss, a `ComposedLoss`.
        point: where to differentiate.

    Raises:
        ShapeError: if the loss returns neither a scalar nor one value per member.
        InvalidValueError: if the loss is no `ComposedLoss` or not finite.
        DTypeError: if outputs are not floating point.

    Source:
        Schraudolph (2002), Fast curvature matrix-vector products,
        doi:10.1162/08997660260028683, section 3.
    """
    composed = _composed(loss)
    if isinstance(composed.outputs, LinearStack):
        return linear_stack_curvature(composed, composed.outputs, point, exact=False)
    with Repeatable("inner_loss"):
        raw = composed.outputs(dict(point.inner), dict(point.outer))
    outputs = _tensors(raw)
    free = [each.detach().requires_grad_() for each in outputs]  # cut off from the network
    given = tuple(free) if isinstance(raw, tuple) else free[0]
    value = point.value(lambda _, outer: composed.criterion(given, outer))
    layout = Layout.of(point.inner, members_of(value, point.inner))
    inner, outer = list(point.inner.values()), list(point.outer.values())
    slopes = gradient([value.sum()], free, create_graph=True)
    weights = [torch.zeros_like(each, requires_grad=True) for each in outputs]
    pulled = gradient(outputs, inner, weights, create_graph=True)  # J^T weights

    def pushed(vector: Tensor, *, create_graph: bool = False) -> tuple[Tensor, ...]:  # J vector
        parts = layout.unflatten(vector)
        return gradient(pulled, weights, parts, create_graph=create_graph, retain_graph=True)

    def curved(tangents: tuple[Tensor, ...]) -> tuple[Tensor, ...]:  # B tangents
        return gradient(slopes, free, tangents, retain_graph=True)

    def product(vector: Tensor) -> Tensor:
        cotangents = curved(pushed(vector))
        return layout.flatten(gradient(outputs, inner, cotangents, retain_graph=True))

    def mixed(vector: Tensor) -> Parameters:
        # d/d outer of (J vector) . slopes, by the product rule: outer may enter through J, the
        # criterion, or the outputs; paths that do not lead to outer cost nothing.
        tangents = pushed(vector, create_graph=True)
        fixed = tuple(each.detach() for each in tangents)
        found = gradient(
            [*tangents, *slopes, *outputs],
            outer,
            [*(slope.detach() for slope in slopes), *fixed, *curved(fixed)],
            retain_graph=True,
        )
        return dict(zip(point.outer, found, strict=True))

    inner_gradient = layout.flatten(gradient(outputs, inner, slopes, retain_graph=True))
    return Curvature(layout, inner_gradient.detach(), product, mixed)


CURVATURES = {"hessian": hessian, "gauss-newton": gauss_newton}


def _composed(loss: Loss) -> ComposedLoss:
    if not isinstance(loss, ComposedLoss):
        raise InvalidValueError(
            f"inner_loss must be a ComposedLoss, got {type(loss).__name__}: Gauss-Newton needs "
            "the network's outputs and the convex criterion apart. Build it so: "
            "ComposedLoss(outputs=lambda inner, outer: functional_call(network, inner, (x,)), "
            "criterion=lambda outputs, outer: ((outputs - y) ** 2).mean())."
        )
    return loss


def _tensors(outputs: Outputs) -> tuple[Tensor, ...]:
    found = outputs if isinstance(outputs, tuple) else (outputs,)
    for each in found:
        if not isinstance(each, Tensor):
            raise InvalidValueError(
                "outputs of a ComposedLoss must return a tensor or a tuple of tensors, got "
                f"{type(each).__name__}."
            )
        if not each.is_floating_point():
            raise DTypeError(
                f"outputs of a ComposedLoss must be floating point, got {each.dtype}: let the "
                "criterion hold what is not differentiated."
            )
    return found
