"""The implicit function theorem, shared by every hypergradient that solves a linear system."""

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from dfl.hypergrad.base import Diagnostics, Hypergradient, Loss
from dfl.hypergrad.curvature import Curvature
from dfl.hypergrad.linear import LinearSolution, Product
from dfl.hypergrad.point import Point, check_finite, gradient

__all__ = ["Solve", "implicit_hypergradient"]

Solve: TypeAlias = Callable[[Product, Tensor], LinearSolution]


def implicit_hypergradient(
    curvature: Curvature, outer_loss: Loss, point: Point, solve: Solve
) -> Hypergradient:
    """Return ``dF/d outer - (d2f / d outer d inner) q`` with ``H q = dF/d inner``.

    ``f`` is the inner and ``F`` the outer loss.

    Args:
        curvature: second derivatives of the inner loss at ``point``; ``H`` is its product.
        outer_loss: ``F``, a scalar or one value per member.
        point: the inner optimum and the outer parameters.
        solve: solves the linear system.

    Raises:
        ShapeError: if ``F`` has another number of members than ``f``.
        InvalidValueError: if a loss or gradient is not finite.

    Source:
        Pedregosa (2016), arXiv:1602.02355, equation 2.
    """
    layout = curvature.layout
    check_finite(layout.per_member(curvature.inner_gradient), "the gradient of inner_loss in inner")
    value = point.outer_value(outer_loss, layout.members)
    inner, outer = list(point.inner.values()), list(point.outer.values())
    slopes = gradient([value.sum()], [*inner, *outer])
    right_hand_side = layout.flatten(slopes[: len(inner)])
    check_finite(layout.per_member(right_hand_side), "the gradient of outer_loss in inner")
    solution = solve(curvature.product, right_hand_side)
    indirect = curvature.mixed(solution.solution)
    direct = zip(point.outer, slopes[len(inner) :], strict=True)
    outer_grad = {name: slope - indirect[name] for name, slope in direct}
    for name, slope in outer_grad.items():
        check_finite(slope, f"the hypergradient of outer[{name!r}]")
    diagnostics = Diagnostics(
        solution.iterations,
        layout.per_member(solution.residual),
        layout.per_member(solution.curvature),
        layout.per_member(curvature.inner_gradient.norm(dim=1)),
    )
    return Hypergradient(outer_grad, value.detach(), diagnostics)
