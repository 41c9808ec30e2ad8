"""`Identity`: implicit function theorem with the curvature left out."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar, final

import torch
from torch import Tensor

from dfl.checks import check_number
from dfl.hypergrad.curvature.base import Curvature
from dfl.hypergrad.curvature.linear_system import (
    LinearSolution,
    balance,
    check_products,
    relative_residual,
)
from dfl.hypergrad.implicit import AbstractImplicit

__all__ = ["Identity"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Identity(AbstractImplicit):
    """Replaces the inverse Hessian by a multiple of the identity: first order, cheap, biased.

    As `AbstractImplicit`, with ``I / scale`` in place of ``H``: ``q = dF/d inner / (1 / scale +
    damping)``. With the step of plain descent as ``scale`` and no damping this is the
    derivative of one inner step. The relative error of ``q`` is then ``|I - scale H|`` at
    most: right where the inner Hessian is ``I / scale``. Costs two plain gradients, and one
    product for the residual, which says how far off ``q`` is.

    Args:
        scale: stands for the inverse Hessian, in inverse units of it, > 0.
        damping: as in `AbstractImplicit`.
        rtol: goal for the relative residual, > 0; infinite asks for none.
        curvature: as in `AbstractImplicit`; it decides about the residual alone.
        on_failure: as in `AbstractImplicit`.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Luketina et al. (2016), arXiv:1511.06727, T1-T2.
    """

    effort: ClassVar[str] = "Bring scale nearer to the inverse Hessian"

    scale: float = 1.0
    rtol: float = inf

    def _check_options(self) -> None:
        check_number("scale", self.scale, above=0)
        check_number("rtol", self.rtol, above=0, finite=False)

    def _solve(self, curvature: Curvature, right_hand_side: Tensor) -> LinearSolution:
        size = balance(right_hand_side)
        target = right_hand_side / size
        solution = self.scale / (1 + self.scale * self.damping) * target
        residual = relative_residual(curvature.product, solution, target, self.damping)
        check_products(residual.isfinite())
        unknown = torch.full_like(residual, torch.nan)
        return LinearSolution(solution * size, 1, residual, unknown, residual <= self.rtol)
