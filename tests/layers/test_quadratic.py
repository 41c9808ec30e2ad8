"""The quadratic layer beyond the contract: closed forms, limits, its options."""

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import DTypeError, InfeasibleBudgetError, InvalidValueError, ShapeError
from dfl.layers import Price, Quadratic, Softmax, Softness
from dfl.problem import AllocationProblem, ObservedCost
from dfl.solvers.greedy_dual import GreedyDual
from tests.layers.instances import instance


def test_one_person_two_treatments_by_hand() -> None:
    """``x_1 = (gain - price * extra cost) / (2 tau) + 1/2``; the budget gives x_1 = 0.3."""
    revenue, cost = torch.tensor([[1.0, 3.0]]).double(), torch.tensor([[0.0, 2.0]]).double()
    shares, multiplier = Quadratic(softness=Softness(4, "absolute"))(revenue, cost, 0.6)
    assert_close(shares, torch.tensor([[0.7, 0.3]]).double())
    assert float(multiplier) == pytest.approx((2 - 4 * (2 * 0.3 - 1)) / 2)


def test_its_gradient_by_hand() -> None:
    """One person whose budget binds cannot move: only budget and cost change the shares."""
    revenue = torch.tensor([[1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    cost = torch.tensor([[0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    budget = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    shares = Quadratic(softness=Softness(4, "absolute"))(revenue, cost, budget).shares
    slopes = torch.autograd.grad(shares[0, 1], (revenue, cost, budget))
    zero = torch.zeros(1, 2, dtype=torch.float64)
    assert_close(slopes[0], zero)  # x_1 = budget / cost_1
    assert_close(slopes[1], torch.tensor([[-0.35, -0.15]]).double())
    assert_close(slopes[2], torch.tensor(0.5).double())


def test_money_to_spare_gives_the_projection_of_the_revenue() -> None:
    revenue = torch.tensor([[0.0, 0.2, 5.0], [1.0, 1.0, 1.0]]).double()
    shares, multiplier = Quadratic(softness=Softness(1, "absolute"))(revenue, revenue, 100.0)
    assert_close(shares, torch.tensor([[0, 0, 1], [1 / 3, 1 / 3, 1 / 3]]).double())
    assert float(multiplier) == 0


@pytest.mark.parametrize("seed", [3, 8, 13])
def test_at_zero_temperature_it_is_the_optimum_of_the_linear_program(seed: int) -> None:
    one = instance(seed, rows=60)
    best = GreedyDual().solve(AllocationProblem(one.revenue, one.cost, float(one.budget)))
    shares, multiplier = Quadratic(softness=Softness(1e-7))(one.revenue, one.cost, one.budget)
    assert_close((shares * one.revenue).sum(), best.upper_bound, rtol=1e-6, atol=0)
    assert_close(multiplier, best.multiplier, rtol=1e-5, atol=0)
    split = int((shares.amax(dim=1) < 1 - 1e-6).sum())
    assert split == 1  # the one person that the budget divides


def test_the_softer_the_more_people_are_divided() -> None:
    one = instance(3, rows=60)
    divided = [
        int((Quadratic(softness=Softness(tau))(one.revenue, one.cost, one.budget).shares > 0).sum())
        for tau in (0.01, 0.1, 1.0, 10.0)
    ]
    assert divided == sorted(divided)
    assert divided[0] < divided[-1]


def test_relative_scale_is_the_spread_of_the_scores_at_the_hard_multiplier() -> None:
    one = instance(3, rows=60)
    given = (one.revenue, one.cost, float(one.budget))
    scores = one.revenue - GreedyDual().solve(AllocationProblem(*given)).multiplier * one.cost
    spread = (scores - scores.mean(dim=1, keepdim=True)).square().mean().sqrt()
    absolute = Quadratic(softness=Softness(0.5 * float(spread), "absolute"))(*given)
    assert_close(Quadratic(softness=Softness(0.5))(*given), absolute)


def test_without_the_multipliers_part_it_answers_as_at_a_fixed_price() -> None:
    one = instance(3)
    slopes = []
    for through in (True, False):
        revenue = one.revenue.clone().requires_grad_()
        layer = Quadratic(multiplier_gradient=through, softness=Softness(1.0, "absolute"))
        shares = layer(revenue, one.cost, one.budget).shares
        (slope,) = torch.autograd.grad((shares * one.cost).sum(), revenue)
        slopes.append(float(slope.abs().max()))
    assert slopes[0] < 1e-12  # the spend is the budget, whatever the revenue
    assert slopes[1] > 1e-3


def test_observed_costs_meet_the_budget() -> None:
    one = instance(8, rows=60)
    treatment = torch.arange(60) % 4
    paid = one.cost.gather(1, treatment[:, None])[:, 0]
    observed = ObservedCost(treatment, paid, torch.full((60,), 4.0).double())
    shares = Quadratic()(one.revenue, one.cost, one.budget, observed).shares
    received = shares.gather(1, treatment[:, None])[:, 0]
    assert_close((4 * paid * received).sum(), one.budget)


def test_a_budget_for_each_problem_must_fit() -> None:
    one = instance(3)
    with pytest.raises(ShapeError, match=r"budget must be a number or \(\), got \(3,\)"):
        Quadratic()(one.revenue, one.cost, torch.ones(3))
    with pytest.raises(ShapeError, match=r"revenue and cost must share one shape \(..., N, M\)"):
        Quadratic()(one.revenue, one.cost[:, :2], 1.0)


def test_what_no_allocation_can_be_made_of_is_refused() -> None:
    one = instance(3)
    for scale in ("absolute", "relative"):
        layer = Quadratic(softness=Softness(1.0, scale))
        with pytest.raises(InfeasibleBudgetError, match="raise the budget or add a cheaper"):
            layer(one.revenue, one.cost, 0.0)
        with pytest.raises(DTypeError, match="revenue must be float32 or float64"):
            layer(one.revenue.half(), one.cost.half(), 9.0)


@pytest.mark.parametrize("layer", [Quadratic, Softmax])
def test_a_word_for_yes_or_no_is_refused(layer: type[Quadratic | Softmax]) -> None:
    with pytest.raises(InvalidValueError, match="multiplier_gradient must be one of True, False,"):
        layer(multiplier_gradient="zzz")  # type: ignore[arg-type]


@pytest.mark.parametrize("price", [Price(), Price(multiplier=0.4)])
def test_a_price_that_the_shares_do_not_meet_is_refused(price: Price) -> None:
    with pytest.raises(InvalidValueError, match=r"price\.met_by must be one of 'shares', got 'dec"):
        Quadratic(price=price)
