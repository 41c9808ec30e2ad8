"""A policy's self-normalised value, differentiated by what each person's change would do."""

from typing import final

import torch
from torch import Tensor

from dfl.layers.pricing.surrogate import AbstractSurrogate, surrogate_decision
from dfl.losses.estimators.matched_weight import matched_weight

__all__ = ["flip_value"]


def flip_value(received: Tensor, outcome: Tensor, weight: Tensor) -> Tensor:  # (..., N) -> (...)
    """Estimate the self-normalised value of a hard policy, with differences as its gradient.

    ``V = sum_i w_i z_i y_i / sum_i w_i z_i``; the gradient in ``z_i`` is ``V(z_i = 1) -
    V(z_i = 0)``, everyone else as they are: ``w_i (y_i - V_-i) / (S_-i + w_i)`` with ``V_-i``
    and ``S_-i`` value and weight of all others. The tangent ``w_i (y_i - V) / S`` is its limit
    for many people. A person who alone carries the whole weight gets 0: without them there
    would be no value to compare with.

    Args:
        received: share of the treatment received, 0 or 1. Shape ``(..., N)``.
        outcome: logged outcome, in currency. Shape ``(..., N)``.
        weight: inverse propensity of the treatment received. Shape ``(..., N)``.

    Returns:
        Value in currency per head; first derivatives in reverse mode. Shape ``(...)``.

    Raises:
        InvalidValueError: if nobody received what the policy chooses.
        UnsupportedProblemError: later, if a second or a forward-mode derivative is asked for.

    Source:
        The authors' code of arXiv:2407.13664 (IFD), in closed form.
    """
    return surrogate_decision(_Flip(), received, outcome, weight)


@final
class _Flip(AbstractSurrogate):
    """Values are the shares received; context is outcome and weight."""

    def decide(self, values: Tensor, *context: Tensor) -> Tensor:
        outcome, weight = context
        return (weight * values * outcome).sum(dim=-1) / matched_weight(weight * values)

    def pull(self, values: Tensor, decision: Tensor, slope: Tensor, *context: Tensor) -> Tensor:
        outcome, weight = context
        weighted = weight * values
        others = weighted.sum(dim=-1, keepdim=True) - weighted
        left = (weighted * outcome).sum(dim=-1, keepdim=True) - weighted * outcome
        alone = others <= 0
        without = left / torch.where(alone, 1, others)
        step = weight * (outcome - without) / (others + weight)
        return slope.unsqueeze(-1) * torch.where(alone, 0, step)
