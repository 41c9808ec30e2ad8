"""The multiplier at which the expected spend of soft shares meets the budget."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from torch import Tensor

__all__ = ["Spend", "find_multiplier"]

Spend: TypeAlias = Callable[[Tensor], tuple[Tensor, Callable[[], Tensor]]]
"""Multipliers ``(...)`` to the spend there and a function that tells how fast it falls there.

Both float64 ``(...)``; the second is called, if at all, before spend is asked for again.
"""

_MAX_ITER = 200
_FAR = 0.1  # of what the budget leaves above the floor
_FURTHEST = 2.0**60  # units: there, all that can be saved is saved


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
    met = torch.tensor([math.isfinite(search.high) for search in searches], device=device)
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
