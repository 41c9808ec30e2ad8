"""`GaussNewton`: implicit function theorem on the generalised Gauss-Newton matrix."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from dfl.hypergrad.base import AbstractHypergradient, Hypergradient, Loss, Parameters
from dfl.hypergrad.convergence import OnFailure, check_on_failure, require_converged
from dfl.hypergrad.curvature import gauss_newton
from dfl.hypergrad.implicit import implicit_hypergradient
from dfl.hypergrad.linear import LinearSolution, Product, conjugate_gradient
from dfl.hypergrad.linear.conjugate_gradient import check_options
from dfl.hypergrad.point import Point

__all__ = ["GaussNewton"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class GaussNewton(AbstractHypergradient):
    """Implicit function theorem with curvature that is never negative.

    Returns ``dF/d outer - (d2f / d outer d inner) q`` where ``(J^T B J + damping I) q =
    dF/d inner``, ``f`` the inner and ``F`` the outer loss, ``J`` the Jacobian of the
    network's outputs in ``inner`` and ``B`` the Hessian of the criterion in the outputs.
    The mixed derivative is exact. The matrix is the Hessian itself where the outputs are
    linear in ``inner``, and near it where residuals are small; with a convex criterion it
    is positive semi-definite everywhere, so ``inner`` need not be a minimum for the system
    to make sense. Each step costs one product, about 1.1 plain gradients of ``f``; one
    more product measures the residual.

    Args:
        max_iter: most steps of conjugate gradients, >= 1.
        rtol: a member is solved when ``|residual| <= rtol * |dF/d inner|``, no unit, in
            [0, 1); 0 spends all steps. float32 seldom gets below 1e-6.
        damping: added to the matrix's diagonal, in its units (inner loss per squared
            parameter), >= 0. Networks have directions without curvature: without damping
            their systems seldom reach ``rtol``.
        on_failure: ``"raise"`` an error where ``rtol`` is missed, or ``"return"`` the answer
            so far, with what happened in ``diagnostics``.

    Raises:
        InvalidValueError: if an option is out of range; when called, if the inner loss is
            not a `ComposedLoss`.

    Source:
        Schraudolph (2002), doi:10.1162/08997660260028683, for the matrix; Pedregosa (2016),
        arXiv:1602.02355, for the implicit gradient, whose Hessian it replaces.
    """

    needs_optimum: ClassVar[bool] = True

    max_iter: int = 100
    rtol: float = 1e-5
    damping: float = 1e-3
    on_failure: OnFailure = "raise"

    def __post_init__(self) -> None:
        """Check the options."""
        check_options(max_iter=self.max_iter, rtol=self.rtol, damping=self.damping)
        check_on_failure(self.on_failure)

    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        """Return the hypergradient at ``inner``; ``inner_loss`` must be a `ComposedLoss`."""
        with torch.enable_grad():
            point = Point.at(inner, outer)
            curvature = gauss_newton(inner_loss, point)
            return implicit_hypergradient(curvature, outer_loss, point, self._solve)

    def _solve(self, product: Product, right_hand_side: Tensor) -> LinearSolution:
        solution = conjugate_gradient(
            product,
            right_hand_side,
            max_iter=self.max_iter,
            rtol=self.rtol,
            damping=self.damping,
        )
        if self.on_failure == "raise":
            require_converged(
                solution,
                rtol=self.rtol,
                damping=self.damping,
                matrix="Gauss-Newton matrix",
                remedy="make the criterion convex in the outputs",
            )
        return solution
