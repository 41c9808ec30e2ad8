"""The layer of the cone solver: equal to the closed forms, audited, and honest about its limits."""

import copy
import pickle
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from dfl.errors import (
    InfeasibleBudgetError,
    InvalidValueError,
    NotConvergedError,
    UnsupportedProblemError,
)
from dfl.layers import (
    AbstractLayer,
    Price,
    Quadratic,
    Softmax,
    Softness,
    ZeroGradientWarning,
)
from dfl.layers.linear_program import LinearProgram
from dfl.layers.regularised.conic_program import ConicProgram, _layer
from dfl.problem import AllocationProblem, ObservedCost
from dfl.solvers.greedy_dual import GreedyDual
from tests.layers.instances import Instance, instance


def pair(regularisation: str, one: Instance) -> tuple[AbstractLayer, AbstractLayer]:
    """Return the layer and the closed form that it must equal."""
    same: dict[str, Any] = {"softness": Softness(one.temperature, "absolute")}
    conic = LinearProgram(regularisation=regularisation, **same)
    if regularisation == "quadratic":
        return conic, Quadratic(**same)
    return conic, Softmax(multiplier_gradient=True, price=Price(met_by="shares"), **same)


@pytest.mark.parametrize(
    ("regularisation", "seed"),
    [*(("quadratic", seed) for seed in range(50)), *(("entropic", seed) for seed in range(20))],
)
def test_it_equals_the_closed_form_in_value_and_gradient(regularisation: str, seed: int) -> None:
    one = instance(seed)
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(one.revenue.shape, generator=draw, dtype=torch.float64)
    found = []
    for layer in pair(regularisation, one):
        inputs = one.inputs
        shares, multiplier = layer(*inputs)
        loss = (weight * shares).sum() + 0.3 * multiplier
        found.append((shares.detach(), multiplier.detach(), torch.autograd.grad(loss, inputs)))
    assert_close(found[0][:2], found[1][:2], atol=1e-6, rtol=1e-6)
    for slope, expected in zip(found[0][2], found[1][2], strict=True):
        assert float((slope - expected).abs().max()) <= 1e-5 * max(float(expected.abs().max()), 0.1)


@pytest.mark.parametrize("span", [1e-3, 1e3, 1e4, 1e6])
@pytest.mark.parametrize("regularisation", ["quadratic", "entropic"])
@pytest.mark.parametrize("share", [0.05, 0.5, 2.0])
def test_the_gradient_is_right_for_people_whose_costs_differ_by_orders(
    regularisation: str, span: float, share: float
) -> None:
    """Finite differences of the closed form, in revenue, cost and budget, slack and tight."""
    draw = torch.Generator().manual_seed(4)
    revenue, cost, weight = torch.rand(3, 6, 3, generator=draw, dtype=torch.float64)
    revenue, cost = revenue.cumsum(dim=1), cost.cumsum(dim=1)
    cost[:, 0], cost[3:] = 0.1, span * cost[3:]
    budget = cost.amin(dim=1).sum() + share * cost.amax(dim=1).sum()
    conic, closed = pair(regularisation, Instance(revenue, cost, budget, 0.3))
    inputs = [one.clone().requires_grad_() for one in (revenue, cost, budget)]
    slopes = torch.autograd.grad((conic(*inputs).shares * weight).sum(), inputs)
    for slope, one, step in zip(slopes, inputs, (1e-6, 1e-7, 1e-6 * float(budget)), strict=True):
        way = torch.rand(one.shape, generator=draw, dtype=torch.float64)
        moved = [
            [other + sign * step * way if other is one else other for other in inputs]
            for sign in (1, -1)
        ]
        ahead, behind = (float((closed(*at).shares * weight).sum().detach()) for at in moved)
        found = float((slope * way).sum())
        assert found == pytest.approx((ahead - behind) / (2 * step), rel=2e-3, abs=1e-5)


@pytest.mark.parametrize("span", [1.0, 1e3])
def test_lpgd_is_the_difference_of_two_optima(span: float) -> None:
    one = instance(3, rows=12)
    cost = torch.cat((one.cost[:6], span * one.cost[6:]))
    budget = 0.4 * cost.amax(dim=1).sum()
    weight = torch.rand(12, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    layer = LinearProgram(regularisation="lpgd", softness=Softness(0.5, "absolute"))
    given = one.revenue.clone().requires_grad_()
    (slope,) = torch.autograd.grad((layer(given, cost, budget).shares * weight).sum(), given)
    way = 0.5 * weight / weight.max()
    ahead, behind = (layer(one.revenue + sign * way, cost, budget).shares for sign in (1, -1))
    assert_close(slope, (ahead - behind) * weight.max())


@pytest.mark.parametrize("regularisation", ["lpgd", "none"])
@pytest.mark.filterwarnings("ignore::dfl.layers.ZeroGradientWarning")
def test_without_a_bonus_it_is_the_linear_program(regularisation: str) -> None:
    one = instance(3, rows=30)
    best = GreedyDual().solve(AllocationProblem(one.revenue, one.cost, float(one.budget)))
    layer = LinearProgram(regularisation=regularisation)
    shares, multiplier = layer(one.revenue, one.cost, one.budget)
    assert_close((shares * one.revenue).sum(), best.upper_bound)
    assert_close(multiplier, best.multiplier)


def test_a_plain_program_warns_that_its_gradient_is_zero_and_it_is() -> None:
    with pytest.warns(ZeroGradientWarning, match="take 'quadratic', 'entropic' or 'lpgd'"):
        layer = LinearProgram(regularisation="none")
    one = instance(3, rows=30)
    revenue = one.revenue.clone().requires_grad_()
    (slope,) = torch.autograd.grad(layer(revenue, one.cost, one.budget).shares.std(), revenue)
    assert float(slope.abs().max()) < 1e-6
    layer = LinearProgram(regularisation="lpgd")
    (slope,) = torch.autograd.grad(layer(revenue, one.cost, one.budget).shares.std(), revenue)
    assert float(slope.abs().max()) > 1e-3


def test_lpgd_points_where_the_loss_falls() -> None:
    """A step along minus its gradient makes the wanted treatment likelier."""
    one = instance(3, rows=30)
    wanted = torch.arange(30) % 4
    layer = LinearProgram(regularisation="lpgd", softness=Softness(0.5))
    revenue = one.revenue.clone().requires_grad_()

    def loss(given: Tensor) -> Tensor:
        return -layer(given, one.cost, one.budget).shares.gather(1, wanted[:, None]).mean()

    before = loss(revenue)
    (slope,) = torch.autograd.grad(before, revenue)
    after = loss(revenue.detach() - 0.5 * slope / slope.abs().max())
    assert float(after) < float(before.detach())


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e9])
def test_tiny_and_huge_slopes_are_not_lost(size: float) -> None:
    """The solver below takes slopes under 1e-8 for zero."""
    one = instance(3)
    layer = LinearProgram(softness=Softness(one.temperature, "absolute"))
    slopes = []
    for factor in (1.0, size):
        inputs = one.inputs
        loss = factor * layer(*inputs).shares.square().sum()
        slopes.append([each / factor for each in torch.autograd.grad(loss, inputs)])
    assert_close(slopes[1], slopes[0], rtol=1e-4, atol=1e-6)


def test_an_infeasible_problem_does_not_pass_in_silence() -> None:
    """The solver below returns zeros and finite gradients for it."""
    one = instance(3)
    stacked = [torch.stack([each] * 4) for each in (one.revenue, one.cost)]
    budgets = torch.stack([one.budget, one.budget, 0 * one.budget, one.budget])
    for policy in ("raise", "fall-back"):
        with pytest.raises(InfeasibleBudgetError, match="budget must be at least the cost"):
            LinearProgram(on_failure=policy)(*stacked, budgets)
    layer = LinearProgram(on_failure="mask")
    revenue = stacked[0].clone().requires_grad_()
    shares, multiplier = layer(revenue, stacked[1], budgets)
    assert layer.audit is not None
    assert layer.audit.failed.tolist() == [False, False, True, False]
    cheapest = nn.functional.one_hot(one.cost.argmin(dim=1), 4).double()
    assert_close(shares[2], cheapest)
    assert float(multiplier[2].detach()) == 0
    (slope,) = torch.autograd.grad(shares.square().sum(), revenue)
    assert float(slope[2].abs().max()) == 0
    assert float(slope[[0, 1, 3]].abs().amax(dim=(1, 2)).min()) > 0


def test_an_answer_that_fails_the_audit_is_handled_as_asked() -> None:
    one = instance(3)
    same: dict[str, Any] = {"max_iter": 2, "softness": Softness(0.3, "absolute")}
    with pytest.raises(NotConvergedError, match="1 of 1 answers failed the audit at 1e-06"):
        LinearProgram(**same)(one.revenue, one.cost, one.budget)
    expected = Quadratic(softness=Softness(0.3, "absolute"))
    inputs, others = one.inputs, one.inputs
    layer = LinearProgram(on_failure="fall-back", **same)
    found, wanted = layer(*inputs), expected(*others)
    assert_close(found, wanted)
    assert layer.audit is not None
    assert bool(layer.audit.failed)
    slopes = (
        torch.autograd.grad(soft.shares.square().sum(), given)
        for soft, given in ((found, inputs), (wanted, others))
    )
    assert_close(*slopes)
    masked = LinearProgram(on_failure="mask", **same)(one.revenue, one.cost, one.budget)
    assert_close(masked.shares.sum(dim=1), torch.ones(8).double())


def test_a_problem_on_which_the_solver_gives_up_is_tried_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from diffcp import SolverError

    real = _layer(8, 4, "quadratic")
    one = instance(3)

    def failing(*tensors: Tensor, solver_args: dict[str, Any]) -> Any:
        if bool((tensors[2] > 100).any()):
            raise SolverError("gave up")
        return real(*tensors, solver_args=solver_args)

    monkeypatch.setattr("dfl.layers.regularised.conic_program._layer", lambda *_: failing)
    stacked = [torch.stack([each] * 2) for each in (one.revenue, one.cost)]
    budgets = torch.stack([one.budget, one.budget + 1e4])
    layer = LinearProgram(on_failure="fall-back")
    shares = layer(*stacked, budgets).shares
    assert layer.audit is not None
    assert layer.audit.failed.tolist() == [False, True]
    assert_close(shares[1], Quadratic()(one.revenue, one.cost, 1e5).shares)


def test_observed_costs_are_met_as_the_closed_form_meets_them() -> None:
    one = instance(8, rows=20)
    treatment = torch.arange(20) % 4
    paid = one.cost.gather(1, treatment[:, None])[:, 0]
    observed = ObservedCost(treatment, paid, torch.full((20,), 6.0).double())
    found = []
    for layer in (LinearProgram(softness=Softness(0.5)), Quadratic(softness=Softness(0.5))):
        inputs = one.inputs
        shares, multiplier = layer(*inputs, observed)
        slopes = torch.autograd.grad(shares.square().sum(), inputs)
        found.append((shares.detach(), multiplier.detach(), slopes))
    assert float(found[1][1]) > 0
    assert_close(found[0][:2], found[1][:2], atol=1e-6, rtol=1e-6)
    assert_close(found[0][2], found[1][2], atol=1e-3, rtol=1e-3)
    with pytest.raises(UnsupportedProblemError, match="observed costs only with regularisation"):
        LinearProgram(regularisation="lpgd")(one.revenue, one.cost, one.budget, observed)


def test_sizes_that_a_cone_solver_cannot_take_are_refused_with_advice() -> None:
    layer = LinearProgram(max_size=100)
    with pytest.raises(UnsupportedProblemError, match=r"51 people x 2 .* use the layer quadratic"):
        layer(torch.rand(51, 2), torch.rand(51, 2), 100.0)
    with pytest.raises(UnsupportedProblemError, match="got 0 people"):
        layer(torch.rand(0, 2), torch.rand(0, 2), 100.0)


def test_what_has_no_derivative_says_so() -> None:
    one = instance(3)
    revenue = one.revenue.clone().requires_grad_()

    def loss(given: Tensor) -> Tensor:
        return LinearProgram()(given, one.cost, one.budget).shares.square().sum()

    with pytest.raises(UnsupportedProblemError, match="one derivative, by plain backward"):
        torch.autograd.grad(loss(revenue), revenue, create_graph=True)
    with pytest.raises(UnsupportedProblemError, match="use the layer quadratic"):
        torch.func.grad(loss)(one.revenue)
    with pytest.raises(UnsupportedProblemError, match=r"mapped by torch\.func\.vmap"):
        torch.func.vmap(loss)(torch.stack([one.revenue] * 2))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_forward_mode_is_refused() -> None:
    one = instance(3)
    layer = LinearProgram(softness=Softness(1.0, "absolute"))
    with pytest.raises(UnsupportedProblemError, match="no forward-mode derivative"):
        torch.func.jvp(
            lambda given: layer(given, one.cost, one.budget).shares, (one.revenue,), (one.cost,)
        )


def test_nothing_of_the_solver_is_part_of_the_module() -> None:
    one = instance(3)
    layer = nn.Sequential(LinearProgram())[0]
    first = layer(one.revenue, one.cost, one.budget)
    assert not list(layer.buffers())
    assert not list(layer.parameters())
    assert layer.state_dict() == {}
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_close(other(one.revenue, one.cost, one.budget), first)


def test_a_program_is_built_once_per_size() -> None:
    one = instance(3, rows=6)
    before = _layer.cache_info().misses
    for _ in range(3):
        LinearProgram()(one.revenue, one.cost, one.budget)
    assert _layer.cache_info().misses <= before + 1
    assert _layer(6, 4, "quadratic") is _layer(6, 4, "quadratic")


def test_a_program_is_built_flat_in_reasonable_time_and_memory() -> None:
    """With matrix parameters, 5,000 people take half a minute and gigabytes to build."""
    rows, arms = 400, 5
    program = _layer.__wrapped__(rows, arms, "none")
    assert program.ctx is not None
    draw = torch.Generator().manual_seed(0)
    gain, cost = torch.rand(2, 1, rows * arms, generator=draw, dtype=torch.float64)
    conic = ConicProgram(rows, arms, "none", 1e-10, 100)
    answer, _ = conic.solve(gain, cost, torch.tensor([0.3 * rows], dtype=torch.float64))
    assert_close(answer.reshape(rows, arms).sum(dim=1), torch.ones(rows).double())


def test_only_the_known_warning_of_the_package_below_is_hidden() -> None:
    one = instance(3)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        shares = LinearProgram()(*one.inputs).shares
        shares.sum().backward()
    assert not seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_of_gradients_is_that_of_the_inputs(dtype: torch.dtype) -> None:
    one = instance(3)
    revenue = one.revenue.to(dtype).requires_grad_()
    shares, multiplier = LinearProgram()(revenue, one.cost.to(dtype), float(one.budget))
    assert shares.dtype == multiplier.dtype == dtype
    assert torch.autograd.grad(shares.square().sum(), revenue)[0].dtype == dtype


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"regularisation": "l1"},
            "regularisation must be one of 'quadratic', 'entropic', 'lpgd', 'none'",
        ),
        ({"on_failure": "ignore"}, "on_failure must be one of 'raise', 'mask', 'fall-back'"),
        ({"tolerance": 0.0}, "tolerance must be > 0, got 0"),
        ({"audit_tolerance": -1.0}, "audit_tolerance must be > 0, got -1"),
        ({"max_iter": 0}, "max_iter must be >= 1, got 0"),
        ({"max_size": 0}, "max_size must be >= 1, got 0"),
        (
            {"regularisation": "lpgd", "on_failure": "fall-back"},
            "on_failure='fall-back' needs regularisation 'quadratic' or 'entropic'",
        ),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        LinearProgram(**options)


def test_a_budget_that_is_the_float32_sum_of_the_cheapest_costs_is_no_failure() -> None:
    for seed in (0, 1, 6, 9):  # sums rounded down, up, down and down
        generator = torch.Generator().manual_seed(seed)
        cost = torch.rand(700, 3, generator=generator).cumsum(dim=1) + 0.1
        budget = cost[:, 0].sum()
        shares = LinearProgram()(cost.sqrt(), cost, budget).shares.double()
        assert float((1 - shares[:, 0]).mean()) < 1e-4  # but for the program's own tolerance
        assert float((shares * cost.double()).sum()) <= float(budget) * (1 + 1e-6)
