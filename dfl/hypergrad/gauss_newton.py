"""`GaussNewton`: implicit function theorem on the generalised Gauss-Newton matrix."""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from dfl.checks import check_count, check_number
from dfl.hypergrad.conjugate_gradient import conjugate_gradient
from dfl.hypergrad.curvature.base import Curvature
from dfl.hypergrad.curvature.linear_system import LinearSolution
from dfl.hypergrad.curvature.products import CurvatureName
from dfl.hypergrad.implicit import AbstractImplicit

__all__ = ["GaussNewton"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class GaussNewton(AbstractImplicit):
    """Implicit function theorem with curvature that is never negative, and some damping.

    As `ConjugateGradient`, with defaults for networks, whose inner problem is not solved: the
    Gauss-Newton matrix of a `ComposedLoss`, at about 1.1 plain gradients per step.

    Args:
        max_iter: most steps of conjugate gradients, >= 1.
        rtol: goal for the relative residual, in [0, 1); 0 spends all steps. float32 seldom
            gets below 1e-6.
        damping: as in `AbstractImplicit`. Networks have directions without curvature: without
            damping their systems seldom reach ``rtol``.
        curvature: likewise.
        on_failure: likewise.

    Raises:
        InvalidValueError: if an option is out of range; when called, if the inner loss is
            not a `ComposedLoss`.

    Source:
        Schraudolph (2002), doi:10.1162/08997660260028683, for the matrix; Pedregosa (2016),
        arXiv:1602.02355, for the implicit gradient, whose Hessian it replaces.
    """

    effort: ClassVar[str] = "Raise max_iter"

    max_iter: int = 100
    rtol: float = 1e-5
    damping: float = 1e-3
    curvature: CurvatureName = "gauss-newton"

    def _check_options(self) -> None:
        check_count("max_iter", self.max_iter, at_least=1)
        check_number("rtol", self.rtol, at_least=0, below=1)

    def _solve(self, curvature: Curvature, right_hand_side: Tensor) -> LinearSolution:
        return conjugate_gradient(
            curvature.product,
            right_hand_side,
            max_iter=self.max_iter,
            rtol=self.rtol,
            damping=self.damping,
        )
