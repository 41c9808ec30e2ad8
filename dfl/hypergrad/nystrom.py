"""`Nystrom`: implicit function theorem on a low-rank sketch of the curvature."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from dfl.checks import check_count, check_number, check_seed
from dfl.errors import ShapeError
from dfl.hypergrad.curvature.base import Curvature, Product
from dfl.hypergrad.curvature.linear_system import (
    LinearSolution,
    balance,
    check_products,
    relative_residual,
)
from dfl.hypergrad.implicit import AbstractImplicit

__all__ = ["Nystrom", "nystrom"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Nystrom(AbstractImplicit):
    """Implicit function theorem; a few random directions stand for the whole curvature.

    As `AbstractImplicit`, with a Nystrom approximation ``H_r`` of rank ``rank`` in place of
    ``H``. Exact where ``H`` has no higher rank; else the relative residual is at most ``|H -
    H_r| / damping``, so a small damping asks for a large rank. One product per column of the
    sketch, and one for the residual; they do not depend on each other, so no rounding builds
    up.

    Args:
        rank: columns of the sketch, >= 1; more than there are parameters count as all.
        damping: as in `AbstractImplicit`, and > 0: a sketch has no inverse alone.
        seed: draws the sketch.
        rtol: goal for the relative residual, in (0, 1]. With 1 only an answer worse than none
            fails.
        curvature: as in `AbstractImplicit`; positive semi-definite at a minimum, or everywhere.
        on_failure: ``"raise"`` an error where ``rtol`` is missed or curvature is below
            ``-damping``, or ``"return"`` the answer of the directions with positive curvature.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Hataya and Yamada (2023), arXiv:2302.09726. Deviations: random instead of coordinate
        columns, singular values instead of the Woodbury formula, one system per member.
    """

    effort: ClassVar[str] = "Raise rank"

    rank: int = 100
    damping: float = 1e-2
    seed: int = 0

    def _check_options(self) -> None:
        check_seed(self.seed)
        check_count("rank", self.rank, at_least=1)
        check_number("damping", self.damping, above=0)
        check_number("rtol", self.rtol, above=0, at_most=1)

    def _solve(self, curvature: Curvature, right_hand_side: Tensor) -> LinearSolution:
        rank = min(self.rank, right_hand_side.shape[1])
        sketch = curvature.draw(torch.Generator().manual_seed(int(self.seed)), columns=rank)
        return nystrom(
            curvature.product, right_hand_side, sketch, damping=self.damping, rtol=self.rtol
        )


def nystrom(
    product: Product,
    right_hand_side: Tensor,
    sketch: Tensor,
    *,
    damping: float,
    rtol: float,
) -> LinearSolution:
    """Solve ``(A_r + damping I) x = b`` with ``A_r = A S (S^T A S)^+ S^T A`` of low rank.

    Exact where the rank of ``A`` is at most the sketch's; else the relative residual is at
    most ``|A - A_r| / damping``. All products come before the first division, so members
    and sketch columns share them well.

    Directions of the sketch with curvature that is not positive are left out of ``A_r``; where
    it is below ``-damping``, the member counts as not converged.

    Args:
        product: ``v -> A v``, symmetric positive semi-definite.
        right_hand_side: ``b``. Shape ``(members, n)``.
        sketch: ``S``, random columns, the same for every member. Shape ``(n, rank)``; at
            most ``n`` columns.
        damping: added to the diagonal, in units of ``A``, > 0.
        rtol: a member counts as converged when ``|residual| <= rtol * |b|``, > 0.

    Returns:
        The solution and how good it is for ``A`` itself; ``curvature`` is the smallest one
        within the sketch's columns.

    Raises:
        ShapeError: if ``right_hand_side`` or ``sketch`` has the wrong shape.
        InvalidValueError: if ``damping`` is not positive or a product is not finite.

    Source:
        Hataya and Yamada (2023), arXiv:2302.09726, equation 6; Frangella, Tropp and Udell
        (2023), arXiv:2110.02820, algorithm 2.1, for random instead of coordinate columns
        and for singular values instead of the Woodbury formula, which cancels.
    """
    size = balance(right_hand_side)
    n = right_hand_side.shape[1]
    if sketch.ndim != 2 or sketch.shape[0] != n or not 1 <= sketch.shape[1] <= n:
        raise ShapeError(
            f"sketch must be ({n}, rank) with 1 <= rank <= {n}, got {tuple(sketch.shape)}."
        )
    check_number("damping", damping, above=0)
    target = right_hand_side / size
    wide = torch.promote_types(target.dtype, torch.float32)  # half precision has no factorisations
    basis = torch.linalg.qr(sketch.to(wide))[0]
    columns = basis.to(target.dtype).unbind(dim=1)
    images = torch.stack(
        [product(column.expand_as(target).contiguous()) for column in columns], dim=2
    ).to(wide)
    check_products(images.isfinite())
    core = basis.mT @ images  # (members, rank, rank)
    values, vectors = torch.linalg.eigh((core + core.mT) / 2)
    noise = sketch.shape[1] * torch.finfo(values.dtype).eps * values.abs().amax(1, keepdim=True)
    inverse_root = torch.where(values > noise, values.clamp(min=0) ** -0.5, 0.0)
    factor = images @ (vectors * inverse_root.unsqueeze(1))  # A_r = factor factor^T
    solution = _solve(factor, target.to(wide), damping).to(target.dtype)
    residual = relative_residual(product, solution, target, damping)
    smallest = values[:, 0].to(target.dtype)
    converged = (smallest + damping > 0) & (residual <= rtol)
    return LinearSolution(solution * size, sketch.shape[1], residual, smallest, converged)


def _solve(factor: Tensor, target: Tensor, damping: float) -> Tensor:
    """Solve ``(factor factor^T + damping I) x = target`` through the singular values."""
    left, singular, _ = torch.linalg.svd(factor, full_matrices=False)
    inside = (left.mT @ target.unsqueeze(2)).squeeze(2)
    solution: Tensor = (left @ (inside / (singular**2 + damping)).unsqueeze(2)).squeeze(2)
    if factor.shape[1] == factor.shape[2]:
        return solution  # the sketch spans the whole space
    outside = target - (left @ inside.unsqueeze(2)).squeeze(2)
    solution = solution + outside / damping
    return solution
