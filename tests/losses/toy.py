"""Toy A of the golden cases: four people, two treatments."""

from dataclasses import replace

import torch
from torch import Tensor

from dfl.losses import LoggedBatch

__all__ = ["three_arms", "toy_a"]


def toy_a(weight: float = 2.0) -> tuple[Tensor, Tensor, LoggedBatch]:
    """Return predicted revenue and cost, and logs with one inverse propensity for all."""
    revenue = [[0.30, 0.50], [0.20, 0.60], [0.40, 0.45], [0.50, 0.35]]
    cost = [[0.10, 0.20], [0.10, 0.40], [0.10, 0.50], [0.20, 0.30]]
    batch = LoggedBatch(
        treatment=torch.tensor([1, 0, 1, 0]),
        revenue=torch.tensor([1, 0.2, 0.4, 0.6], dtype=torch.float64),
        cost=torch.tensor([0.5, 0.1, 0.8, 0.3], dtype=torch.float64),
        weight=torch.full((4,), weight).double(),
    )
    inputs = (torch.tensor(one, dtype=torch.float64).requires_grad_() for one in (revenue, cost))
    return *inputs, batch


def three_arms(rows: int = 60, seed: int = 3) -> tuple[Tensor, Tensor, LoggedBatch]:
    """Return random predictions and logs of three treatments, with baselines beside the truth."""
    generator = torch.Generator().manual_seed(seed)
    revenue, cost = (
        torch.rand(rows, 3, generator=generator, dtype=torch.float64).cumsum(dim=1)
        for _ in range(2)
    )
    treatment = torch.randint(3, (rows,), generator=generator)
    seen = treatment[:, None]
    batch = LoggedBatch(
        treatment,
        revenue.gather(1, seen)[:, 0] + torch.rand(rows, generator=generator),
        cost.gather(1, seen)[:, 0],
        1 + torch.rand(rows, generator=generator, dtype=torch.float64),
    )
    noise = 0.3 * torch.rand(rows, 3, generator=generator, dtype=torch.float64)
    batch = replace(batch, baseline_revenue=revenue + noise, baseline_cost=cost + noise)
    return revenue.requires_grad_(), cost.requires_grad_(), batch
