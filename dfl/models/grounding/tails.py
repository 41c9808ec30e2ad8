"""`without_tail`: outcomes whose few largest values do not decide about everything."""

import math

import torch
from torch import Tensor

__all__ = ["without_tail"]

_QUANTILE = 0.95  # of outcomes that are not 0


def without_tail(
    outcome: Tensor, treatment: Tensor, treatments: int
) -> tuple[Tensor, float, float]:
    """Return winsorised outcomes of the same total size, the bound, and the variance's fall.

    Sizes above the bound are set to it, then all are multiplied by the factor that restores the
    sum of sizes. The bound is the largest over treatments of the 95 % quantile of outcomes other
    than 0: the same for everybody, so that an effect on who buys shows as it did, and no
    treatment that is rare and dear is cut down to the others.

    Args:
        outcome: observed, in currency. Shape ``(N,)``.
        treatment: received. Shape ``(N,)``.
        treatments: number of treatments M.

    Returns:
        The outcomes; the bound, in currency; the variance before over that after.
    """
    sizes = outcome.abs()
    bound = sizes.new_zeros(())
    for arm in range(treatments):
        own = sizes[(treatment == arm) & (sizes > 0)]
        if len(own):
            bound = bound.maximum(own.kthvalue(math.ceil(_QUANTILE * len(own))).values)
    cut = outcome.clamp(-bound, bound)
    total = cut.abs().sum(dtype=torch.float64).clamp(min=torch.finfo(torch.float64).tiny)
    cut = cut * (sizes.sum(dtype=torch.float64) / total).to(outcome)
    before, after = (float(one.double().var(correction=0)) for one in (outcome, cut))
    return cut, float(bound), before / after if after > 0 else 1.0
