"""Amounts of money: checked, and how far their sums may be off by rounding."""

import math
from importlib.util import find_spec

import torch
from torch import Tensor

from dfl.checks import put_off, putting_off
from dfl.errors import DTypeError, InvalidValueError

__all__ = [
    "BUDGET_SLACK",
    "check_amounts",
    "check_floating",
    "is_finite",
    "rounding",
    "total_if_sound",
    "unmapped",
]

BUDGET_SLACK = 1e-9
"""Relative excess over a budget that is taken for rounding: sums in another order differ."""


_MANY = 1 << 20  # numbers from which on one read less is worth an import of numba


def check_floating(name: str, tensor: Tensor) -> None:
    """Refuse what is neither float32 nor float64, by a `DTypeError`."""
    if tensor.dtype not in (torch.float32, torch.float64):
        raise DTypeError(f"{name} must be float32 or float64, got {tensor.dtype}.")


def rounding(amount: float | Tensor, rows: int) -> float:
    """Return the relative excess over a budget that is taken for rounding of its dtype.

    Args:
        amount: the budget, or what it was added up from. A number counts as float64.
        rows: how many numbers were added up, pairwise.
    """
    rounded = isinstance(amount, Tensor) and amount.is_floating_point()
    eps = torch.finfo(amount.dtype if rounded else torch.float64).eps  # type: ignore[union-attr]
    return max(BUDGET_SLACK, eps * (1 + math.log2(max(rows, 1))))


def is_finite(tensor: Tensor, total: Tensor) -> bool:
    """Say whether a tensor is finite; its total says so unless the total alone overflows."""
    return bool(total.isfinite().all()) or bool(tensor.isfinite().all())


def total_if_sound(revenue: Tensor, cost: Tensor) -> Tensor | None:
    """Check many amounts on the CPU in one read, where numba is installed.

    Args:
        revenue: shape ``(N, M)``.
        cost: of the same dtype and shape.

    Returns:
        Total cost of the first treatment, float64; None where something may be wrong, which
        the other checks then tell, or where there is no such quick way.
    """
    many = revenue.numel() >= _MANY and revenue.shape == cost.shape
    plain = all(one.device.type == "cpu" and one.is_contiguous() for one in (revenue, cost))
    if not (many and plain and find_spec("numba")):
        return None
    from dfl.problem.one_read import all_sound

    sound, first = all_sound(revenue.detach().numpy(), cost.detach().numpy())
    return torch.tensor(first, dtype=torch.float64) if sound else None


def unmapped(tensor: Tensor) -> Tensor:
    """Return a tensor as it is or, inside vmap and grad, that of all of the batch, to be read."""
    if torch.compiler.is_compiling():
        return tensor  # which knows nothing of functorch's own questions
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuse numbers that are not finite; later, where checks are put off.

    Raises:
        InvalidValueError: if one is NaN or infinite.
    """
    sound = unmapped(tensor.detach()).isfinite().all()
    text = f"{name} must be finite, got NaN or infinity."
    if not put_off(sound, text) and not bool(sound):
        raise InvalidValueError(text)


def check_amounts(name: str, tensor: Tensor) -> Tensor:
    """Refuse amounts that are not floating point, not finite, or negative; read them twice.

    Returns:
        The total over the first axis, in the tensor's own precision.

    Raises:
        DTypeError: if they are neither float32 nor float64.
        InvalidValueError: if one is negative or not finite.
    """
    check_floating(name, tensor)
    tensor = tensor.detach()
    total = tensor.sum(dim=0)
    if putting_off():
        sound = ((tensor >= 0) & tensor.isfinite()).all()
        put_off(sound, f"{name} must be finite and >= 0, got NaN, infinity or less.")
        return total
    whole = unmapped(tensor)
    if not is_finite(whole, total if whole is tensor else whole):
        raise InvalidValueError(f"{name} must be finite, got NaN or infinity.")
    lowest = float(whole.amin()) if whole.numel() else 0.0
    if lowest < 0:
        raise InvalidValueError(f"{name} must be >= 0, got a minimum of {lowest:g}.")
    return total
