"""Estimators of what a soft policy would earn, from randomised logs."""

from typing import Literal

import torch
from torch import Tensor

from dfl.errors import InvalidValueError, ShapeError

__all__ = ["Estimator", "check_every_treatment_seen", "policy_value"]

Estimator = Literal["horvitz-thompson", "self-normalised"]


def policy_value(
    allocation: Tensor,  # (..., N, M)
    treatment: Tensor,  # (..., N)
    outcome: Tensor,  # (..., N)
    weight: Tensor,  # (..., N)
    estimator: Estimator,
) -> Tensor:  # (...)
    """Estimate the mean outcome per head under a soft policy.

    Horvitz-Thompson: ``mean_i weight_i z_{i,t_i} y_i``, unbiased. Self-normalised:
    ``sum_i weight_i z_{i,t_i} y_i / sum_i weight_i z_{i,t_i}``, slightly biased, far less
    noisy, and unmoved by a constant added to every outcome.

    Args:
        allocation: share of each treatment, rows on the simplex. Shape ``(..., N, M)``.
        treatment: treatment received. Shape ``(..., N)``.
        outcome: observed outcome, in currency. Shape ``(..., N)``.
        weight: inverse propensity of the treatment received. Shape ``(..., N)``.
        estimator: which of the two.

    Returns:
        Value in currency per head. Shape ``(...)``.

    Source:
        arXiv:2510.19517, ``L_DL`` (Horvitz-Thompson); the authors' code of arXiv:2407.13664
        (self-normalised).
    """
    received = allocation.gather(-1, treatment.unsqueeze(-1)).squeeze(-1)
    weighted = weight * received
    total = (weighted * outcome).sum(dim=-1)
    if estimator == "self-normalised":
        return total / weighted.sum(dim=-1)
    return total / outcome.shape[-1]


def check_every_treatment_seen(treatment: Tensor, treatments: int, expected: torch.Size) -> None:
    """Refuse a batch in which a treatment has no row: its value could not be estimated.

    Args:
        treatment: treatment received. Shape ``(..., N)``.
        treatments: number of treatments M.
        expected: the shape that ``treatment`` should have.

    Raises:
        ShapeError: if the shape is another.
        InvalidValueError: if a treatment does not occur in a batch.
    """
    if treatment.shape != expected:
        raise ShapeError(
            f"batch.treatment must be {tuple(expected)}, got {tuple(treatment.shape)}."
        )
    seen = torch.zeros(*treatment.shape[:-1], treatments, dtype=torch.bool, device=treatment.device)
    seen = seen.scatter(-1, treatment, True)
    if not bool(seen.all()):
        missing = int((~seen).reshape(-1, treatments).any(dim=0).nonzero()[0])
        raise InvalidValueError(
            f"every treatment must occur in a batch, got {treatment.shape[-1]} rows without "
            f"treatment {missing}; take larger batches, or leave the treatment out."
        )
