"""`ConjugateGradient`: implicit function theorem on the exact inner Hessian."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from dfl.hypergrad.base import AbstractHypergradient, Hypergradient, Loss, Parameters
from dfl.hypergrad.convergence import OnFailure, check_on_failure, require_converged
from dfl.hypergrad.curvature import hessian
from dfl.hypergrad.implicit import implicit_hypergradient
from dfl.hypergrad.linear import LinearSolution, Product, conjugate_gradient
from dfl.hypergrad.linear.conjugate_gradient import check_options
from dfl.hypergrad.point import Point

__all__ = ["ConjugateGradient"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class ConjugateGradient(AbstractHypergradient):
    """Implicit function theorem; the linear system is solved by conjugate gradients.

    Returns ``dF/d outer - (d2f / d outer d inner) q`` where ``(H + damping I) q =
    dF/d inner``, ``f`` the inner and ``F`` the outer loss, ``H`` the exact Hessian of ``f``
    in ``inner``. Right where ``inner`` is a minimum of ``f``; at another point of a network
    ``H`` may have negative curvature: then see `GaussNewton`, or damp. Each step costs one
    product, about two plain gradients of ``f``; one more product measures the residual.

    Args:
        max_iter: most steps of conjugate gradients, >= 1.
        rtol: a member is solved when ``|residual| <= rtol * |dF/d inner|``, no unit, in
            [0, 1); 0 spends all steps. float32 seldom gets below 1e-6.
        damping: added to the Hessian's diagonal, in its units (inner loss per squared
            parameter), >= 0. Stabilises, and shrinks the indirect part.
        on_failure: ``"raise"`` an error where ``rtol`` is missed, or ``"return"`` the answer
            so far, with what happened in ``diagnostics``.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Pedregosa (2016), arXiv:1602.02355, algorithm 1 (HOAG). Deviations: damping, one
        system per member.
    """

    needs_optimum: ClassVar[bool] = True

    max_iter: int = 100
    rtol: float = 1e-5
    damping: float = 0.0
    on_failure: OnFailure = "raise"

    def __post_init__(self) -> None:
        """Check the options."""
        check_options(max_iter=self.max_iter, rtol=self.rtol, damping=self.damping)
        check_on_failure(self.on_failure)

    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        """Return the hypergradient at ``inner``, a minimum of ``inner_loss``."""
        with torch.enable_grad():
            point = Point.at(inner, outer)
            curvature = hessian(inner_loss, point)
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
                matrix="inner Hessian",
                remedy="train inner closer to a minimum of inner_loss, use GaussNewton",
            )
        return solution
