"""Log-odds of revenue in revenue plus cost of an increment, and weighted means per arm."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from dfl.layers.pricing.options import Softness
from dfl.losses.base import LoggedBatch

__all__ = ["arm_means", "increment_score", "shifted", "width_of"]


def increment_score(revenue: Tensor, cost: Tensor, width: Tensor) -> Tensor:  # all (..., N, J)
    """Return the log-odds of revenue in revenue plus cost, for increments of both.

    ``s = ln positive(revenue) - ln positive(cost)``, ``positive(x) = width ln(1 + exp(x /
    width))``: x itself well above the width, > 0 everywhere, and with a gradient in its logarithm
    even far below 0. Where both increments are well above the width, ``exp(s)`` is the ROI.

    Args:
        revenue: increments of revenue, in currency. Shape ``(..., N, J)``.
        cost: increments of cost, in currency. Same shape.
        width: in currency; 1 is taken where it is 0. Shape ``(...)``.
    """
    scale = torch.where(width > 0, width, 1)[..., None, None]
    return _log_softplus(revenue / scale) - _log_softplus(cost / scale)


def shifted(batch: LoggedBatch) -> tuple[Tensor, Tensor]:
    """Return revenue around its weighted mean, and that plus cost. Shape ``(..., N)`` each.

    A constant on all revenues drops out of differences between arms on average, and with it
    goes most of their noise.
    """
    mean = (batch.weight * batch.revenue).sum(dim=-1, keepdim=True)
    mean = mean / batch.weight.sum(dim=-1, keepdim=True)
    return batch.revenue - mean, batch.revenue - mean + batch.cost


def arm_means(
    values: Tensor,  # (..., N, J)
    treatment: Tensor,  # (..., N)
    weight: Tensor,  # (..., N)
    treatments: int,
) -> Tensor:  # (..., M, J)
    """Return the weighted mean of values over the rows of each treatment.

    Args:
        values: columns of values.
        treatment: received, each at least once.
        weight: of each row, > 0; only ratios within a treatment matter.
        treatments: number of treatments M.
    """
    arms = torch.arange(treatments, device=treatment.device)  # one_hot cannot be mapped twice
    received = (treatment.unsqueeze(-1) == arms).to(values.dtype) * weight.unsqueeze(-1)
    share = received / received.sum(dim=-2, keepdim=True)
    with torch.autocast(values.device.type, enabled=False):  # a product in bfloat16 is too crude
        return share.mT @ values


def width_of(batch: LoggedBatch, softness: Softness) -> Tensor:
    """Return the width in currency; relative to the mean logged cost. Shape ``(...)``."""
    mean = batch.cost.mean(dim=-1)
    if softness.scale == "absolute":
        return torch.full_like(mean, softness.temperature)
    return softness.temperature * mean


def _log_softplus(x: Tensor) -> Tensor:
    """Return ``ln ln(1 + exp(x))``; ``x - exp(x) / 2`` where that is all floats can tell."""
    low = x < -15
    safe = torch.where(low, 0, x)
    return torch.where(low, x - x.clamp_max(-15).exp() / 2, softplus(safe).log())
