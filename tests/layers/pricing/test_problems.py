"""Leading axes: budgets for each problem, observed costs, mapped axes."""

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InfeasibleBudgetError, InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.layers import AtPrice, Quadratic, Softmax
from dfl.layers.pricing.problems import (
    budget_of_each,
    charge_of,
    columns_of,
    problems_of,
    ready,
)
from dfl.problem import ObservedCost


def test_a_number_is_every_problems_budget_in_full_precision() -> None:
    revenue = torch.zeros(2, 3, 5, 4)
    found = budget_of_each(1.000000001, revenue)
    assert_close(found, torch.full((2, 3), 1.000000001, dtype=torch.float64), rtol=0, atol=0)


def test_a_budget_keeps_its_graph_and_its_precision() -> None:
    budget = torch.tensor([1.0, 2.0], requires_grad=True)
    budget_of_each(budget, torch.zeros(2, 5, 4)).sum().backward()
    assert_close(budget.grad, torch.ones(2))


def test_a_budget_with_other_axes_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"budget must be a number or \(2,\), got \(3,\)"):
        budget_of_each(torch.ones(3), torch.zeros(2, 5, 4))


def test_predictions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"must share one shape \(..., N, M\), got \(4,\)"):
        ready(torch.ones(4), torch.ones(4))


def test_the_price_is_what_was_paid_times_its_weight_where_it_was_received() -> None:
    observed = ObservedCost(
        torch.tensor([2, 0]), torch.tensor([3.0, 5.0]), torch.tensor([2.0, 4.0])
    )
    cost = torch.ones(2, 3)
    price = charge_of(columns_of(observed, cost), cost)
    assert_close(price, torch.tensor([[0.0, 0.0, 6.0], [20.0, 0.0, 0.0]]))
    assert charge_of(columns_of(None, cost), cost) is None


def test_observed_costs_of_another_kind_are_refused() -> None:
    with pytest.raises(
        InvalidValueError, match="observed must be an instance of ObservedCost, got"
    ):
        columns_of(torch.ones(4), torch.ones(4, 2))  # type: ignore[arg-type]


def test_problems_are_taken_apart_in_order() -> None:
    revenue = torch.arange(24.0).reshape(2, 1, 4, 3)
    budgets = torch.tensor([[100.0], [200.0]], dtype=torch.float64)
    found = list(problems_of(revenue, revenue, budgets, (None, None, None)))
    assert [float(each.budgets[0]) for each in found] == [100, 200]
    assert_close(found[1].revenue, revenue[1, 0])


def test_which_of_several_problems_is_refused_is_said() -> None:
    revenue = torch.rand(2, 3, 4, 2)
    cost = 1 + torch.rand(2, 3, 4, 2)
    budget = torch.full((2, 3), 100.0, dtype=torch.float64)
    budget[1, 2] = 1.0
    wrong = revenue.clone()
    wrong[0, 1] = torch.nan
    with pytest.raises(InfeasibleBudgetError, match=r"\(In problem \[1, 2\] of \(2, 3\)\.\)"):
        Quadratic()(revenue, cost, budget)
    with pytest.raises(InvalidValueError, match=r"\(In problem \[0, 1\] of \(2, 3\)\.\)"):
        Softmax()(wrong, cost, 100.0)
    with pytest.raises(InfeasibleBudgetError, match=r"cheaper treatment\.$"):
        Softmax()(revenue[0, 0], cost[0, 0], 1.0)


def test_a_price_is_no_amount_of_money() -> None:
    with pytest.raises(UnsupportedProblemError, match="needs an amount of money, got AtPrice"):
        budget_of_each(AtPrice(torch.ones(())), torch.ones(4, 2))
