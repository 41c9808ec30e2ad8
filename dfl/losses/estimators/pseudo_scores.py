"""Every treatment's score from logs with one outcome per person, right on average."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from dfl.layers.pricing.pricing import scores
from dfl.losses.base import LoggedBatch

__all__ = ["PseudoOutcome", "pseudo_scores"]

PseudoOutcome: TypeAlias = Literal["doubly-robust", "horvitz-thompson"]


def pseudo_scores(
    predicted: Tensor,  # (..., N, M)
    batch: LoggedBatch,
    multiplier: Tensor,  # (...)
    kind: PseudoOutcome,
) -> Tensor:  # (..., N, M)
    """Return ``revenue - multiplier * cost`` of every treatment, by inverse propensity weights.

    With ``y_i`` that score of the logged outcome and ``w_i`` the inverse propensity:
    horvitz-thompson ``s_ij = 1[t_i = j] w_i y_i``; doubly-robust ``s_ij = m_ij + 1[t_i = j] w_i
    (y_i - m_ij)`` with ``m`` the scores of the batch's baseline or, without one, the predictions.
    On randomised rows both have the true score as their mean, given the features and an ``m``
    that did not see these outcomes.

    Args:
        predicted: predicted scores, in currency, without a graph. Shape ``(..., N, M)``.
        batch: logged outcomes ``(..., N)``.
        multiplier: price of money. Shape ``(...)``.
        kind: which of the two.

    Source:
        Robins, Rotnitzky and Zhao (1994), doi:10.1080/01621459.1994.10476818.
    """
    observed = batch.revenue - multiplier[..., None] * batch.cost
    base = torch.zeros_like(predicted) if kind == "horvitz-thompson" else predicted
    if kind == "doubly-robust" and not (
        batch.baseline_revenue is None or batch.baseline_cost is None
    ):
        base = scores(batch.baseline_revenue, batch.baseline_cost, multiplier).to(predicted)
    received = batch.treatment.unsqueeze(-1)
    missing = batch.weight * (observed - base.gather(-1, received).squeeze(-1))
    return base.scatter_add(-1, received, missing.unsqueeze(-1).to(base.dtype))
