"""`Identity`: implicit function theorem with the curvature left out."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar, final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.hypergrad.base import AbstractHypergradient, Hypergradient, Loss, Parameters
from dfl.hypergrad.curvature import hessian
from dfl.hypergrad.implicit import implicit_hypergradient
from dfl.hypergrad.linear import LinearSolution, Product
from dfl.hypergrad.linear.scaling import check_products, power_of_two, relative_residual
from dfl.hypergrad.point import Point

__all__ = ["Identity"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Identity(AbstractHypergradient):
    """Replaces the inverse Hessian by a multiple of the identity: first order, cheap, biased.

    Returns ``dF/d outer - (d2f / d outer d inner) q`` with ``q = scale * dF/d inner``, ``f`` the
    inner and ``F`` the outer loss. With the step of plain descent as ``scale`` this is the
    derivative of one inner step. The relative error of ``q`` is ``|I - scale H|`` at most:
    right where the inner Hessian is ``I / scale``. Costs two plain gradients, and one product
    for the residual, which says how far off ``q`` is.

    Args:
        scale: stands for the inverse Hessian, in inverse units of it, > 0.

    Raises:
        InvalidValueError: if ``scale`` is not positive and finite.

    Source:
        Luketina et al. (2016), arXiv:1511.06727, T1-T2.
    """

    needs_optimum: ClassVar[bool] = True

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the option."""
        if not 0 < self.scale < inf:
            raise InvalidValueError(f"scale must be > 0 and finite, got {self.scale:g}.")

    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        """Return the first-order hypergradient at ``inner``."""
        with torch.enable_grad():
            point = Point.at(inner, outer)
            curvature = hessian(inner_loss, point)
            return implicit_hypergradient(curvature, outer_loss, point, self._solve)

    def _solve(self, product: Product, right_hand_side: Tensor) -> LinearSolution:
        size = power_of_two(right_hand_side)
        target = right_hand_side / size
        solution = self.scale * target
        residual = relative_residual(product, solution, target, 0.0)
        check_products(residual.isfinite())
        unknown = torch.full_like(residual, torch.nan)
        return LinearSolution(solution * size, 1, residual, unknown, residual < 1)
