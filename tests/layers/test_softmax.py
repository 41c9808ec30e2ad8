"""The softmax layer beyond the contract: its closed form, its limits, its errors."""

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError, ShapeError
from dfl.layers import Price, Softmax, Softness
from dfl.problem import AllocationProblem, ObservedCost
from dfl.solvers.dual_bisection import DualBisection
from dfl.solvers.greedy_dual import GreedyDual
from dfl.solvers.passes.decide import decide


def problem(rows: int = 60, arms: int = 4) -> tuple[torch.Tensor, torch.Tensor, float]:
    generator = torch.Generator().manual_seed(3)
    revenue = torch.rand(rows, arms, generator=generator, dtype=torch.float64)
    cost = torch.rand(rows, arms, generator=generator, dtype=torch.float64)
    cost[:, 0] = 0
    return revenue, cost, 0.2 * rows


def test_fixed_multiplier_and_absolute_temperature_are_the_formula() -> None:
    revenue, cost, budget = problem()
    soft = Softmax(softness=Softness(0.25, "absolute"), price=Price(multiplier=0.7))(
        revenue, cost, budget
    )
    assert_close(soft.shares, ((revenue - 0.7 * cost) / 0.25).softmax(dim=1))
    assert_close(soft.multiplier, torch.tensor(0.7).double())


@pytest.mark.parametrize("scale", ["relative", "absolute"])
def test_gradient_at_a_fixed_multiplier(scale: str) -> None:
    """The relative scale is held constant, so only the absolute one is a true derivative."""
    revenue, cost, budget = problem(rows=3)
    layer = Softmax(softness=Softness(0.25, scale), price=Price(multiplier=0.7))  # type: ignore[arg-type]
    inputs = (revenue.requires_grad_(), cost.requires_grad_())
    if scale == "absolute":
        assert torch.autograd.gradcheck(lambda r, c: layer(r, c, budget).shares, inputs)
    else:
        scores = (revenue - 0.7 * cost).detach()
        spread = (scores - scores.mean(dim=1, keepdim=True)).square().mean().sqrt()
        frozen = Softmax(
            softness=Softness(0.25 * spread.item(), "absolute"), price=Price(multiplier=0.7)
        )
        slopes = [
            torch.autograd.grad(one(revenue, cost, budget).shares.square().sum(), inputs)
            for one in (layer, frozen)
        ]
        assert_close(slopes[0], slopes[1])


def test_zero_temperature_is_the_decision_at_the_found_multiplier() -> None:
    revenue, cost, budget = problem()
    soft = Softmax(softness=Softness(1e-9), price=Price(solver=GreedyDual()))(revenue, cost, budget)
    hard = decide(revenue, cost, soft.multiplier)
    at_a_tie = soft.shares.amax(dim=1) < 0.999  # the one person whom the multiplier splits
    assert int(at_a_tie.sum()) <= 1
    assert_close(soft.shares.argmax(dim=1)[~at_a_tie], hard[~at_a_tie])


def test_found_multiplier_is_the_solvers() -> None:
    revenue, cost, budget = problem()
    for solver in (GreedyDual(), DualBisection()):
        expected = solver.solve(AllocationProblem(revenue, cost, budget)).multiplier
        assert_close(
            Softmax(price=Price(solver=solver))(revenue, cost, budget).multiplier, expected
        )


def test_observed_costs_set_the_multiplier() -> None:
    revenue, cost, budget = problem()
    treatment = torch.arange(60) % 4
    observed = ObservedCost(treatment, 3 * cost.gather(1, treatment[:, None])[:, 0], cost[:, 0] + 4)
    dear = Softmax()(revenue, cost, budget, observed).multiplier
    assert dear > Softmax()(revenue, cost, budget).multiplier


def test_logs_whose_budget_no_multiplier_meets_do_not_stop_training() -> None:
    revenue, cost, _ = problem()
    treatment = torch.arange(60) % 4
    observed = ObservedCost(treatment, torch.ones(60).double(), torch.full((60,), 4.0).double())
    soft = Softmax()(revenue, cost, 1.0, observed)
    assert bool(soft.shares.isfinite().all())


def test_equal_scores_give_equal_shares() -> None:
    same = torch.ones(5, 4)
    assert_close(
        Softmax(price=Price(multiplier=0.0))(same, same, 5.0).shares, torch.full((5, 4), 0.25)
    )


@pytest.mark.parametrize("scale", ["relative", "absolute"])
def test_the_expected_spend_of_the_shares_meets_the_budget(scale: str) -> None:
    revenue, cost, budget = problem()
    layer = Softmax(softness=Softness(0.3, scale), price=Price(met_by="shares"))  # type: ignore[arg-type]
    shares, multiplier = layer(revenue, cost, budget)
    assert_close((shares * cost).sum(), torch.tensor(budget).double(), rtol=1e-12, atol=0)
    assert float(multiplier) > 0
    spare = layer(revenue, cost, 100 * budget)
    assert float(spare.multiplier) == 0


def test_the_decisions_multiplier_leaves_the_expected_spend_off_the_budget() -> None:
    revenue, cost, budget = problem()
    shares, _ = Softmax(softness=Softness(2))(revenue, cost, budget)
    assert float((shares * cost).sum()) > 1.2 * budget


def test_through_its_multiplier_the_spend_cannot_move() -> None:
    revenue, cost, budget = problem()
    slopes = []
    for through in (True, False):
        layer = Softmax(multiplier_gradient=through, price=Price(met_by="shares"))
        given = revenue.clone().requires_grad_()
        spend = (layer(given, cost, budget).shares * cost).sum()
        slopes.append(float(torch.autograd.grad(spend, given)[0].abs().max()))
    assert slopes[0] < 1e-12
    assert slopes[1] > 1e-2


def test_the_multipliers_gradient_in_the_budget_is_that_of_finite_differences() -> None:
    revenue, cost, _ = problem()
    layer = Softmax(
        multiplier_gradient=True, softness=Softness(0.3, "absolute"), price=Price(met_by="shares")
    )
    budget = torch.tensor(12.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(revenue, cost, budget).multiplier, budget)
    ahead, behind = (layer(revenue, cost, 12 + step).multiplier for step in (1e-5, -1e-5))
    assert_close((ahead - behind) / 2e-5, slope, rtol=1e-6, atol=0)
    assert float(slope) < 0  # the more money, the cheaper


@pytest.mark.parametrize("price", [Price(), Price(met_by="shares"), Price(multiplier=0.4)])
def test_received_shares_are_those_of_forward(price: Price) -> None:
    revenue, cost, budget = problem()
    treatment = torch.arange(60) % 4
    observed = ObservedCost(treatment, cost[:, 1], torch.full((60,), 4.0).double())
    layer = Softmax(price=price)
    found = []
    for way in ("received", "forward"):
        given = revenue.clone().requires_grad_()
        if way == "received":
            shares, multiplier = layer.received(given, cost, budget, observed)
        else:
            full, multiplier = layer(given, cost, budget, observed)
            shares = full.gather(1, treatment[:, None])[:, 0]
        slope = torch.autograd.grad(shares.square().sum(), given)
        found.append((shares.detach(), multiplier.detach(), *slope))
    assert_close(found[0], found[1])


def test_a_multiplier_held_by_one_person_has_no_gradient_and_is_refused() -> None:
    with pytest.raises(
        InvalidValueError, match=r"multiplier_gradient needs price\.met_by='shares'"
    ):
        Softmax(multiplier_gradient=True)


def test_shapes_that_do_not_fit_are_refused() -> None:
    revenue, cost, budget = problem()
    with pytest.raises(ShapeError, match=r"must share one shape \(..., N, M\)"):
        Softmax()(revenue, cost[:, :2], budget)
    short = ObservedCost(torch.zeros(3, dtype=torch.int64), torch.ones(3), torch.ones(3))
    with pytest.raises(ShapeError, match="observed must have 60 rows, got 3"):
        Softmax()(revenue, cost, budget, short)
    stacked, once = revenue.expand(2, -1, -1), torch.zeros(60, dtype=torch.int64)
    single = ObservedCost(once, torch.ones(60), torch.ones(60))
    with pytest.raises(ShapeError, match=r"observed must be \(2, 60\)"):
        Softmax()(stacked, stacked.abs(), budget, single)


def test_options_are_printed() -> None:
    assert (
        "softness=Softness(temperature=0.3, scale='relative'), price=Price(multiplier=None"
        in repr(Softmax())
    )
