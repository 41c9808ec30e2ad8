"""Makes a choice feasible at little loss, then spends what is left."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.scale import Chunks
from dfl.solvers.prices.lagrangian import Evaluation, Lagrangian
from dfl.solvers.prices.moves import searched

__all__ = ["repair_at_prices"]

_POOL = 2048  # people looked at together, nearest to a tie first
_NUMBERS = 1 << 22  # uses held of them, so that many capacities take no more
_ROUNDS = 256
_ENOUGH = 1e-5  # gap below which no more people are looked at


def repair_at_prices(
    lagrangian: Lagrangian, limit: Tensor, best: Evaluation, choice: Tensor
) -> tuple[Tensor, bool]:
    """Move people until every constraint holds, then to more revenue while it fits.

    People are taken in pools, nearest to a tie first, as moving them costs least; further
    pools only while a constraint is violated or much revenue is left to gain. In each
    round everyone of the pool names one move, and the best of these are made together: to
    repair, those that lose least ``score`` per unit of violation removed, up to where half of
    the violation is gone; to improve, those that earn most for their share of what is left, up
    to where half of it is spent.

    Args:
        lagrangian: the constraints, their limits with what is taken for rounding.
        limit: the limits that improvements keep to, shape ``(C,)``.
        best: evaluation at the prices found.
        choice: treatment of each person, each of them allowed. int64, shape ``(N,)``.

    Returns:
        The new choice, and whether it meets every constraint.
    """
    choice, usage = choice.clone(), lagrangian.totals(choice)[1]
    together = max(_NUMBERS // (lagrangian.revenue.shape[1] * len(lagrangian.active)), 64)
    for rows in _pools(best.margin, min(together, _POOL)):
        if rows.shape[0] == 0:
            break
        pool = _Pool.of(lagrangian, best.prices, rows, choice)
        usage = pool.repair(usage, lagrangian.limit)
        feasible = bool((usage <= lagrangian.limit).all())
        if feasible:
            pool.improve(usage, torch.maximum(limit, usage))
        choice[rows] = pool.choice.to(choice.device)
        revenue, usage = lagrangian.totals(choice)
        if feasible and best.value - revenue <= _ENOUGH * abs(best.value):
            break
    if not _is_feasible(lagrangian, choice):
        choice = searched(lagrangian, best.margin, choice)
    return choice, _is_feasible(lagrangian, choice)


def _is_feasible(lagrangian: Lagrangian, choice: Tensor) -> bool:
    return bool((lagrangian.totals(choice)[1] <= lagrangian.limit).all())


def _pools(margin: Tensor, size: int) -> Iterator[Tensor]:
    """Give out the people who have a second choice, nearest to a tie first."""
    first = margin.topk(min(size, margin.shape[0]), largest=False)
    yield first.indices[first.values.isfinite()]
    if margin.shape[0] > size:
        order = margin.argsort()
        rest = order[margin[order].isfinite()][size:]
        for part in Chunks(8 * size).of(rest.shape[0]):
            yield rest[part]


@final
@dataclass(frozen=True, eq=False)
class _Pool:
    """Some people, what each of their moves brings and uses; ``choice`` changes in place."""

    revenue: Tensor  # (n, M), minus infinity where not allowed
    use: Tensor  # (n, M, C), of the active constraints
    score: Tensor  # (n, M)
    active: Tensor
    choice: Tensor  # (n,)

    @classmethod
    def of(cls, lagrangian: Lagrangian, prices: Tensor, rows: Tensor, choice: Tensor) -> "_Pool":
        """Read some people, on the CPU."""
        revenue, use = (part.cpu() for part in lagrangian.uses(rows))
        use = use[..., lagrangian.active]
        score = revenue - use @ prices[lagrangian.active]
        return cls(revenue, use, score, lagrangian.active, choice[rows].cpu())

    def repair(self, usage: Tensor, limit: Tensor) -> Tensor:
        """Remove as much of the violation as these people can; return the usage then."""
        left = (usage - limit)[self.active]
        unit = self.use.abs().amax(dim=(0, 1)).clamp_min(torch.finfo(torch.float64).tiny)
        for _ in range(_ROUNDS):
            if not bool((left > 0).any()):
                break
            extra, gain, loss = self._moves()
            loss = loss + 1e-9 * gain[gain.isfinite()].abs().max()  # of two for free, the larger
            before = (left / unit).clamp_min(0).sum()
            after = ((left + extra) / unit).clamp_min(0).sum(dim=2)
            removed = before - after
            helps = (removed > 1e-12 * before) & loss.isfinite()
            key = torch.where(helps, loss / removed, torch.inf)
            ratio, move = key.min(dim=1)
            order = ratio.argsort(stable=True)[: int(ratio.isfinite().sum())]
            if order.shape[0] == 0:
                break
            path = left + extra[order, move[order]].cumsum(dim=0)
            over = (path / unit).clamp_min(0).sum(dim=1)
            half = (over <= 0.5 * before).nonzero()[:, 0]  # then order anew by what is left
            count = int(half[0] if half.shape[0] else over.argmin()) + 1
            left = self._make(order[:count], move, path)
        usage = usage.clone()
        usage[self.active] = limit[self.active] + left
        return usage

    def improve(self, usage: Tensor, limit: Tensor) -> None:
        """Spend what is left, keeping every constraint."""
        left = (limit - usage)[self.active]
        for _ in range(_ROUNDS):
            extra, gain, _ = self._moves()
            fits = (extra <= left).all(dim=2) & (gain > 0)
            share = (extra.clamp_min(0) / left.clamp_min(torch.finfo(torch.float64).tiny)).sum(2)
            key = torch.where(fits, gain / (1e-3 + share), -torch.inf)
            worth, move = key.max(dim=1)
            order = worth.argsort(descending=True, stable=True)[: int(worth.isfinite().sum())]
            if order.shape[0] == 0:
                break
            path = left - extra[order, move[order]].cumsum(dim=0)
            past = (path < 0.5 * left).any(dim=1).nonzero()[:, 0]  # then order anew
            count = max(int(past[0]), 1) if past.shape[0] else order.shape[0]
            left = self._make(order[:count], move, path)

    def _moves(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return what each move uses more, earns more, and loses in score."""
        now = self.choice[:, None]
        stay = self.use.gather(1, now[..., None].expand(-1, -1, self.use.shape[2]))
        gain = self.revenue - self.revenue.gather(1, now)
        return self.use - stay, gain, self.score.amax(dim=1, keepdim=True) - self.score

    def _make(self, people: Tensor, move: Tensor, path: Tensor) -> Tensor:
        self.choice[people] = move[people]
        return path[people.shape[0] - 1]
