"""`NumbaPasses`: the passes compiled by numba, for tensors on the CPU."""

# mypy: disable-error-code="untyped-decorator"

from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dfl.budget_path import HullSteps
from dfl.scale import Sketch
from dfl.scale.cached import cached_njit
from dfl.solvers.passes.base import AbstractPasses, Along, Sifted, most_others
from dfl.solvers.passes.numba_decide import decide
from dfl.solvers.passes.numba_sift import sift
from dfl.solvers.passes.numba_sketch import sketch
from dfl.solvers.passes.radix import falling_order

__all__ = ["NumbaPasses"]

_compiled = cached_njit(nogil=True, error_model="numpy")
_U = np.uint64
_LARGEST = np.finfo(np.float64).max
Array = npt.NDArray[Any]


@final
class NumbaPasses(AbstractPasses):
    """One compiled loop over the people for each pass, on one thread, reading the inputs once."""

    def decide(self, revenue: Tensor, cost: Tensor, price: float) -> Tensor:
        """Choose the best treatment of each person at a price."""
        flat = _flat(revenue, cost)
        choice = np.empty(revenue.shape[0], np.int64)
        decide(*flat, revenue.shape[1], flat[0].dtype.type(price), choice)
        return torch.from_numpy(choice)

    def sift(self, revenue: Tensor, cost: Tensor, low: float, high: float) -> Sifted | None:
        """Compare everyone's best treatment at two prices."""
        flat, (rows, arms) = _flat(revenue, cost), revenue.shape
        most = most_others(rows)
        choice, others = np.empty(rows, np.int64), np.empty(most, np.int64)
        moved = [np.empty((most, arms), flat[0].dtype) for _ in flat]
        into = (one.reshape(-1) for one in moved)
        found, kept_cost, kept_revenue = sift(*flat, arms, low, high, choice, others, *into)
        if found > most:
            return None
        picked, revenues, costs = (torch.from_numpy(one[:found]) for one in (others, *moved))
        return Sifted(torch.from_numpy(choice), picked, revenues, costs, kept_cost, kept_revenue)

    def hull(self, revenue: Tensor, cost: Tensor) -> HullSteps:
        """Walk along everyone's hull."""
        flat = _flat(revenue, cost)
        base = np.empty(revenue.shape[0], np.int64)
        most = revenue.shape[0] * (revenue.shape[1] - 1)  # memory is taken as it is written to
        which, gains = np.empty((most, 3), np.int64), np.empty((most, 3), np.float64)
        found = _walk(*flat, revenue.shape[1], base, which, gains)
        columns = (*which[:found].T, *gains[:found].T)
        return HullSteps(torch.from_numpy(base), *(torch.from_numpy(one) for one in columns))

    def sketch(self, revenue: Tensor, cost: Tensor, digits: int) -> Sketch:
        """Add up the steps of everyone's hull by multiplier."""
        flat = _flat(revenue, cost)
        return sketch(*flat, revenue.shape[1], digits)

    def along(self, steps: HullSteps, cost: float, revenue: float) -> Along:
        """Sort the steps by falling multiplier; add up."""
        order = falling_order(steps.multiplier.numpy())
        multipliers, costs, revenues = np.empty((3, order.shape[0] + 1))
        columns = (steps.multiplier, steps.added_cost, steps.added_revenue)
        slope, added_cost, added_revenue = (column.numpy() for column in columns)
        _add_up(
            order, slope, added_cost, added_revenue, cost, revenue, multipliers, costs, revenues
        )
        along = (order, multipliers, costs, revenues)
        return Along(*(torch.from_numpy(column) for column in along))


def _flat(revenue: Tensor, cost: Tensor) -> tuple[Array, Array]:
    """Return both inputs as flat arrays."""
    if revenue.requires_grad or cost.requires_grad:
        revenue, cost = revenue.detach(), cost.detach()
    return revenue.numpy().reshape(-1), cost.numpy().reshape(-1)


@_compiled
def _walk(revenue: Array, cost: Array, m: int, base: Array, which: Array, gains: Array) -> Any:
    """Write everyone's steps down one after another; return how many there are."""
    found = _U(0)
    for i in range(_U(0), _U(base.shape[0])):
        first = i * _U(m)
        here, here_cost, here_revenue = 0, np.float64(cost[first]), np.float64(revenue[first])
        for j in range(1, m):
            this_cost, this_revenue = cost[first + _U(j)], revenue[first + _U(j)]
            if this_cost < here_cost or (this_cost == here_cost and this_revenue > here_revenue):
                here, here_cost, here_revenue = j, np.float64(this_cost), np.float64(this_revenue)
        base[i] = here
        ceiling = _LARGEST
        while True:
            there, slope = -1, np.float64(0)
            cost_gain = revenue_gain = np.float64(0)
            for j in range(m):
                more_cost = cost[first + _U(j)] - here_cost
                more_revenue = revenue[first + _U(j)] - here_revenue
                if more_cost > 0 and more_revenue > 0:
                    this = more_revenue / more_cost
                    if this > slope or (this == slope and more_cost < cost_gain):
                        there, slope, cost_gain, revenue_gain = j, this, more_cost, more_revenue
            if there < 0:
                break
            ceiling = min(ceiling, slope)
            which[found, 0], which[found, 1], which[found, 2] = i, here, there
            gains[found, 0], gains[found, 1], gains[found, 2] = cost_gain, revenue_gain, ceiling
            found += _U(1)
            here = there
            here_cost = np.float64(cost[first + _U(there)])
            here_revenue = np.float64(revenue[first + _U(there)])
    return found


@_compiled
def _add_up(
    order: Array, multiplier: Array, added_cost: Array, added_revenue: Array, cost: float,
    revenue: float, multipliers: Array, costs: Array, revenues: Array,
) -> None:  # fmt: skip
    """Write the totals along the way down."""
    costs[0], revenues[0], multipliers[-1] = cost, revenue, 0.0
    for i in range(order.shape[0]):
        step = order[i]
        cost += added_cost[step]
        revenue += added_revenue[step]
        multipliers[i], costs[i + 1], revenues[i + 1] = multiplier[step], cost, revenue
