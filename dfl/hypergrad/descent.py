"""One descent step, and the check that steps went down."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dfl.hypergrad.base import Parameters

__all__ = ["moved", "rose"]


def moved(parameters: Parameters, slopes: Sequence[Tensor], size: Tensor) -> Parameters:
    """Return ``parameters - size * slopes``; ``size`` is ``()`` or ``(members,)``."""
    return {
        name: value - size.reshape(size.shape + (1,) * (value.ndim - size.ndim)) * slope
        for (name, value), slope in zip(parameters.items(), slopes, strict=True)
    }


def rose(before: Tensor, after: Tensor) -> Tensor:
    """Say which losses went up by more than rounding, or became NaN. Shape of the losses."""
    slack = 8 * torch.finfo(before.dtype).eps * before.abs()
    return ~(after <= before + slack)
