"""`Neumann`: implicit function theorem with a truncated series for the inverse."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

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
from dfl.hypergrad.curvature import Curvature, CurvatureName, check_curvature, curvature_of, probe
from dfl.hypergrad.descent import check_step_size
from dfl.hypergrad.implicit import implicit_hypergradient
from dfl.hypergrad.linear import LinearSolution, Product, neumann, power_iteration
from dfl.hypergrad.point import Point

__all__ = ["Neumann"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Neumann(AbstractHypergradient):
    """Implicit function theorem; the inverse is a power series cut off after some terms.

    Returns ``dF/d outer - (d2f / d outer d inner) q`` with ``q = step sum_(t < terms)
    (I - step (H + damping I))^t dF/d inner``, ``f`` the inner and ``F`` the outer loss, ``H``
    the Hessian of ``f`` in ``inner``. At the inner optimum this is what `Truncated` finds from
    ``terms`` descent steps, at less cost in memory. Where ``H + damping I`` has eigenvalues
    between ``low`` and ``1 / step``, the relative error of ``q`` is at most ``(1 - step
    low)^terms``. One product per term, and ``power_iterations`` more for a stable step.

    Args:
        terms: terms of the series, >= 1.
        step_size: factor of the series, in inverse units of ``H``, > 0; ``"stable"`` takes 1 /
            largest absolute curvature, one per member, by power iteration, which is safely
            below the limit of 2 / largest curvature.
        power_iterations: products spent on ``"stable"``, >= 1.
        seed: draws the first vector of that power iteration.
        rtol: a member is solved when ``|residual| <= rtol * |dF/d inner|``, no unit, in
            (0, 1]. With 1 only a series that leads away from the solution fails.
        damping: added to the diagonal of ``H``, in its units, >= 0.
        curvature: ``"hessian"``, exact; or ``"gauss-newton"``, never negative, for a
            `ComposedLoss`.
        on_failure: ``"raise"`` an error where ``rtol`` is missed, or ``"return"`` the answer,
            with what happened in ``diagnostics``.

    Raises:
        InvalidValueError: if an option is out of range; when called, if ``"stable"`` meets a
            loss without curvature.

    Source:
        Lorraine, Vicol and Duvenaud (2020), arXiv:1911.02590, algorithm 3. Deviations:
        damping, step from a power iteration, one series per member.
    """

    needs_optimum: ClassVar[bool] = True

    terms: int = 20
    step_size: float | Literal["stable"] = "stable"
    power_iterations: int = 10
    seed: int = 0
    rtol: float = 1.0
    damping: float = 0.0
    curvature: CurvatureName = "hessian"
    on_failure: OnFailure = "raise"

    def __post_init__(self) -> None:
        """Check the options."""
        for name in ("terms", "power_iterations"):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"{name} must be >= 1, got {getattr(self, name)}.")
        check_step_size(self.step_size)
        check_goal(self.rtol)
        check_damping(self.damping)
        check_curvature(self.curvature)
        check_on_failure(self.on_failure)

    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        """Return the hypergradient at ``inner``, a minimum of ``inner_loss``."""
        with torch.enable_grad():
            point = Point.at(inner, outer)
            curvature = curvature_of(self.curvature, inner_loss, point)
            step = self._step(curvature, point)

            def solve(product: Product, right_hand_side: Tensor) -> LinearSolution:
                return self._solve(product, right_hand_side, step)

            return implicit_hypergradient(curvature, outer_loss, point, solve)

    def _step(self, curvature: Curvature, point: Point) -> Tensor:
        slope = curvature.inner_gradient
        if self.step_size != "stable":
            return torch.full_like(slope[:, 0], float(self.step_size))
        generator = torch.Generator().manual_seed(self.seed)
        first = probe(point.inner, curvature.layout, generator, columns=1).detach().squeeze(1)
        start = first.expand_as(slope)
        largest = power_iteration(curvature.product, start, iterations=self.power_iterations)
        if not bool((largest > 0).all()):
            raise InvalidValueError(
                "step_size 'stable' needs curvature, but inner_loss has none at inner: give "
                "step_size a number."
            )
        return 1 / (largest + self.damping)

    def _solve(self, product: Product, right_hand_side: Tensor, step: Tensor) -> LinearSolution:
        solution = neumann(
            product,
            right_hand_side,
            terms=self.terms,
            step=step,
            rtol=self.rtol,
            damping=self.damping,
        )
        if self.on_failure == "raise":
            require_converged(
                solution,
                rtol=self.rtol,
                damping=self.damping,
                matrix="inner Hessian" if self.curvature == "hessian" else "Gauss-Newton matrix",
                remedy="lower step_size, take curvature='gauss-newton'",
                effort="Raise terms",
            )
        return solution
