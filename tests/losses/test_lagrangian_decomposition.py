"""SPO+ at given prices of money."""

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.layers import Price
from dfl.losses import LagrangianDecomposition, SpoPlus
from tests.losses.test_spo_plus import logs


def test_it_is_the_mean_of_spo_plus_at_the_prices_whatever_the_budget() -> None:
    revenue, cost, batch = logs(300)
    loss = LagrangianDecomposition(multipliers=(0.2, 2.0))
    expected = [
        SpoPlus(price=Price(multiplier=price))(revenue.flip(1), cost, batch, 1.0)
        for price in (0.2, 2.0)
    ]
    for budget in (1.0, 50.0):
        found = loss(revenue.flip(1), cost, batch, budget)
        assert_close(found, torch.stack(expected).mean())


def test_the_bound_of_the_decomposition_is_the_linear_programs() -> None:
    """At the multiplier of the optimum, the price of the budget plus each person's best."""
    from dfl import AllocationProblem
    from dfl.solvers import GreedyDual

    revenue, cost, _ = logs(300)
    found = GreedyDual().solve(AllocationProblem(revenue, cost, 20.0))
    best = (revenue - found.multiplier * cost).amax(dim=1).sum()
    assert_close(found.multiplier * 20.0 + best, found.upper_bound)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="multipliers must be a tuple of numbers"):
        LagrangianDecomposition(multipliers=())
    with pytest.raises(InvalidValueError, match="pseudo_outcome must be one of"):
        LagrangianDecomposition(pseudo_outcome="none")  # type: ignore[arg-type]
