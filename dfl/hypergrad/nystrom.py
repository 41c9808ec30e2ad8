"""`Nystrom`: implicit function theorem on a low-rank sketch of the curvature."""

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
from dfl.hypergrad.curvature import CurvatureName, check_curvature, curvature_of, probe
from dfl.hypergrad.implicit import implicit_hypergradient
from dfl.hypergrad.linear import LinearSolution, Product, nystrom
from dfl.hypergrad.point import Point

__all__ = ["Nystrom"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Nystrom(AbstractHypergradient):
    """Implicit function theorem; a few random directions stand for the whole curvature.

    Returns ``dF/d outer - (d2f / d outer d inner) q`` where ``(H_r + damping I) q = dF/d
    inner``, ``f`` the inner and ``F`` the outer loss, ``H_r`` a Nystrom approximation of rank
    ``rank`` of the Hessian ``H`` of ``f`` in ``inner``. Exact where ``H`` has no higher rank;
    else the relative residual is at most ``|H - H_r| / damping``, so a small damping asks for
    a large rank. One product per column of the sketch, and one for the residual; they do not
    depend on each other, so no rounding builds up.

    Args:
        rank: columns of the sketch, >= 1; more than there are parameters count as all.
        damping: added to the diagonal, in units of ``H`` (inner loss per squared parameter),
            > 0.
        seed: draws the sketch.
        rtol: a member is solved when ``|residual| <= rtol * |dF/d inner|``, no unit, in
            (0, 1]. With 1 only an answer worse than none fails.
        curvature: ``"hessian"``, exact, positive semi-definite at a minimum; or
            ``"gauss-newton"``, so everywhere, for a `ComposedLoss`.
        on_failure: ``"raise"`` an error where ``rtol`` is missed or curvature is below
            ``-damping``, or ``"return"`` the answer of the directions with positive curvature,
            with what happened in ``diagnostics``.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Hataya and Yamada (2023), arXiv:2302.09726. Deviations: random instead of coordinate
        columns, singular values instead of the Woodbury formula, one system per member.
    """

    needs_optimum: ClassVar[bool] = True

    rank: int = 10
    damping: float = 1e-2
    seed: int = 0
    rtol: float = 1.0
    curvature: CurvatureName = "hessian"
    on_failure: OnFailure = "raise"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.rank < 1:
            raise InvalidValueError(f"rank must be >= 1, got {self.rank}.")
        check_damping(self.damping)
        if self.damping == 0:
            raise InvalidValueError("damping must be > 0, got 0: a sketch has no inverse alone.")
        check_goal(self.rtol)
        check_curvature(self.curvature)
        check_on_failure(self.on_failure)

    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        """Return the hypergradient at ``inner``, a minimum of ``inner_loss``."""
        with torch.enable_grad():
            point = Point.at(inner, outer)
            curvature = curvature_of(self.curvature, inner_loss, point)
            rank = min(self.rank, curvature.inner_gradient.shape[1])
            generator = torch.Generator().manual_seed(self.seed)
            sketch = probe(point.inner, curvature.layout, generator, columns=rank).detach()

            def solve(product: Product, right_hand_side: Tensor) -> LinearSolution:
                return self._solve(product, right_hand_side, sketch)

            return implicit_hypergradient(curvature, outer_loss, point, solve)

    def _solve(self, product: Product, right_hand_side: Tensor, sketch: Tensor) -> LinearSolution:
        solution = nystrom(product, right_hand_side, sketch, damping=self.damping, rtol=self.rtol)
        if self.on_failure == "raise":
            require_converged(
                solution,
                rtol=self.rtol,
                damping=self.damping,
                matrix="inner Hessian" if self.curvature == "hessian" else "Gauss-Newton matrix",
                remedy="take curvature='gauss-newton', train inner closer to a minimum",
                effort="Raise rank",
            )
        return solution
