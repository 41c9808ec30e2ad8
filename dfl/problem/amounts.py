"""Amounts of money: read once, checked, and how far their sums may be off by rounding."""

import math

import torch
from torch import Tensor

from dfl.errors import DTypeError, InvalidValueError
from dfl.scale import Chunks

__all__ = ["BUDGET_SLACK", "check_amounts", "check_floating", "check_range", "read", "rounding"]

BUDGET_SLACK = 1e-9
"""Relative excess over a budget that is taken for rounding: sums in another order differ."""

_READ = Chunks(1 << 17)  # of what is read once for several checks: it stays in the cache


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


def check_amounts(name: str, tensor: Tensor) -> None:
    """Refuse amounts that are not floating point, not finite, or negative."""
    check_floating(name, tensor)
    check_range(name, *read(tensor)[:2])


def check_range(name: str, lowest: float, highest: float) -> None:
    """Refuse ends that are not finite, or negative, by an `InvalidValueError`."""
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise InvalidValueError(f"{name} must be finite, got NaN or infinity.")
    if lowest < 0:
        raise InvalidValueError(f"{name} must be >= 0, got a minimum of {lowest:g}.")


def read(amount: Tensor) -> tuple[float, float, Tensor]:
    """Read a tensor once: its ends, NaN coming through both, and the total of treatment 0.

    Args:
        amount: shape ``(N, M)`` or ``(N, M, K)``; of others, the total means nothing.

    Returns:
        Lowest, highest, and float64 on the CPU, shape ``(K,)``.
    """
    amount = amount.detach()
    if not amount.numel():
        return 0.0, 0.0, torch.zeros(amount.shape[2] if amount.ndim == 3 else 1).double()
    first = amount[:, 0] if amount.ndim > 1 else amount
    total = torch.zeros(first.shape[1:], dtype=torch.float64, device=amount.device)
    cached = _READ.of(amount.shape[0], amount[0].numel())
    ends = []
    for part in cached if amount.device.type == "cpu" else [slice(None)]:
        ends.append(torch.stack(amount[part].aminmax()))
        total += first[part].double().sum(dim=0)
    lowest, highest = torch.stack(ends).unbind(dim=1)
    return float(lowest.amin()), float(highest.amax()), total.reshape(-1).cpu()
