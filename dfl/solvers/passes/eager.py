"""`TorchPasses`: plain torch, on any device, nothing compiled."""

from typing import final

import torch
from torch import Tensor

from dfl.budget_path import HullSteps
from dfl.scale import Chunks, Sketch
from dfl.solvers.passes.base import AbstractPasses, Along, Sifted, most_others
from dfl.solvers.passes.sketching import hull_sketch

__all__ = ["TorchPasses"]

# On the CPU, so many numbers at a time: they stay in cache, and torch, which starts threads from
# 32,768 on, works on them alone; waiting for threads costs more where other programs run.
_IN_CACHE = Chunks(30_000)
_LAID_OUT = 16  # treatments; up to so many are laid out one after another, where maxima are quick
_ROUNDING = 8  # of the largest score: twice what two scores, their bar and a quotient need


@final
class TorchPasses(AbstractPasses):
    """Torch operations on chunks that fit the cache, or on everyone at once off the CPU."""

    def decide(self, revenue: Tensor, cost: Tensor, price: float) -> Tensor:
        """Choose the best treatment of each person at a price."""
        if revenue.device.type != "cpu" or not revenue.shape[0]:
            return tournament(revenue, cost, revenue.new_tensor(price))
        return _by_scores(revenue, cost, price)

    def sift(self, revenue: Tensor, cost: Tensor, low: float, high: float) -> Sifted | None:
        """Compare everyone's best treatment at two prices."""
        parts = [_sift(revenue[one], cost[one], low, high) for one in chunks(revenue)]
        choice, differs, *kept = (torch.cat(column) for column in zip(*parts, strict=True))
        return sifted(revenue, cost, choice, differs, *(column.sum() for column in kept))

    def hull(self, revenue: Tensor, cost: Tensor) -> HullSteps:
        """Walk along everyone's hull."""
        rows = torch.arange(revenue.shape[0], device=revenue.device)
        parts = [_walk(revenue[one], cost[one], rows[one]) for one in chunks(revenue)]
        return HullSteps(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def sketch(self, revenue: Tensor, cost: Tensor, digits: int) -> Sketch:
        """Add up the steps of everyone's hull by multiplier."""
        return hull_sketch(self, revenue, cost, digits)

    def along(self, steps: HullSteps, cost: float, revenue: float) -> Along:
        """Sort the steps by falling multiplier; add up."""
        order = steps.multiplier.argsort(descending=True, stable=True)
        totals = [
            torch.cat([column.new_tensor([start]), start + column.index_select(0, order).cumsum(0)])
            for start, column in ((cost, steps.added_cost), (revenue, steps.added_revenue))
        ]
        end = steps.multiplier.new_zeros(1)
        multipliers = torch.cat([steps.multiplier.index_select(0, order), end])
        return Along(order, multipliers, *totals)


def chunks(revenue: Tensor) -> list[slice]:
    """Cut the rows of ``(N, M)`` into pieces to work on one after another, at least one."""
    if revenue.device.type != "cpu" or not revenue.shape[0]:
        return [slice(None)]
    return list(_IN_CACHE.of(*revenue.shape))


def sifted(
    revenue: Tensor, cost: Tensor, choice: Tensor, differs: Tensor, *kept: Tensor
) -> Sifted | None:
    """Pick out the people who differ; ``kept`` are the others' cost and revenue."""
    others = differs.nonzero()[:, 0]
    if others.shape[0] > most_others(revenue.shape[0]):
        return None
    rows = revenue.index_select(0, others), cost.index_select(0, others)
    cost_kept, revenue_kept = torch.stack(kept).tolist()
    return Sifted(choice, others, *rows, cost_kept, revenue_kept)


def tournament(revenue: Tensor, cost: Tensor, price: Tensor) -> Tensor:
    """Let each treatment meet the best one before it.

    Args:
        revenue: shape ``(..., N, M)``.
        cost: shape ``(..., N, M)``.
        price: broadcasts over ``(..., N)``.
    """
    (best_revenue, *revenues), (best_cost, *costs) = revenue.unbind(-1), cost.unbind(-1)
    choice = torch.zeros(revenue.shape[:-1], dtype=torch.int64, device=revenue.device)
    for j, (this_revenue, this_cost) in enumerate(zip(revenues, costs, strict=True), start=1):
        revenue_gain, cost_gain = this_revenue - best_revenue, this_cost - best_cost
        same_cost = cost_gain == 0
        slope = revenue_gain / cost_gain.masked_fill(same_cost, 1)
        wins = torch.where(cost_gain > 0, slope > price, slope <= price)
        wins = torch.where(same_cost, revenue_gain > 0, wins)
        best_revenue = torch.where(wins, this_revenue, best_revenue)
        best_cost = torch.where(wins, this_cost, best_cost)
        choice.masked_fill_(wins, j)
    return choice


def _by_scores(revenue: Tensor, cost: Tensor, price: float) -> Tensor:
    """Hold a `tournament` for those alone whose two best scores are equal but for rounding.

    Who leads by more than scores and quotients can round wins every match. Treatments within
    that of the best are counted and told apart by one product with ``M, M + 1, ...``: below
    ``2 M`` it is one treatment.
    """
    treatments, kind = revenue.shape[1], torch.finfo(revenue.dtype)
    ends = ((float(end) for end in one.aminmax()) for one in (revenue, cost))
    earned, paid = (max(-lowest, highest) for lowest, highest in ends)
    size = earned + price * paid
    if not size < kind.max / 4:  # differences could overflow, or are no numbers
        return tournament(revenue, cost, revenue.new_tensor(price))
    rounding = _ROUNDING * (kind.eps * size + kind.tiny * (1 + paid))
    name = torch.arange(treatments, 2 * treatments, dtype=revenue.dtype)
    choice = torch.empty(revenue.shape[0], dtype=torch.int64)
    together = Chunks(120_000) if torch.get_num_threads() == 1 else _IN_CACHE
    tied = []
    for part in together.of(*revenue.shape):
        named = _named(revenue[part], cost[part], price, rounding, name)
        if float(named.max()) >= 2 * treatments:
            tied.append((named >= 2 * treatments).nonzero()[:, 0] + part.start)
        choice[part] = named.sub_(treatments)
    if not tied:
        return choice
    who = torch.cat(tied)
    again = revenue.index_select(0, who), cost.index_select(0, who)
    return choice.index_copy_(0, who, tournament(*again, revenue.new_tensor(price)))


def _named(
    revenue: Tensor, cost: Tensor, price: float, rounding: float, name: Tensor
) -> Tensor:  # (n,)
    """Add up the names of the treatments whose score is the best but for rounding."""
    if revenue.shape[1] > _LAID_OUT:
        score = torch.sub(revenue, cost, alpha=price)
        return torch.mv(score.ge_(score.amax(dim=1, keepdim=True).sub_(rounding)), name)
    score = torch.empty(revenue.shape[::-1], dtype=revenue.dtype)
    torch.sub(revenue.t(), cost.t(), alpha=price, out=score)
    return torch.mv(score.ge_(score.amax(dim=0).sub_(rounding)).t(), name)


def cheapest(revenue: Tensor, cost: Tensor) -> Tensor:  # (..., N, M) twice -> (..., N)
    """Choose each person's cheapest treatment, ties as in `decide`: money at any price."""
    tied = cost == cost.amin(dim=-1, keepdim=True)
    return revenue.masked_fill(~tied, -torch.inf).argmax(dim=-1)


def _sift(revenue: Tensor, cost: Tensor, low: float, high: float) -> tuple[Tensor, ...]:
    """Return choice, differs, and what it costs and earns of those who do not differ."""
    revenue, cost = revenue.double(), cost.double()
    choice = torch.sub(revenue, cost, alpha=high).argmax(dim=1)
    at_low = torch.sub(revenue, cost, alpha=low)
    picked = choice[:, None]
    differs = at_low.amax(dim=1) > at_low.gather(1, picked)[:, 0]
    kept = (amount.gather(1, picked)[:, 0].masked_fill(differs, 0) for amount in (cost, revenue))
    return choice, differs, *(amount.sum().reshape(1) for amount in kept)


def _walk(revenue: Tensor, cost: Tensor, row: Tensor) -> tuple[Tensor, ...]:
    """Return the fields of `HullSteps` for some people."""
    base = here = cheapest(revenue, cost)
    revenue, cost = revenue.double(), cost.double()
    ceiling = revenue.new_full(row.shape, torch.finfo(torch.float64).max)
    place = torch.arange(row.shape[0], device=row.device)  # of the person among these
    most = revenue.shape[1] - 1
    taken: list[tuple[Tensor, ...]] = [
        (place[:0], row[:0], base[:0], base[:0], ceiling[:0], ceiling[:0], ceiling[:0])
    ]
    for step in range(most):
        revenue_gain = revenue - revenue.gather(1, here[:, None])
        cost_gain = cost - cost.gather(1, here[:, None])
        slope, there = _steepest(revenue_gain, cost_gain)
        left = (slope > 0).nonzero()[:, 0]
        place, row, here, there, slope, ceiling, revenue, cost, revenue_gain, cost_gain = (
            column.index_select(0, left)
            for column in (
                place, row, here, there, slope, ceiling, revenue, cost, revenue_gain, cost_gain
            )
        )  # fmt: skip
        ceiling = torch.minimum(slope, ceiling)
        added = (gain.gather(1, there[:, None])[:, 0] for gain in (cost_gain, revenue_gain))
        taken.append((place * most + step, row, here, there, *added, ceiling))
        here = there
    key, *columns = (torch.cat(column) for column in zip(*taken, strict=True))
    order = key.argsort()
    return base, *(column.index_select(0, order) for column in columns)


def _steepest(revenue_gain: Tensor, cost_gain: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest slope of each row, 0 where no treatment gains, and its treatment."""
    gains = (cost_gain > 0) & (revenue_gain > 0)
    slope = torch.where(gains, revenue_gain / cost_gain, 0)  # elsewhere it may be NaN
    best = slope.amax(dim=1)
    nearest = torch.where(slope == best[:, None], cost_gain, torch.inf).argmin(dim=1)
    return best, nearest
