"""`neumann`: a truncated power series of the inverse, by products alone."""

from math import inf

import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.hypergrad.linear.base import LinearSolution, Product
from dfl.hypergrad.linear.scaling import (
    check_products,
    check_right_hand_side,
    power_of_two,
    relative_residual,
)

__all__ = ["neumann"]


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
    if terms < 1:
        raise InvalidValueError(f"terms must be >= 1, got {terms}.")
    check_right_hand_side(right_hand_side)
    size = power_of_two(right_hand_side)
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
