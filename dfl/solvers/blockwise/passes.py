"""What is made of one block of people in one pass: who stays open, who is on a tie."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.budget_path import HullSteps
from dfl.scale import Chunks
from dfl.solvers.passes import AbstractPasses, Sifted

__all__ = ["Ties", "choice_at", "opened", "ties_of"]

_HULLS = Chunks(1 << 18)  # numbers whose steps are held at once


@final
@dataclass(frozen=True)
class Ties:
    """A block at one multiplier: everything above it is taken, and what lies just on it.

    Args:
        cost: total cost with all steps above the multiplier.
        revenue: total revenue there.
        tied_cost: what the steps exactly at the multiplier add.
        tied_revenue: likewise.
    """

    cost: float
    revenue: float
    tied_cost: float
    tied_revenue: float


def opened(
    revenue: Tensor, cost: Tensor, low: float, high: float, passes: AbstractPasses
) -> Sifted:
    """Tell who is settled between two multipliers, nobody where too few are."""
    sifted = passes.sift(revenue, cost, low, high)
    if sifted is not None:
        return sifted
    everyone = torch.arange(revenue.shape[0])
    return Sifted(torch.zeros_like(everyone), everyone, revenue, cost, 0.0, 0.0)


def ties_of(revenue: Tensor, cost: Tensor, multiplier: float, passes: AbstractPasses) -> Ties:
    """Add up a block at a multiplier on which many steps lie."""
    sums = torch.zeros(4, dtype=torch.float64)
    for part in _HULLS.of(*revenue.shape):
        steps = passes.hull(revenue[part], cost[part])
        above, on = steps.multiplier > multiplier, steps.multiplier == multiplier
        sums[0] += _total(cost[part], steps.base) + steps.added_cost[above].sum()
        sums[1] += _total(revenue[part], steps.base) + steps.added_revenue[above].sum()
        sums[2] += steps.added_cost[on].sum()
        sums[3] += steps.added_revenue[on].sum()
    return Ties(*sums.tolist())


def choice_at(
    revenue: Tensor, cost: Tensor, multiplier: float, passes: AbstractPasses, *, tied: bool
) -> Tensor:
    """Return everyone's treatment at a multiplier, with the steps exactly at it or without."""
    found = [torch.empty(0, dtype=torch.int64)]
    for part in _HULLS.of(*revenue.shape):
        steps: HullSteps = passes.hull(revenue[part], cost[part])
        taken = steps.multiplier >= multiplier if tied else steps.multiplier > multiplier
        found.append(steps.choice_after(taken))
    return torch.cat(found)


def _total(amount: Tensor, choice: Tensor) -> float:
    return float(amount.gather(1, choice[:, None]).sum(dtype=torch.float64))
