"""The Lagrangian of an allocation problem: everyone's best treatment at given prices."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from dfl.problem import AllocationProblem
from dfl.scale import Chunks, over_ranks
from dfl.seeds import uniform

__all__ = ["Evaluation", "Extremes", "Lagrangian"]

_CPU_CHUNK = 2**17  # numbers per chunk: a megabyte, so that a chunk stays in the cache
_CUDA_CHUNK = 2**24
_ROUNDING = 32 * torch.finfo(torch.float64).eps


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """What everyone does at some prices, and the dual value there.

    Args:
        prices: price of each constraint, >= 0. float64 on the CPU, shape ``(C,)``.
        value: ``prices . limit + sum_i max_j score_ij``, with what rounding may have taken
            away added: an upper bound of every allocation. In currency.
        revenue: total revenue of ``choice``.
        usage: what ``choice`` uses of each constraint. float64 on the CPU, shape ``(C,)``.
        choice: best treatment of each person, int64, shape ``(N,)``.
        margin: lead of the best score over the second, infinity where there is no second.
            float32, shape ``(N,)``.
    """

    prices: Tensor
    value: float
    revenue: float
    usage: Tensor
    choice: Tensor
    margin: Tensor


@final
@dataclass(frozen=True, eq=False)
class Extremes:
    """What all people together can earn and use at least and at most, each for itself.

    Args:
        least: least total revenue, in currency.
        most: largest total revenue.
        size: magnitude of revenue, ``sum_i max_j |revenue_ij|``.
        floor: least use of each constraint. float64 on the CPU, shape ``(C,)``.
        ceiling: largest use of each constraint, shape ``(C,)``.
    """

    least: float
    most: float
    size: float
    floor: Tensor
    ceiling: Tensor

    def typical_prices(self) -> Tensor:
        """Return revenue at stake per use at stake of each constraint; 1 where nothing is."""
        use = self.ceiling - self.floor
        stake = self.most - self.least
        return torch.where((use > 0) & (stake > 0), stake / use, 1.0)


@final
@dataclass(frozen=True, eq=False)
class Lagrangian:
    """Revenue less priced constraints, ``score_ij = revenue_ij - sum_c price_c * use_ijc``.

    The constraints are, in this order, the K budgets (use: cost), the capacities of the M
    treatments (use: 1 on that treatment) and the least return (use: ``min_return * cost -
    revenue``, limit 0): C = K + M + 1. One that the problem does not have has an infinite
    limit, and its price stays 0.

    Args:
        revenue: in currency, shape ``(N, M)``.
        cost: in currency, >= 0, shape ``(N, M, K)``.
        choices: which treatments each person may get, all where None. bool, ``(N, M)``.
        limit: most that may be used of each constraint. float64 on the CPU, shape ``(C,)``.
        min_return: least revenue per unit of cost, no unit.
        base: what is taken off each person's revenue, in currency; nothing where None. float64,
            shape ``(N,)``.
    """

    revenue: Tensor
    cost: Tensor
    choices: Tensor | None
    limit: Tensor
    min_return: float
    base: Tensor | None = None

    @classmethod
    def of(cls, problem: AllocationProblem) -> "Lagrangian":
        """Read a problem; capacities are rounded down, as people are whole."""
        cost = problem.cost if problem.cost.ndim == 3 else problem.cost[..., None]
        capacity = torch.full((problem.treatments,), torch.inf, dtype=torch.float64)
        if problem.capacity is not None:
            places = problem.capacity.detach().cpu().double().floor()
            capacity = torch.where(places < problem.rows, places, torch.inf)
        floor = torch.tensor([0.0 if problem.min_return is not None else torch.inf])
        return cls(
            problem.revenue.detach(),
            cost.detach(),
            problem.choices,
            torch.cat([problem.budgets.detach(), capacity, floor.double()]),
            problem.min_return or 0.0,
        )

    @property
    def rows(self) -> int:
        """Number of people, N."""
        return self.revenue.shape[0]

    @property
    def active(self) -> Tensor:
        """Positions of the constraints that the problem has."""
        return self.limit.isfinite().nonzero()[:, 0]

    def names(self) -> list[str]:
        """Name every constraint as a user knows it."""
        treatments, budgets = self.revenue.shape[1], self.cost.shape[2]
        return [
            *(f"budget {k}" if budgets > 1 else "the budget" for k in range(budgets)),
            *(f"the capacity of treatment {j}" for j in range(treatments)),
            "min_return",
        ]

    def chunks(self) -> Iterator[slice]:
        """Cut the rows into runs whose float64 copies are small."""
        width = self.revenue.shape[1] * (self.cost.shape[2] + 1)
        numbers = _CUDA_CHUNK if self.revenue.is_cuda else _CPU_CHUNK
        return Chunks(max(numbers, 256 * width)).of(self.rows, width)

    def take(self, rows: Tensor) -> "Lagrangian":
        """Return the same constraints, limits included, over some of the people."""
        choices, base = (None if one is None else one[rows] for one in (self.choices, self.base))
        revenue, cost = self.revenue[rows], self.cost[rows]
        return replace(self, revenue=revenue, cost=cost, choices=choices, base=base)

    def less_base(self) -> tuple["Lagrangian", float]:
        """Return the same with everyone's largest revenue taken off, and the total of that.

        What people bring whatever they get moves no choice, and rounds what does. Not where there
        is a least return, which counts it.
        """
        base = torch.empty(self.rows, dtype=torch.float64, device=self.revenue.device)
        for part in self.chunks():
            base[part] = self.amounts(part)[0].amax(1)
        return replace(self, base=base), float(over_ranks(base.sum()))

    def earned(self, rows: slice | Tensor) -> Tensor:
        """Return the revenue of some people, less their base. float64, shape ``(n, M)``."""
        revenue = self.revenue[rows].double()
        return revenue if self.base is None else revenue - self.base[rows, None]

    def amounts(self, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Return revenue and cost of some people, float64.

        Returns:
            Revenue, ``(n, M)``, minus infinity where a treatment is not allowed; and cost,
            ``(n, M, K)``.
        """
        revenue, cost = self.earned(rows), self.cost[rows].double()
        if self.choices is not None:
            revenue = revenue.masked_fill(~self.choices[rows], -torch.inf)
        return revenue, cost

    def uses(self, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Return revenue and use of every constraint by some people, float64.

        Returns:
            Revenue, ``(n, M)``, minus infinity where a treatment is not allowed; and use,
            ``(n, M, C)``.
        """
        revenue, cost = self.amounts(rows)
        place = torch.eye(revenue.shape[1], dtype=torch.float64, device=revenue.device)
        earned = self.earned(rows)[..., None]
        floor = self.min_return * cost.sum(dim=2, keepdim=True) - earned
        return revenue, torch.cat([cost, place.expand(revenue.shape[0], -1, -1), floor], dim=2)

    def totals(self, choice: Tensor) -> tuple[float, Tensor]:
        """Return revenue of a choice, and what it uses of each constraint."""
        budgets = self.cost.shape[2]
        sums = torch.zeros(3, dtype=torch.float64, device=self.revenue.device)
        spent = sums.new_zeros(budgets)
        for part in self.chunks():
            taken = choice[part, None]
            sums[0] += self.earned(part).gather(1, taken).sum()
            cost = self.cost[part].gather(1, taken[..., None].expand(-1, -1, budgets))
            spent += cost.sum(dim=(0, 1), dtype=torch.float64)
        earned, _, _, usage = self._usage(sums, spent, choice)
        return earned, usage

    def extremes(self) -> Extremes:
        """Return bounds that hold person by person."""
        sums = torch.zeros(3, dtype=torch.float64, device=self.revenue.device)
        floor, ceiling = (torch.zeros_like(self.limit, device=sums.device) for _ in range(2))
        for part in self.chunks():
            revenue, use = self.uses(part)
            banned = revenue.isinf()
            sums[0] += revenue.masked_fill(banned, torch.inf).amin(1).sum()
            sums[1] += revenue.amax(1).sum()
            sums[2] += revenue.masked_fill(banned, 0).abs().amax(1).sum()
            if self.choices is None:
                floor += use.amin(1).sum(0)
                ceiling += use.amax(1).sum(0)
            else:
                banned = banned[..., None]
                floor += use.masked_fill(banned, torch.inf).amin(1).sum(0)
                ceiling += use.masked_fill(banned, -torch.inf).amax(1).sum(0)
        everyone = over_ranks(torch.cat([sums, floor, ceiling])).cpu()
        return Extremes(*everyone[:3].tolist(), *everyone[3:].chunk(2))

    def evaluate(self, prices: Tensor) -> Evaluation:
        """Let everyone choose at given prices.

        Args:
            prices: float64 on the CPU, >= 0, 0 where a constraint is not active, ``(C,)``.
        """
        treatments, budgets = self.revenue.shape[1], self.cost.shape[2]
        device = self.revenue.device
        weight = 1 + float(prices[-1])
        per_cost = (prices[:budgets] + self.min_return * prices[-1]).to(device)
        per_place = prices[budgets:-1].to(device)
        choice = torch.empty(self.rows, dtype=torch.int64, device=device)
        margin = torch.empty(self.rows, dtype=torch.float32, device=device)
        sums = torch.zeros(3, dtype=torch.float64, device=device)
        spent = sums.new_zeros(budgets)
        for part in self.chunks():
            earned = self.earned(part).reshape(-1)
            cost = self.cost[part].double().reshape(-1, budgets)
            scores = torch.addmv(earned, cost, per_cost, beta=weight, alpha=-1)
            scores = scores.reshape(-1, treatments) - per_place
            if self.choices is not None:
                scores.masked_fill_(~self.choices[part], -torch.inf)
            best, second, taken = _two_best(scores.T.contiguous())
            choice[part], margin[part] = taken, best - second
            at = torch.arange(taken.shape[0], device=device) * treatments + taken
            earned = earned[at]
            sums += torch.stack([earned.sum(), best.sum(), earned.abs().sum()])
            spent += cost[at].sum(dim=0)
        revenue, score, size, usage = self._usage(sums, spent, choice)
        paid = float(prices @ torch.where(self.limit.isfinite(), self.limit, 0))
        places = float((prices[budgets:-1] * usage[budgets:-1]).sum())
        size_of_terms = weight * size + float(usage[:budgets] @ per_cost.cpu()) + places + abs(paid)
        value = paid + score + _ROUNDING * size_of_terms
        return Evaluation(prices, value, revenue, usage, choice, margin)

    def alike(self, choice: Tensor) -> Tensor:
        """Return a number per person, equal for identical people with the same treatment.

        Args:
            choice: treatment of each person, int64, shape ``(N,)``.

        Returns:
            A random mix of all that is known of a person. float64, shape ``(N,)``.
        """
        key = torch.empty(self.rows, dtype=torch.float64, device=self.revenue.device)
        numbers = self.revenue.shape[1] * (self.cost.shape[2] + 2) + 1
        weight = uniform(numbers, generator=torch.Generator().manual_seed(0)).to(key)
        for part in self.chunks():
            known = [self.revenue[part], self.cost[part].flatten(1), choice[part, None]]
            if self.choices is not None:
                known.append(self.choices[part])
            mixed = torch.cat([one.double() for one in known], dim=1)
            key[part] = (mixed * weight[: mixed.shape[1]]).sum(dim=1)
        return key

    def _usage(
        self, sums: Tensor, spent: Tensor, choice: Tensor
    ) -> tuple[float, float, float, Tensor]:
        """Add up over ranks: the sums, revenue first, and what is used of each constraint."""
        count = torch.bincount(choice, minlength=self.revenue.shape[1])
        everyone = over_ranks(torch.cat([sums, spent, count.to(spent)])).cpu()
        revenue, score, size = everyone[:3].tolist()
        spent, count = everyone[3 : -len(count)], everyone[-len(count) :]
        floor = spent.new_tensor([self.min_return * math.fsum(spent.tolist()) - revenue])
        return revenue, score, size, torch.cat([spent, count, floor])


def _two_best(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (M, n) -> three of (n,)
    """Return the best score, the second best, and the treatment of the best."""
    best = scores[0]
    second = torch.full_like(best, -torch.inf)
    taken = torch.zeros(best.shape, dtype=torch.int64, device=best.device)
    for j in range(1, scores.shape[0]):
        score = scores[j]
        taken.masked_fill_(score > best, j)
        second = torch.maximum(second, torch.minimum(best, score))
        best = torch.maximum(best, score)
    return best, second, taken
