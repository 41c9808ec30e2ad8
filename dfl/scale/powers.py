"""`power_of_two`: a unit that brings amounts near 1 and rounds nothing."""

import math

import torch
from torch import Tensor

__all__ = ["power_of_two"]


def power_of_two(sizes: Tensor) -> Tensor:
    """Return the least power of two that is no smaller than each size; 1 for a size of 0.

    Above the largest power that the dtype has, that one. Dividing by a power of two does not
    round, and what is divided lies in (1/2, 1].

    Args:
        sizes: floating point, finite, >= 0.
    """
    mantissa, exponent = torch.frexp(sizes.double())  # not every device knows it of short floats
    exponent = torch.where(mantissa == 0.5, exponent - 1, exponent)
    most = math.frexp(torch.finfo(sizes.dtype).max)[1] - 1
    return torch.ldexp(torch.ones_like(sizes), exponent.clamp(max=most))
