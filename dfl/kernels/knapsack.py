"""The passes of the exact solver over all people: their decision, and the bracket pass."""

# mypy: disable-error-code="untyped-decorator,no-untyped-call"

import torch
import triton
from torch import Tensor
from triton import language as tl

from dfl.kernels.launch import launch

__all__ = ["decide", "sift"]

_BLOCK = 256  # people of one program


def decide(revenue: Tensor, cost: Tensor, price: float) -> Tensor:
    """Hold a tournament among the treatments of each person; see `tournament` of plain torch.

    Args:
        revenue: shape ``(N, M)``, N >= 1.
        cost: shape ``(N, M)``.
        price: of money, in the inputs' precision.

    Returns:
        int64, shape ``(N,)``.
    """
    rows, arms = revenue.shape
    choice = torch.empty(rows, dtype=torch.int64, device=revenue.device)
    at = torch.full((1,), price, dtype=revenue.dtype, device=revenue.device)
    inputs = (revenue.contiguous(), cost.contiguous(), at)
    launch(_decide, triton.cdiv(rows, _BLOCK), *inputs, choice, rows, arms, _BLOCK, exact=True)
    return choice


def sift(revenue: Tensor, cost: Tensor, low: float, high: float) -> tuple[Tensor, ...]:
    """Find everyone's best treatment at ``high``, and whether another is better at ``low``.

    Args:
        revenue: shape ``(N, M)``, N >= 1.
        cost: shape ``(N, M)``.
        low: lower price.
        high: higher price.

    Returns:
        Choice, int64 ``(N,)``; whether it differs, bool ``(N,)``; total cost and revenue of the
        choices that do not, float64 ``()``.
    """
    rows, arms = revenue.shape
    programs, device = triton.cdiv(rows, _BLOCK), revenue.device
    choice = torch.empty(rows, dtype=torch.int64, device=device)
    differs = torch.empty(rows, dtype=torch.bool, device=device)
    kept = torch.empty(2, programs, dtype=torch.float64, device=device)
    # Numbers given to a kernel as they are would reach it in float32.
    ends = torch.full((2,), low, dtype=torch.float64, device=device)
    ends[1].fill_(high)
    inputs = revenue.contiguous(), cost.contiguous(), ends
    launch(_sift, programs, *inputs, choice, differs, kept, rows, arms, _BLOCK, exact=True)
    return choice, differs, *kept.sum(dim=1)


@triton.jit
def _quotient(above, below):  # type: ignore[no-untyped-def]
    """Divide and round correctly; in float32 Triton's own division does not."""
    if above.dtype == tl.float32:
        return tl.div_rn(above, below)
    else:
        return above / below


@triton.jit
def _decide(  # type: ignore[no-untyped-def]
    revenue, cost, price, choice, rows, arms: tl.constexpr, block: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = row < rows
    first = row * arms
    limit = tl.load(price)
    best_revenue = tl.load(revenue + first, mask=inside, other=0.0)
    best_cost = tl.load(cost + first, mask=inside, other=0.0)
    best = tl.zeros((block,), tl.int64)
    for j in range(1, arms):
        this_revenue = tl.load(revenue + first + j, mask=inside, other=0.0)
        this_cost = tl.load(cost + first + j, mask=inside, other=0.0)
        revenue_gain = this_revenue - best_revenue
        cost_gain = this_cost - best_cost
        same = cost_gain == 0
        slope = _quotient(revenue_gain, tl.where(same, 1.0, cost_gain))
        wins = tl.where(cost_gain > 0, slope > limit, slope <= limit)
        wins = tl.where(same, revenue_gain > 0, wins)
        best_revenue = tl.where(wins, this_revenue, best_revenue)
        best_cost = tl.where(wins, this_cost, best_cost)
        best = tl.where(wins, j, best)
    tl.store(choice + row, best, mask=inside)


@triton.jit
def _sift(  # type: ignore[no-untyped-def]
    revenue, cost, ends, choice, differs, kept, rows, arms: tl.constexpr, block: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = row < rows
    first = row * arms
    low, high = tl.load(ends), tl.load(ends + 1)
    best_revenue = tl.load(revenue + first, mask=inside, other=0.0).to(tl.float64)
    best_cost = tl.load(cost + first, mask=inside, other=0.0).to(tl.float64)
    at_high = best_revenue - high * best_cost
    at_low = best_revenue - low * best_cost
    most_at_low = at_low
    best = tl.zeros((block,), tl.int64)
    for j in range(1, arms):
        this_revenue = tl.load(revenue + first + j, mask=inside, other=0.0).to(tl.float64)
        this_cost = tl.load(cost + first + j, mask=inside, other=0.0).to(tl.float64)
        this_at_high = this_revenue - high * this_cost
        this_at_low = this_revenue - low * this_cost
        wins = this_at_high > at_high
        at_high = tl.where(wins, this_at_high, at_high)
        at_low = tl.where(wins, this_at_low, at_low)
        best_revenue = tl.where(wins, this_revenue, best_revenue)
        best_cost = tl.where(wins, this_cost, best_cost)
        best = tl.where(wins, j, best)
        most_at_low = tl.maximum(most_at_low, this_at_low)
    moves = most_at_low > at_low
    tl.store(choice + row, best, mask=inside)
    tl.store(differs + row, moves, mask=inside)
    settled = inside & (moves == 0)
    place = kept + tl.program_id(0)
    tl.store(place, tl.sum(tl.where(settled, best_cost, 0.0), axis=0))
    tl.store(place + tl.num_programs(0), tl.sum(tl.where(settled, best_revenue, 0.0), axis=0))
