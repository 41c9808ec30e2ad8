"""`CompiledPasses`: the passes compiled by torch, on any device, on request."""

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, final

import torch
from torch import Tensor

from dfl.budget_path import HullSteps
from dfl.scale import Sketch
from dfl.solvers.passes.base import AbstractPasses, Along, Sifted
from dfl.solvers.passes.eager import TorchPasses, sifted, tournament
from dfl.solvers.passes.sketching import hull_sketch

__all__ = ["CompiledPasses"]

_QUICK = 3  # treatments; above, on the CPU, columns lie too far apart for a compiled tournament


@final
class CompiledPasses(AbstractPasses):
    """Loops over treatments unrolled and fused by torch.compile; sorting is that of torch."""

    def decide(self, revenue: Tensor, cost: Tensor, price: float) -> Tensor:
        """Choose the best treatment of each person at a price."""
        if revenue.device.type == "cpu" and revenue.shape[1] > _QUICK:
            return TorchPasses().decide(revenue, cost, price)
        chosen: Tensor = _compiled(tournament, revenue)(revenue, cost, revenue.new_tensor(price))
        return chosen

    def sift(self, revenue: Tensor, cost: Tensor, low: float, high: float) -> Sifted | None:
        """Compare everyone's best treatment at two prices."""
        ends = torch.tensor([low, high], dtype=torch.float64, device=revenue.device)
        return sifted(revenue, cost, *_compiled(_sift, revenue)(revenue, cost, *ends))

    def hull(self, revenue: Tensor, cost: Tensor) -> HullSteps:
        """Walk along everyone's hull."""
        if revenue.shape[1] == 1:
            return TorchPasses().hull(revenue, cost)
        base, valid, *columns = _compiled(_walk, revenue)(revenue, cost)
        taken = valid.view(-1).nonzero()[:, 0]
        steps = (column.view(-1).index_select(0, taken) for column in columns)
        return HullSteps(base, torch.div(taken, valid.shape[1], rounding_mode="floor"), *steps)

    def sketch(self, revenue: Tensor, cost: Tensor, digits: int) -> Sketch:
        """Add up the steps of everyone's hull by multiplier."""
        return hull_sketch(self, revenue, cost, digits)

    def along(self, steps: HullSteps, cost: float, revenue: float) -> Along:
        """Sort the steps by falling multiplier; add up."""
        return TorchPasses().along(steps, cost, revenue)


def _compiled(function: Callable[..., Any], revenue: Tensor) -> Callable[..., Any]:
    """Return a function compiled for this dtype, device and number of treatments."""
    if revenue.shape[0] < 2:  # torch.compile would make code for these sizes alone
        return function
    return _compile(function, revenue.dtype, revenue.device, revenue.shape[1])


@cache
def _compile(function: FunctionType, *kind: object) -> Callable[..., Any]:
    """Compile a copy, as torch allows one function a few versions only."""
    copy = FunctionType(function.__code__.replace(), function.__globals__)
    compiled: Callable[..., Any] = torch.compile(copy, fullgraph=True)

    def call(revenue: Tensor, cost: Tensor, *prices: Tensor) -> Any:
        for amount in (revenue, cost):
            torch._dynamo.mark_dynamic(amount, 0)  # the number of people may change
        return compiled(revenue, cost, *prices)

    return call


def _sift(revenue: Tensor, cost: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, ...]:
    """Find the best score at ``high``, and whether another one is better at ``low``."""
    best_revenue, best_cost = revenue[:, 0].double(), cost[:, 0].double()
    at_high = best_revenue - high * best_cost
    at_low = most_at_low = best_revenue - low * best_cost
    choice = torch.zeros_like(at_high)  # as wide as the scores, for vectors of one length
    for j in range(1, revenue.shape[1]):
        this_revenue, this_cost = revenue[:, j].double(), cost[:, j].double()
        this_at_high = this_revenue - high * this_cost
        this_at_low = this_revenue - low * this_cost
        wins = this_at_high > at_high
        at_high = torch.where(wins, this_at_high, at_high)
        at_low = torch.where(wins, this_at_low, at_low)
        best_revenue = torch.where(wins, this_revenue, best_revenue)
        best_cost = torch.where(wins, this_cost, best_cost)
        choice = torch.where(wins, float(j), choice)
        most_at_low = torch.maximum(most_at_low, this_at_low)
    differs = most_at_low > at_low
    kept = (torch.where(differs, 0, amount).sum() for amount in (best_cost, best_revenue))
    return choice.long(), differs, *kept


def _walk(revenue: Tensor, cost: Tensor) -> tuple[Tensor, ...]:
    """Take as many steps as there can be; say which are real.

    Returns:
        The base, whether each step is real, and the columns of `HullSteps` from ``previous``
        on, of shape ``(N, M - 1)``.
    """
    revenues = [column.double() for column in revenue.unbind(1)]
    costs = [column.double() for column in cost.unbind(1)]
    here_revenue, here_cost = revenues[0], costs[0]
    base = torch.zeros_like(here_cost, dtype=torch.int64)
    for j in range(1, len(costs)):
        wins = (costs[j] < here_cost) | ((costs[j] == here_cost) & (revenues[j] > here_revenue))
        here_revenue = torch.where(wins, revenues[j], here_revenue)
        here_cost = torch.where(wins, costs[j], here_cost)
        base = torch.where(wins, j, base)
    here, ceiling = base, torch.full_like(here_cost, torch.finfo(torch.float64).max)
    taken = []
    for _ in range(len(costs) - 1):
        there, slope = here, torch.zeros_like(here_cost)
        cost_gain, revenue_gain = torch.zeros_like(here_cost), torch.zeros_like(here_cost)
        next_cost, next_revenue = here_cost, here_revenue
        for j in range(len(costs)):
            more_cost, more_revenue = costs[j] - here_cost, revenues[j] - here_revenue
            gains = (more_cost > 0) & (more_revenue > 0)
            this = more_revenue / torch.where(gains, more_cost, 1)
            nearer = (this == slope) & (more_cost < cost_gain)
            wins = gains & ((this > slope) | nearer)
            there = torch.where(wins, j, there)
            slope = torch.where(wins, this, slope)
            cost_gain = torch.where(wins, more_cost, cost_gain)
            revenue_gain = torch.where(wins, more_revenue, revenue_gain)
            next_cost = torch.where(wins, costs[j], next_cost)
            next_revenue = torch.where(wins, revenues[j], next_revenue)
        ceiling = torch.minimum(ceiling, slope)
        taken.append((slope > 0, here, there, cost_gain, revenue_gain, ceiling))
        here, here_cost, here_revenue = there, next_cost, next_revenue
    return base, *(torch.stack(column, dim=1) for column in zip(*taken, strict=True))
