"""`Exact`: implicit function theorem with the inner Hessian formed and factored."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.hypergrad.base import AbstractHypergradient, Hypergradient, Loss, Parameters
from dfl.hypergrad.convergence import (
    OnFailure,
    check_damping,
    check_goal,
    check_on_failure,
    require_converged,
)
from dfl.hypergrad.curvature import CurvatureName, check_curvature, curvature_of
from dfl.hypergrad.implicit import implicit_hypergradient
from dfl.hypergrad.linear import LinearSolution, Product, dense
from dfl.hypergrad.point import Point

__all__ = ["Exact"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Exact(AbstractHypergradient):
    """Implicit function theorem, solved directly: for small problems, and as the truth in tests.

    Returns ``dF/d outer - (d2f / d outer d inner) q`` where ``(H + damping I) q = dF/d
    inner``, ``f`` the inner and ``F`` the outer loss, ``H`` the Hessian of ``f`` in ``inner``,
    formed column by column and factored in float64. An indefinite ``H`` is solved all the
    same; ``diagnostics.curvature`` is its smallest eigenvalue, so a saddle shows. A singular
    one is solved where the system has a solution, by the shortest.

    Args:
        damping: added to the diagonal of ``H``, in its units, >= 0.
        rtol: a member is solved when ``|residual| <= rtol * |dF/d inner|``, no unit, in
            (0, 1]; missed only where the system has no solution.
        max_size: most inner parameters per member; time and memory grow with its cube and
            square.
        curvature: ``"hessian"``, exact; or ``"gauss-newton"``, never negative, for a
            `ComposedLoss`: the truth of what `GaussNewton` approaches.
        on_failure: ``"raise"`` an error where ``rtol`` is missed, or ``"return"`` the answer
            that comes nearest.

    Raises:
        InvalidValueError: if an option is out of range; when called, if ``inner`` is larger
            than ``max_size``.

    Source:
        Bengio (2000), Gradient-based optimization of hyperparameters,
        doi:10.1162/089976600300015187, equation 8.
    """

    needs_optimum: ClassVar[bool] = True

    damping: float = 0.0
    rtol: float = 1e-6
    max_size: int = 2048
    curvature: CurvatureName = "hessian"
    on_failure: OnFailure = "raise"

    def __post_init__(self) -> None:
        """Check the options."""
        check_damping(self.damping)
        check_goal(self.rtol)
        if self.max_size < 1:
            raise InvalidValueError(f"max_size must be >= 1, got {self.max_size}.")
        check_curvature(self.curvature)
        check_on_failure(self.on_failure)

    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        """Return the hypergradient at ``inner``, a minimum of ``inner_loss``."""
        with torch.enable_grad():
            point = Point.at(inner, outer)
            curvature = curvature_of(self.curvature, inner_loss, point)
            self._check_size(curvature.inner_gradient.shape[1])
            return implicit_hypergradient(curvature, outer_loss, point, self._solve)

    def _check_size(self, size: int) -> None:
        if size > self.max_size:
            raise InvalidValueError(
                f"inner must hold at most max_size = {self.max_size} numbers per member, got "
                f"{size}: the matrix alone would take {8e-9 * size**2:.2g} GB. Use "
                "ConjugateGradient or GaussNewton, which form no matrix, or raise max_size."
            )

    def _solve(self, product: Product, right_hand_side: Tensor) -> LinearSolution:
        solution = dense(product, right_hand_side, damping=self.damping, rtol=self.rtol)
        if self.on_failure == "raise":
            require_converged(
                solution,
                rtol=self.rtol,
                damping=self.damping,
                matrix="inner Hessian" if self.curvature == "hessian" else "Gauss-Newton matrix",
                remedy="train inner closer to a minimum of inner_loss",
                effort="Leave parameters without effect out of inner",
            )
        return solution
