"""`hessian`: exact second derivatives by a second backward pass."""

from torch import Tensor

from dfl.hypergrad.base import Loss, Parameters
from dfl.hypergrad.composed_loss import ComposedLoss
from dfl.hypergrad.curvature.base import Curvature
from dfl.hypergrad.curvature.linear_stack import linear_stack_curvature
from dfl.hypergrad.layout import Layout
from dfl.hypergrad.linear_stack import LinearStack
from dfl.hypergrad.point import Point, gradient, members_of

__all__ = ["hessian"]


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
