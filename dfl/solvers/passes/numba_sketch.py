"""The sketch of numba: hull steps are added up as they are found, none is written down."""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numpy as np
import numpy.typing as npt

from dfl.scale import Sketch
from dfl.scale.cached import cached_njit

__all__ = ["sketch"]

_compiled = cached_njit(nogil=True, error_model="numpy")
_U = np.uint64
_LARGEST = np.finfo(np.float64).max
_EXPONENT = 11  # bits
Array = npt.NDArray[Any]


def sketch(revenue: Array, cost: Array, m: int, digits: int) -> Sketch:
    """Sketch the steps of people in flat arrays; one array holds every bin there can be.

    Args:
        revenue: N rows of m treatments.
        cost: of the same kind.
        m: treatments.
        digits: of the sketch, few.
    """
    sums = np.zeros((1 << (_EXPONENT + digits), 3))  # memory is taken as it is written to
    spent, earned, dearest = _add_up(revenue, cost, m, _U(52 - digits), sums)
    bins = np.flatnonzero(sums[:, 0])[::-1]
    steps, costs, revenues = sums[bins].T
    totals = (float(spent), float(earned), float(dearest))
    rows = revenue.shape[0] // m
    return Sketch(
        digits, bins, steps.astype(np.int64), costs.copy(), revenues.copy(), rows, *totals
    )


@_compiled
def _add_up(revenue: Array, cost: Array, m: int, shift: Any, sums: Array) -> Any:
    """Walk along everyone's hull as `NumbaPasses.hull` does."""
    spent = earned = dearest = 0.0
    number = np.empty(1, np.float64)
    bits = number.view(np.uint64)
    for i in range(_U(0), _U(revenue.shape[0] // m)):
        first = i * _U(m)
        here_cost, here_revenue = np.float64(cost[first]), np.float64(revenue[first])
        most = here_cost
        for j in range(1, m):
            this_cost = np.float64(cost[first + _U(j)])
            this_revenue = np.float64(revenue[first + _U(j)])
            most = max(most, this_cost)
            if this_cost < here_cost or (this_cost == here_cost and this_revenue > here_revenue):
                here_cost, here_revenue = this_cost, this_revenue
        spent += here_cost
        earned += here_revenue
        dearest += most
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
            number[0] = ceiling
            place = bits[0] >> shift
            sums[place, 0] += 1.0
            sums[place, 1] += cost_gain
            sums[place, 2] += revenue_gain
            here_cost = np.float64(cost[first + _U(there)])
            here_revenue = np.float64(revenue[first + _U(there)])
    return spent, earned, dearest
