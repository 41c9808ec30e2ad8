"""`without_tail`: outcomes whose few largest values do not decide about everything."""

import math

import torch
from torch import Tensor

__all__ = ["largest_mean", "without_tail"]

_QUANTILE = 0.95  # of outcomes that are not 0
_GROUPS = 20  # people with similar values of a feature


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


def largest_mean(features: Tensor, outcome: Tensor) -> float:
    """Return what the largest mean size of an outcome among people alike in a feature is at least.

    People are cut at each feature's twentieths; those of one value stay together, and groups of
    less than half a twentieth are left out. Two standard errors are taken off each mean, so that
    one huge outcome makes none of them large. A bound below this would cut what people are like,
    not what chance brought them.

    Args:
        features: shape ``(N, F)``.
        outcome: observed, in currency. Shape ``(N,)``.
    """
    sizes, most = outcome.abs().double(), 0.0
    places = torch.arange(1, _GROUPS, device=outcome.device) * len(outcome) // _GROUPS
    for column in features.T.contiguous():
        edges = column.sort().values[places].unique()
        group = torch.bucketize(column, edges, right=True)
        count = group.bincount(minlength=len(edges) + 1)
        empty = sizes.new_zeros(len(count))
        mean = empty.index_add(0, group, sizes) / count
        variance = empty.index_add(0, group, (sizes - mean[group]).square()) / count
        least = (mean - 2 * (variance / count).sqrt())[2 * _GROUPS * count >= len(outcome)]
        most = max(most, float(least.max()))
    return most
