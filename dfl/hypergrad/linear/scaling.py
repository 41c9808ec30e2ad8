"""What every linear solver does with its vectors: check them, scale them, measure residuals."""

import torch
from torch import Tensor

from dfl.errors import InvalidValueError, ShapeError
from dfl.hypergrad.linear.base import Product

__all__ = ["check_products", "check_right_hand_side", "power_of_two", "relative_residual"]


def check_right_hand_side(right_hand_side: Tensor) -> None:
    """Check that it is ``(members, n)`` and finite.

    Raises:
        ShapeError: if it has another shape.
        InvalidValueError: if an entry is not finite.
    """
    shape = tuple(right_hand_side.shape)
    if len(shape) != 2 or shape[1] == 0:
        raise ShapeError(f"right_hand_side must be (members, n) with n >= 1, got {shape}.")
    if not bool(right_hand_side.isfinite().all()):
        raise InvalidValueError("right_hand_side must be finite, got NaN or infinity.")


def check_products(finite: Tensor) -> None:
    """Refuse a matrix whose products are not finite numbers.

    Args:
        finite: whether they were. Any shape, bool.

    Raises:
        InvalidValueError: if one was not.
    """
    if not bool(finite.all()):
        raise InvalidValueError(
            "product must return finite numbers, got NaN or infinity: the matrix has entries that "
            "overflow, or NaN."
        )


def power_of_two(vectors: Tensor) -> Tensor:
    """Size of each row, (members, 1): divided by it, squares neither overflow nor vanish.

    A power of two, because dividing by one does not round.
    """
    exponent = torch.frexp(vectors.abs().amax(dim=1, keepdim=True)).exponent - 1
    return torch.ldexp(torch.ones_like(vectors[:, :1]), exponent)


def relative_residual(
    product: Product, solution: Tensor, right_hand_side: Tensor, damping: float
) -> Tensor:
    """Return ``|b - (A + damping I) x| / |b|``, 0 where both are 0. Costs one product.

    Args:
        product: ``v -> A v``.
        solution: ``x``. Shape ``(members, n)``.
        right_hand_side: ``b``. Shape ``(members, n)``.
        damping: added to the diagonal.

    Returns:
        No unit. Shape ``(members,)``.
    """
    gap = right_hand_side - product(solution) - damping * solution
    length = torch.linalg.vector_norm(right_hand_side, dim=1)
    residual: Tensor = torch.linalg.vector_norm(gap, dim=1) / torch.where(length > 0, length, 1.0)
    return residual
