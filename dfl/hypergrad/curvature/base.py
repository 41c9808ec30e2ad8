"""What a curvature offers to the linear solvers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor

from dfl.hypergrad.base import Parameters
from dfl.hypergrad.layout import Layout
from dfl.hypergrad.linear.base import Product

__all__ = ["Curvature"]


@final
@dataclass(frozen=True, eq=False)
class Curvature:
    """Holds second derivatives of an inner loss ``f`` at one point, as products.

    The graph behind them is built once and lives as long as this object.

    Args:
        layout: order and shapes of the flat vectors.
        inner_gradient: ``df / d inner``. Shape ``(members, n)``.
        product: ``v -> H v`` with ``H`` the Hessian of ``f`` in ``inner``, or an
            approximation of it. ``(members, n) -> (members, n)``.
        mixed: ``q -> d (q . df/d inner) / d outer``, exact, one tensor per outer parameter.
    """

    layout: Layout
    inner_gradient: Tensor
    product: Product
    mixed: Callable[[Tensor], Parameters]
