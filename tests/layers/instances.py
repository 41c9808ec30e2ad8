"""Problems on which the regularised layers are tried: ties, slack budgets, tight ones."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Instance:
    revenue: Tensor
    cost: Tensor
    budget: Tensor
    temperature: float

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(
            each.clone().requires_grad_() for each in (self.revenue, self.cost, self.budget)
        )


def instance(seed: int, rows: int = 8, arms: int = 4) -> Instance:
    """Every fifth has ties, every fifth a slack budget, every fifth a tight one."""
    draw = torch.Generator().manual_seed(seed)
    revenue, cost = torch.rand(2, rows, arms, generator=draw, dtype=torch.float64)
    if seed % 5 == 0:
        revenue, cost = (revenue * 3).round() / 3, (cost * 3).round() / 3
        revenue = revenue + 1e-3 * torch.rand(rows, arms, generator=draw, dtype=torch.float64)
    cost = cost + 0.05  # so that finite differences stay >= 0
    least, most = cost.amin(dim=1).sum(), cost.amax(dim=1).sum()
    share = {1: 1.1, 2: 0.02}.get(seed % 5, 0.3)
    temperature = (0.05, 0.3, 2.0)[seed % 3]
    return Instance(revenue, cost, least + share * (most - least), temperature)
