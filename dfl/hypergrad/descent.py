"""One descent step, and the check that steps went down."""

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.hypergrad.base import Parameters

__all__ = ["check_step_size", "describe_rise", "moved", "rose"]


def check_step_size(step_size: object) -> None:
    """Check the option ``step_size``.

    Raises:
        InvalidValueError: if it is neither a finite number > 0 nor ``"stable"``.
    """
    number = isinstance(step_size, int | float) and 0 < step_size < inf
    if not number and step_size != "stable":
        raise InvalidValueError(
            f"step_size must be a finite number > 0 or 'stable', got {step_size!r}."
        )


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


def describe_rise(before: Tensor, after: Tensor) -> str:
    """Say for an error message which losses went up, and how far the first of them."""
    up = rose(before, after)
    low, high = float(before[up][0]), float(after[up][0])
    far = f"from {low:.4g} to {high:.4g}"
    if not up.ndim:
        return f"the inner loss rises {far}"
    members = up.nonzero().flatten().tolist()
    return f"the inner loss of members {members} rises (member {members[0]}: {far})"
