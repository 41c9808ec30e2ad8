"""Which multiplier meets a budget where the spend is noisy: one rule for all of dfl."""

import torch
from torch import Tensor

from dfl.problem import BUDGET_SLACK

__all__ = ["last_within"]


def last_within(spend: Tensor, budgets: Tensor) -> Tensor:  # (P,), (B,) -> (B,)
    """Find, for each budget, the smallest multiplier whose spend is within it.

    Spend that is estimated from logs is noisy: it may cross a budget several times as the
    multiplier falls. **The rule, in training and in evaluation: the smallest multiplier at which
    the spend is within the budget.** Just below it the budget is exceeded, or it is 0 and the
    budget does not bind. It depends on the curve alone, not on how the curve was searched, and
    noise at large multipliers, where few logged people speak for the policy, cannot stop the
    walk early.

    Args:
        spend: on the plateaus between the multipliers at which it changes, multiplier falling.
            Shape ``(P,)``.
        budgets: what may be spent, up to rounding: `BUDGET_SLACK` of the largest spend. Shape
            ``(B,)``, dtype of ``spend``.

    Returns:
        Index of the plateau, -1 where every plateau spends more. int64, shape ``(B,)``.
    """
    least_from_here = spend.flip(0).cummin(0).values.flip(0)
    limits = budgets + BUDGET_SLACK * spend.abs().max()
    return torch.searchsorted(least_from_here, limits, right=True) - 1
