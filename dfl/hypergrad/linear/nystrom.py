"""`nystrom`: the inverse of a low-rank sketch of the matrix, by products and small factors."""

import torch
from torch import Tensor

from dfl.errors import InvalidValueError, ShapeError
from dfl.hypergrad.linear.base import LinearSolution, Product
from dfl.hypergrad.linear.scaling import (
    check_products,
    check_right_hand_side,
    power_of_two,
    relative_residual,
)

__all__ = ["nystrom"]


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
    check_right_hand_side(right_hand_side)
    n = right_hand_side.shape[1]
    if sketch.ndim != 2 or sketch.shape[0] != n or not 1 <= sketch.shape[1] <= n:
        raise ShapeError(
            f"sketch must be ({n}, rank) with 1 <= rank <= {n}, got {tuple(sketch.shape)}."
        )
    if not damping > 0:
        raise InvalidValueError(f"damping must be > 0, got {damping:g}.")
    size = power_of_two(right_hand_side)
    target = right_hand_side / size
    basis = torch.linalg.qr(sketch)[0]
    images = torch.stack(
        [product(column.expand_as(target).contiguous()) for column in basis.unbind(dim=1)], dim=2
    )
    check_products(images.isfinite())
    core = basis.mT @ images  # (members, rank, rank)
    values, vectors = torch.linalg.eigh((core + core.mT) / 2)
    noise = sketch.shape[1] * torch.finfo(values.dtype).eps * values.abs().amax(1, keepdim=True)
    inverse_root = torch.where(values > noise, values.clamp(min=0) ** -0.5, 0.0)
    factor = images @ (vectors * inverse_root.unsqueeze(1))  # A_r = factor factor^T
    solution = _solve(factor, target, damping)
    residual = relative_residual(product, solution, target, damping)
    smallest = values[:, 0]
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
