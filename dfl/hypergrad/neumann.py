"""`Neumann`: implicit function theorem with a truncated series for the inverse."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar, final

import torch
from torch import Tensor

from dfl.checks import check_count, check_number, check_seed
from dfl.hypergrad.curvature.base import Curvature, Product, StepSize, check_step_size
from dfl.hypergrad.curvature.linear_system import (
    LinearSolution,
    balance,
    check_products,
    relative_residual,
)
from dfl.hypergrad.implicit import AbstractImplicit

__all__ = ["Neumann", "neumann"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Neumann(AbstractImplicit):
    """Implicit function theorem; the inverse is a power series cut off after some terms.

    As `AbstractImplicit`, with ``q = step sum_(t < terms) (I - step (H + damping I))^t
    dF/d inner``. At the inner optimum this is what `Truncated` finds from ``terms`` descent
    steps, at less cost in memory. Where ``H + damping I`` has eigenvalues between ``low`` and
    ``1 / step``, the relative error of ``q`` is at most ``(1 - step low)^terms``. One product
    per term, and ``power_iterations`` more for a stable step.

    Args:
        terms: terms of the series, >= 1.
        step_size: factor of the series, in inverse units of ``H``, > 0; ``"stable"`` takes 1 /
            largest absolute curvature, one per member, by power iteration, which is safely
            below the limit of 2 / largest curvature.
        power_iterations: products spent on ``"stable"``, >= 1.
        seed: draws the first vector of that power iteration.
        rtol: goal for the relative residual, in (0, 1]. With 1 only a series that leads away
            from the solution fails.
        damping: as in `AbstractImplicit`.
        curvature: likewise.
        on_failure: likewise.

    Raises:
        InvalidValueError: if an option is out of range; when called, if ``"stable"`` meets a
            loss without curvature.

    Source:
        Lorraine, Vicol and Duvenaud (2020), arXiv:1911.02590, algorithm 3. Deviations:
        damping, step from a power iteration, one series per member.
    """

    effort: ClassVar[str] = "Raise terms"

    terms: int = 20
    step_size: StepSize = "stable"
    power_iterations: int = 10
    seed: int = 0

    def _check_options(self) -> None:
        check_seed(self.seed)
        check_count("terms", self.terms, at_least=1)
        check_count("power_iterations", self.power_iterations, at_least=1)
        check_step_size(self.step_size)
        check_number("rtol", self.rtol, above=0, at_most=1)

    def _solve(self, curvature: Curvature, right_hand_side: Tensor) -> LinearSolution:
        return neumann(
            curvature.product,
            right_hand_side,
            terms=self.terms,
            step=self._step(curvature),
            rtol=self.rtol,
            damping=self.damping,
        )

    def _step(self, curvature: Curvature) -> Tensor:
        if self.step_size != "stable":
            return torch.full_like(curvature.inner_gradient[:, 0], float(self.step_size))
        return curvature.stable_step(
            torch.Generator().manual_seed(int(self.seed)),
            iterations=self.power_iterations,
            damping=self.damping,
        )


def neumann(
    product: Product,
    right_hand_side: Tensor,
    *,
    terms: int,
    step: Tensor,
    rtol: float,
    damping: float = 0.0,
) -> LinearSolution:
    """Sum ``x = step * sum_(t < terms) (I - step (A + damping I))^t b`` for every member.

    The residual ``(I - step (A + damping I))^terms b`` vanishes as terms are added where
    all eigenvalues of ``A + damping I`` lie in (0, 2 / step), and grows without bound where
    one lies outside. Every member gets all terms.

    Args:
        product: ``v -> A v``, symmetric.
        right_hand_side: ``b``. Shape ``(members, n)``.
        terms: terms of the series, >= 1; as many products, one of them for the residual.
        step: one per member, > 0, in inverse units of ``A``. Shape ``(members,)``.
        rtol: a member counts as converged when ``|residual| <= rtol * |b|``, > 0.
        damping: added to the diagonal, in units of ``A``, >= 0.

    Returns:
        The sum and how good it is; not converging is for the caller to judge.

    Raises:
        ShapeError: if ``right_hand_side`` is not ``(members, n)``.
        InvalidValueError: if ``terms`` is below 1, or a product is not finite at once.

    Source:
        Lorraine, Vicol and Duvenaud (2020), arXiv:1911.02590, algorithm 3.
    """
    check_count("terms", terms, at_least=1)
    size = balance(right_hand_side)
    target = right_hand_side / size
    stride = step.unsqueeze(1)
    solution, residual = stride * target, target.clone()
    smallest = torch.full_like(step, inf)
    for term in range(1, terms):
        image = product(residual)
        if term == 1:  # later a divergent series overflows, which is not the matrix's fault
            check_products(image.isfinite())
        smallest = smallest.minimum(_quotient(residual, image))
        residual = residual - stride * (image + damping * residual)
        solution = solution + stride * residual
    gap = relative_residual(product, solution, target, damping)
    return LinearSolution(
        solution * size,
        terms,
        gap,
        torch.where(smallest.isinf(), torch.nan, smallest),
        gap <= rtol,
    )


def _quotient(vector: Tensor, image: Tensor) -> Tensor:
    """Return ``v.Av / v.v``, infinite where the vector has vanished. Shape ``(members,)``."""
    squared = (vector * vector).sum(dim=1)
    alive = squared > 0
    return torch.where(alive, (vector * image).sum(dim=1) / torch.where(alive, squared, 1.0), inf)
