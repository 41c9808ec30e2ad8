"""The search for the multiplier at which soft shares meet a budget, block of people by block."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias, final

import torch
from torch import Tensor

from dfl.layers.pricing.problems import arms_first, blocks
from dfl.layers.regularised.regulariser import AbstractRegulariser, jacobian_product

__all__ = ["SoftProblem", "Spend", "add_up", "find_multiplier", "total"]

Spend: TypeAlias = Callable[[Tensor], tuple[Tensor, Callable[[], Tensor]]]
"""Multipliers ``(...)`` to the spend there and a function that tells how fast it falls there.

Both float64 ``(...)``; the second is called, if at all, before spend is asked for again.
"""

_SAMPLE = 1 << 16  # people, about, on whom the first guess of the multiplier is made
_EVERY = 16  # at most every so many-th person
_ROUNDING = 16  # times the dtype's epsilon: what counts as meeting the budget
_MAX_ITER = 200
_FAR = 0.1  # of what the budget leaves above the floor
_FURTHEST = 2.0**60  # units: there, all that can be saved is saved


@final
@dataclass(frozen=True, eq=False)
class SoftProblem:
    """Everyone's scores, in units of the temperature, as a function of the multiplier.

    Args:
        regulariser: the regulariser.
        gain: ``revenue / temperature``. Blocks of shape ``(..., M, n)``.
        cost: in currency. Blocks of shape ``(..., M, n)``.
        price: what shares are charged; the same as ``cost`` without observed costs.
        temperature: shape ``(...)``.
    """

    regulariser: AbstractRegulariser
    gain: list[Tensor]
    cost: list[Tensor]
    price: list[Tensor]
    temperature: Tensor

    @staticmethod
    def of(
        regulariser: AbstractRegulariser,
        revenue: Tensor,
        cost: Tensor,
        price: Tensor | None,
        temperature: Tensor,
    ) -> "SoftProblem":
        """Build the problem from ``(..., N, M)``; see `soft_optimum`."""
        parts = blocks(cost.shape[-2], temperature.numel())
        gains = [arms_first(revenue[..., part, :]) / temperature[..., None, None] for part in parts]
        costs = [arms_first(cost[..., part, :]) for part in parts]
        prices = costs if price is None else [arms_first(price[..., part, :]) for part in parts]
        return SoftProblem(regulariser, gains, costs, prices, temperature)

    def solve(self, budget: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return shares ``(..., M, N)``, multiplier and whether the budget binds ``(...)``.

        Args:
            budget: float64. Shape ``(...)``.
            start: first guess of the multiplier, or None. Shape ``(...)``.
        """
        lengths = [block.shape[-1] for block in self.cost]
        shares = self.cost[0].new_empty((*self.cost[0].shape[:-1], sum(lengths)))
        if not shares.shape[-1]:  # nobody: nothing is spent, and money is free
            return shares, torch.zeros_like(budget), torch.zeros_like(budget, dtype=torch.bool)
        temperature = self.temperature.double()
        unit = self._unit()
        if start is not None:
            first = start.double() / temperature
        elif len(lengths) > 1:
            sample, share = self._sample()
            first = sample.solve(budget * share, None)[1] / temperature
        else:
            first = unit
        into = list(torch.split(shares, lengths, dim=-1))
        # The multiplier is sought in units of the temperature, as the scores are.
        multiplier, binds = find_multiplier(
            lambda at: self._spend(at, into),
            budget,
            first,
            unit=unit,
            floor=self._floor(budget),
            rtol=_ROUNDING * torch.finfo(self.temperature.dtype).eps,
        )
        return shares, multiplier * temperature, binds

    def _spend(self, price: Tensor, into: list[Tensor]) -> tuple[Tensor, Callable[[], Tensor]]:
        """Return the spend and how fast it falls, and write the shares into a list of blocks."""
        slope = price.to(self.temperature.dtype)[..., None, None]
        spent = []
        for gain, cost, charged, shares in zip(self.gain, self.cost, self.price, into, strict=True):
            self.regulariser.shares(torch.addcmul(gain, cost, slope, value=-1), out=shares)
            spent.append(total(charged * shares))
        return add_up(spent), lambda: self._fall(into)

    def _fall(self, shares: list[Tensor]) -> Tensor:
        """Return how fast the spend falls where people have these shares."""
        everyone = zip(self.cost, self.price, shares, strict=True)
        return add_up(
            [
                total(jacobian_product(self.regulariser.weights(shares), cost).mul_(charged))
                for cost, charged, shares in everyone
            ]
        )

    def _floor(self, budget: Tensor) -> Tensor:
        """Return the spend of the cheapest choice; minus infinity where others are charged."""
        if self.price is not self.cost:
            return torch.full_like(budget, -torch.inf)
        return add_up([cost.amin(dim=-2).sum(dim=-1, dtype=torch.float64) for cost in self.cost])

    def _sample(self) -> tuple["SoftProblem", float]:
        """Return the problem of every so many-th person, and their share of all."""
        people = sum(block.shape[-1] for block in self.cost)
        step = max(people // _SAMPLE, _EVERY)

        def some(amounts: list[Tensor]) -> list[Tensor]:
            return [torch.cat([block[..., ::step] for block in amounts], dim=-1)]

        cost = some(self.cost)
        price = cost if self.price is self.cost else some(self.price)
        sample = replace(self, gain=some(self.gain), cost=cost, price=price)
        return sample, cost[0].shape[-1] / people

    def _unit(self) -> Tensor:
        """Return a typical multiplier: the range of the gains over the range of the costs."""
        gain, cost = (each[0].flatten(-2) for each in (self.gain, self.cost))
        most = gain.amax(dim=-1)
        least = torch.where(gain == -torch.inf, most.unsqueeze(-1), gain).amin(dim=-1)
        money = cost.amax(dim=-1) - cost.amin(dim=-1)
        return ((most - least + 1) / torch.where(money > 0, money, 1)).double()


def find_multiplier(
    spend: Spend, budget: Tensor, start: Tensor, *, unit: Tensor, floor: Tensor, rtol: float
) -> tuple[Tensor, Tensor]:
    """Find ``multiplier >= 0`` with ``spend(multiplier) = budget``, or 0 where money is left.

    Newton steps inside a bracket with ``spend(low) > budget >= spend(high)``, and bisection,
    or doubling while there is no ``high``, where two of them do not halve the length of a move.
    Far above the budget the steps are those of an exponential that falls to the floor, which
    spend resembles more than a line.
    Spend need not fall everywhere: one crossing from above is found. Where no multiplier meets
    the budget, that of the least spend met on the way up.

    Args:
        spend: spend and its fall, all problems at once.
        budget: money, float64. Shape ``(...)``.
        start: first guess, >= 0, float64. Shape ``(...)``.
        unit: a typical multiplier, > 0: the first step up where Newton gives none. ``(...)``.
        floor: what no multiplier brings the spend below, minus infinity where unknown. ``(...)``.
        rtol: what counts as equal: spend relative to the larger of budget and spend at the
            start, multipliers relative to themselves.

    Returns:
        Multiplier, float64, and whether the budget binds there, bool. Shapes ``(...)``. The
        last call of ``spend`` was at this multiplier.
    """
    columns = (each.reshape(-1).tolist() for each in (budget, start, unit, floor))
    searches = [
        _Search(money, first, typical, least, rtol)
        for money, first, typical, least in zip(*columns, strict=True)
    ]
    shape, device = budget.shape, budget.device

    def column(numbers: list[float]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64, device=device).reshape(shape)

    for _ in range(_MAX_ITER):
        tried = [search.x for search in searches]
        at = column(tried)
        spent, fall = spend(at)
        for search, found in zip(searches, spent.reshape(-1).tolist(), strict=True):
            search.see(found)
        if all(search.settled for search in searches):
            break
        for search, found in zip(searches, fall().reshape(-1).tolist(), strict=True):
            search.move(found)
    answers = [search.answer for search in searches]
    if answers != tried:
        at = column(answers)
        spend(at)
    found = [math.isfinite(search.high) for search in searches]
    met = torch.tensor(found, dtype=torch.bool, device=device)
    return at, met.reshape(shape) & (at > 0)


@final
@dataclass
class _Search:
    """The search for one problem's multiplier, in plain numbers: tensors of one are slow."""

    budget: float
    x: float
    unit: float
    floor: float
    rtol: float
    low: float = -1.0
    high: float = math.inf
    least: float = math.inf
    least_at: float = 0.0
    tolerance: float | None = None
    moves: tuple[float, float] = (math.inf, math.inf)
    settled: bool = False
    excess: float = math.inf

    @property
    def answer(self) -> float:
        """The smallest multiplier met that keeps the budget, or else saves most."""
        return self.high if math.isfinite(self.high) else self.least_at

    def see(self, spent: float) -> None:
        """Take in the spend at ``x``; settle where that is near enough."""
        if self.settled:
            return
        if self.tolerance is None:
            self.tolerance = self.rtol * max(abs(self.budget), abs(spent))
        excess = self.excess = spent - self.budget
        if spent < self.least - self.tolerance:
            self.least, self.least_at = spent, self.x
        if excess > self.tolerance:
            self.low = self.x
        else:
            self.high = min(self.high, self.x)
        width = self.high - max(self.low, 0)
        self.settled = (
            abs(excess) <= self.tolerance
            or self.high == 0
            or self.x >= self.unit * _FURTHEST
            or (math.isfinite(width) and width <= self.high * self.rtol)
        )

    def move(self, fall: float) -> None:
        """Choose the next ``x``, given how fast the spend falls here."""
        if not self.settled:
            new = self._next(self._step(fall) if fall else math.inf)
            self.moves = (abs(new - self.x), self.moves[0])
            self.x = new

    def _step(self, fall: float) -> float:
        """Return how far the budget seems to be."""
        room = self.budget - self.floor
        if 0 < _FAR * room < self.excess:
            above = self.excess + room
            return above / fall * math.log(above / room)
        return self.excess / fall

    def _next(self, step: float) -> float:
        """Return the Newton point where it is inside the bracket, else halve or double."""
        newton = max(self.x + step, 0)
        if abs(step) <= self.moves[1] / 2 and self.low < newton < self.high:
            return newton
        if math.isinf(self.high):
            return 2 * self.x + self.unit
        return 0 if self.low < 0 else (self.low + self.high) / 2


def total(amount: Tensor) -> Tensor:
    """Add up ``(..., M, N)`` over people and treatments, in float64."""
    return amount.sum(dim=(-2, -1), dtype=torch.float64)


def add_up(parts: list[Tensor]) -> Tensor:
    """Add up one tensor per block of people."""
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)
