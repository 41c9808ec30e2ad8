"""`power_iteration`: the largest absolute eigenvalue, by products alone."""

import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.hypergrad.linear.base import Product

__all__ = ["power_iteration"]


def power_iteration(product: Product, start: Tensor, *, iterations: int) -> Tensor:
    """Estimate every member's largest absolute eigenvalue.

    ``|A v|`` for a unit vector ``v`` that was multiplied by ``A`` again and again: a lower
    bound that closes in from below.

    Args:
        product: ``v -> A v``, symmetric.
        start: first vectors, random. Shape ``(members, n)``.
        iterations: products, >= 1.

    Returns:
        In units of ``A``. Shape ``(members,)``.

    Raises:
        InvalidValueError: if ``iterations`` is below 1.

    Source:
        Golub and Van Loan (2013), Matrix Computations, section 8.2.1.
    """
    if iterations < 1:
        raise InvalidValueError(f"iterations must be >= 1, got {iterations}.")
    vector = start
    for _ in range(iterations):
        vector = product(torch.nn.functional.normalize(vector, dim=1))
    length: Tensor = torch.linalg.vector_norm(vector, dim=1)
    return length
