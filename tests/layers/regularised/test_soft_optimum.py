"""The regularised optimum: right, and its derivative exact, on 50 instances and both row maps."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.errors import InfeasibleBudgetError, InvalidValueError
from dfl.layers.regularised.regulariser import AbstractRegulariser, Entropy, SquaredNorm
from dfl.layers.regularised.soft_optimum import BudgetConstraint, soft_optimum
from dfl.problem import ObservedCost
from tests.layers.instances import Instance, instance

both_regularisers = pytest.mark.parametrize(
    "regulariser", [SquaredNorm(), Entropy()], ids=["quad", "soft"]
)
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
SEEDS = range(50)


def optimum(
    regulariser: AbstractRegulariser, one: Instance, *inputs: Tensor, **money: Any
) -> tuple[Tensor, Tensor]:
    revenue, cost, budget = inputs or (one.revenue, one.cost, one.budget)
    tau = revenue.new_full(revenue.shape[:-2], one.temperature)
    return soft_optimum(regulariser, revenue, cost, tau, BudgetConstraint(budget, **money))


def logs(one: Instance) -> ObservedCost:
    rows, arms = one.revenue.shape
    treatment = torch.arange(rows) % arms
    paid = one.cost.gather(1, treatment[:, None])[:, 0]
    return ObservedCost(treatment, paid, torch.full((rows,), 2.0 * arms).double())


@both_regularisers
@pytest.mark.parametrize("seed", SEEDS)
def test_the_gradient_is_that_of_finite_differences(
    regulariser: AbstractRegulariser, seed: int
) -> None:
    one = instance(seed)
    draw = torch.Generator().manual_seed(100 + seed)
    weight = torch.randn(one.revenue.shape, generator=draw, dtype=torch.float64)
    inputs = one.inputs

    def loss(*given: Tensor) -> Tensor:
        shares, multiplier = optimum(regulariser, one, *given)
        return (weight * shares).sum() + 0.3 * multiplier

    slopes = torch.autograd.grad(loss(*inputs), inputs)
    towards = [torch.randn(each.shape, generator=draw, dtype=torch.float64) for each in inputs]
    expected = sum((slope * way).sum() for slope, way in zip(slopes, towards, strict=True))
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (
            loss(*(each + sign * step * way for each, way in zip(inputs, towards, strict=True)))
            for sign in (1, -1)
        )
    assert_close((ahead - behind) / (2 * step), expected, rtol=1e-6, atol=1e-6)


@both_regularisers
@pytest.mark.parametrize("seed", SEEDS)
def test_no_price_of_money_has_a_smaller_dual_value(
    regulariser: AbstractRegulariser, seed: int
) -> None:
    """Strong duality: feasible, and worth as much as the dual at its own multiplier."""
    one = instance(seed)
    shares, multiplier = optimum(regulariser, one)
    spend = float((shares * one.cost).sum())
    assert spend <= float(one.budget) * (1 + 1e-12)
    assert float(multiplier) * (float(one.budget) - spend) == pytest.approx(0, abs=1e-10)
    scores = ((one.revenue - multiplier * one.cost) / one.temperature).mT
    other = torch.rand(*one.revenue.shape, generator=torch.Generator().manual_seed(seed)).double()
    for candidate in (other / other.sum(dim=1, keepdim=True), torch.eye(4).double()[[0] * 8]):
        worse = (scores * candidate.mT).sum(dim=0) + regulariser.bonus(candidate.mT)
        best = (scores * shares.mT).sum(dim=0) + regulariser.bonus(shares.mT)
        assert bool((worse <= best + 1e-9).all())


@both_regularisers
@forward_mode
@pytest.mark.parametrize("seed", [3, 4, 7])
def test_derivatives_of_both_orders_and_modes(regulariser: AbstractRegulariser, seed: int) -> None:
    one = instance(seed, rows=3, arms=3)
    inputs = one.inputs

    def found(*given: Tensor) -> tuple[Tensor, Tensor]:
        return optimum(regulariser, one, *given)

    assert torch.autograd.gradcheck(found, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(found, inputs)


@both_regularisers
@pytest.mark.parametrize("seed", [8, 13])
def test_observed_costs_are_met_and_differentiated(
    regulariser: AbstractRegulariser, seed: int
) -> None:
    one = instance(seed, rows=40)
    observed = logs(one)

    def spend(budget: Tensor) -> tuple[Tensor, Tensor]:
        shares, multiplier = optimum(
            regulariser, one, one.revenue, one.cost, budget, observed=observed
        )
        received = shares.gather(1, observed.treatment[:, None])[:, 0]
        return (observed.weight * observed.cost * received).sum(), multiplier

    budget = 0.95 * spend(one.budget * 100)[0]
    spent, multiplier = spend(budget)
    assert float(multiplier) > 0
    assert_close(spent, budget)
    inputs = (*one.inputs[:2], budget.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda *given: optimum(regulariser, one, *given, observed=observed), inputs
    )


@both_regularisers
def test_logs_that_no_multiplier_satisfies_give_the_least_spend(
    regulariser: AbstractRegulariser,
) -> None:
    one = instance(3)
    columns = (torch.arange(8) % 4, torch.ones(8).double(), torch.full((8,), 4.0).double())
    revenue = one.revenue.clone().requires_grad_()
    shares, multiplier = optimum(
        regulariser, one, revenue, one.cost, one.budget / 100, observed=ObservedCost(*columns)
    )
    assert bool(multiplier.isfinite())
    (slope,) = torch.autograd.grad(shares.square().sum(), revenue)
    assert bool(slope.isfinite().all())


@both_regularisers
def test_a_slack_budget_has_no_price_and_no_gradient(regulariser: AbstractRegulariser) -> None:
    one = instance(1)
    inputs = one.inputs
    shares, multiplier = optimum(regulariser, one, *inputs)
    assert float(multiplier.detach()) == 0
    slopes = torch.autograd.grad(shares.square().sum(), inputs)
    assert float(slopes[2]) == 0
    assert float(slopes[1].abs().max()) == 0
    assert float(slopes[0].abs().max()) > 0


@both_regularisers
def test_without_the_multiplier_the_gradient_is_that_at_a_fixed_price(
    regulariser: AbstractRegulariser,
) -> None:
    one = instance(3)
    inputs = one.inputs
    shares, multiplier = optimum(regulariser, one, *inputs, differentiate=False)
    fixed = (one.revenue - multiplier.detach() * one.cost).requires_grad_()
    price = float(multiplier.detach())
    slope = torch.autograd.grad(shares.square().sum(), inputs)
    free = BudgetConstraint(torch.tensor(1e9, dtype=torch.float64))
    alone, _ = soft_optimum(
        regulariser, fixed, one.cost, torch.tensor(one.temperature).double(), free
    )
    (expected,) = torch.autograd.grad(alone.square().sum(), fixed)
    assert_close(slope, (expected, -price * expected, torch.zeros(()).double()))


@both_regularisers
def test_many_people_are_worked_on_in_blocks(
    regulariser: AbstractRegulariser, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = instance(3, rows=500)
    results = []
    for size in (1 << 15, 64):
        monkeypatch.setattr("dfl.layers.pricing.problems._BLOCK", size)
        inputs = one.inputs
        shares, multiplier = optimum(regulariser, one, *inputs)
        slopes = torch.autograd.grad(shares.square().sum() + multiplier, inputs)
        results.append((shares.detach(), multiplier.detach(), *slopes))
    assert_close(results[1], results[0])


@both_regularisers
def test_float32_agrees_with_float64(regulariser: AbstractRegulariser) -> None:
    one = instance(3, rows=200)
    wide, _ = optimum(regulariser, one)
    narrow, price = optimum(regulariser, one, one.revenue.float(), one.cost.float(), one.budget)
    assert narrow.dtype == price.dtype == torch.float32
    assert_close(narrow.double(), wide, atol=1e-4, rtol=0)
    assert float((narrow * one.cost).sum()) <= float(one.budget) * (1 + 1e-5)


@both_regularisers
def test_transforms_give_what_autograd_gives(regulariser: AbstractRegulariser) -> None:
    several = [instance(seed) for seed in (3, 4, 8)]
    columns = [torch.stack([getattr(one, name) for one in several]) for name in ("revenue", "cost")]
    budgets = torch.stack([one.budget for one in several])

    def loss(revenue: Tensor, cost: Tensor, budget: Tensor) -> Tensor:
        shares, multiplier = optimum(regulariser, several[0], revenue, cost, budget)
        return shares.square().sum() + multiplier

    slope = torch.func.grad(loss, argnums=(0, 1, 2))
    mapped = torch.func.vmap(slope)(*columns, budgets)
    given = [each.clone().requires_grad_() for each in (*columns, budgets)]
    expected = torch.autograd.grad(sum(loss(*one) for one in zip(*given, strict=True)), given)
    assert_close(mapped, expected)
    shares, multipliers = optimum(regulariser, several[0], *given)
    stacked = torch.autograd.grad(shares.square().sum() + multipliers.sum(), given)
    assert_close(stacked, expected)


@both_regularisers
@forward_mode
def test_a_jacobian_column_by_forward_mode(regulariser: AbstractRegulariser) -> None:
    one = instance(4, rows=3, arms=3)

    def shares(revenue: Tensor) -> Tensor:
        return optimum(regulariser, one, revenue, one.cost, one.budget)[0]

    assert_close(torch.func.jacfwd(shares)(one.revenue), torch.func.jacrev(shares)(one.revenue))


def test_what_the_problem_forbids_is_refused() -> None:
    one = instance(3)
    with pytest.raises(InfeasibleBudgetError, match="budget must be at least the cost of the"):
        optimum(SquaredNorm(), one, one.revenue, one.cost, one.budget * 0)
    with pytest.raises(InvalidValueError, match="cost must be >= 0"):
        optimum(SquaredNorm(), one, one.revenue, -one.cost, one.budget)
    with pytest.raises(InvalidValueError, match="revenue must be finite"):
        optimum(SquaredNorm(), one, one.revenue / 0, one.cost, one.budget)
