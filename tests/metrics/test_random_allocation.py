import numpy as np
import pytest
import torch

from dfl.budget import Budget
from dfl.data.uplift_data import UpliftData
from dfl.metrics.constant_mix import best_constant_mix
from dfl.metrics.random_allocation import random_allocation, random_shares
from dfl.stats.bootstrap import Bootstrap


def test_random_shares_are_even_where_the_budget_allows_it() -> None:
    cost = np.array([1.0, 0.0, 2.0])
    assert random_shares(cost, cost, 1.0).tolist() == pytest.approx([1 / 3] * 3)
    half = random_shares(cost, cost, 0.5)
    assert half.tolist() == pytest.approx([1 / 6, 4 / 6, 1 / 6])
    assert half @ cost == pytest.approx(0.5)


@pytest.mark.parametrize("price", [1.0, 0.1, 0.3, 0.0])
def test_where_all_treatments_cost_the_same_the_budget_plays_no_part(price: float) -> None:
    treatment = torch.arange(1000) % 2
    revenue = torch.randn(1000, generator=torch.Generator().manual_seed(0)).double() + treatment
    column, nothing = torch.full((1000,), price).double(), torch.zeros(1000, 1).double()
    data = UpliftData(nothing, treatment, revenue, column, 2, "rct")
    budgets, few = [Budget(share=0.5), Budget(per_head=price)], Bootstrap(draws=10)
    arms = [float(revenue[treatment == arm].mean()) for arm in (0, 1)]
    for drawn in random_allocation(data, budgets, bootstrap=few):
        assert drawn.estimate.value == pytest.approx(sum(arms) / 2)
    for mix in best_constant_mix(data, budgets, bootstrap=few):
        assert mix.estimate.value == pytest.approx(max(arms))
        assert mix.cost == pytest.approx(price)
