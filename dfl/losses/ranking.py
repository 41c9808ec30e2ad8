"""Losses of a score that says an order and no amounts: direct ranking (DRM) and uplift (DUM)."""

import torch
from torch import Tensor

from dfl.losses.estimators.increments import arm_means

__all__ = ["direct_rank_loss", "uplift_rank_loss"]


def direct_rank_loss(
    score: Tensor,  # (..., N)
    treatment: Tensor,  # (..., N)
    revenue: Tensor,  # (..., N)
    cost: Tensor,  # (..., N)
    weight: Tensor,  # (..., N)
) -> Tensor:  # (...)
    """Compute what a unit of revenue costs among those whom a score puts first.

    ``[sum over treated of p_i cost_i - sum over untreated] / [the same of revenue]``, ``p_i`` the
    softmax of ``tanh(score)`` among the people of one's own arm: both effects, of people drawn by
    score. Only the order of scores means something.

    Args:
        score: higher is treated earlier, no unit.
        treatment: 1 treated, 0 not; both must occur.
        revenue: observed, in currency.
        cost: observed, in currency.
        weight: inverse propensity of the treatment received; equal weights leave the softmax as
            it is.

    Returns:
        Cost per unit of revenue, no unit. Its sign means nothing where the effect on revenue may
        be 0 or below.

    Source:
        Du et al. (2019), direct ranking (DRM), as the code compares it with DRP that is probably
        the supplement of Zhou et al. (2023), arXiv:2211.15728. Deviation: weights.
    """
    drawn = weight * score.tanh().exp()  # of bounded scores: no largest one to take off
    both = torch.stack((cost, revenue), dim=-1)
    means = arm_means(both, treatment, drawn, 2)
    of_cost, of_revenue = (means[..., 1, :] - means[..., 0, :]).unbind(dim=-1)
    return of_cost / of_revenue


def uplift_rank_loss(
    score: Tensor,  # (..., N)
    treatment: Tensor,  # (..., N)
    revenue: Tensor,  # (..., N)
    weight: Tensor,  # (..., N)
) -> Tensor:  # (...)
    """Compute the loss whose best score is the logarithm of the uplift, up to a constant.

    ``- [mean over treated of revenue ln p - mean over untreated]``, ``p`` the softmax of the score
    over everyone. On randomised rows it is, on average, the cross-entropy between uplift and
    ``p``, so that the best ``p`` is in proportion to the uplift, which must be positive.

    Args:
        score: higher is treated earlier, no unit.
        treatment: 1 treated, 0 not; both must occur.
        revenue: observed, in currency.
        weight: inverse propensity of the treatment received; equal weights give plain means.

    Returns:
        Loss in currency per head. Not bounded below: a network that can tell every row apart
        drives it to minus infinity.

    Source:
        The code that is probably the supplement of Zhou et al. (2023), arXiv:2211.15728, "uplift
        rank" (DUM), for treatments that all cost the same.
    """
    each = revenue * score.log_softmax(dim=-1)
    means = arm_means(each.unsqueeze(-1), treatment, weight, 2).squeeze(-1)
    return means[..., 0] - means[..., 1]
