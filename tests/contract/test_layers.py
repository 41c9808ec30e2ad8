"""What every registered layer promises.

`PROMISES` says which promises a layer makes beside the general ones, and which options it is also
tested with; a layer that is not in it fails.
"""

import copy
import inspect
import pickle
import pkgutil
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import dfl.layers
from dfl.budget import Budget
from dfl.errors import (
    DflError,
    DTypeError,
    InvalidValueError,
    ShapeError,
    UnsupportedProblemError,
)
from dfl.layers import LAYERS, AbstractLayer, Price, Softness
from dfl.problem import ObservedCost
from dfl.solvers.passes.decide import decide

Options = dict[str, Any]

NAMES = LAYERS.names()
HARDEST = Softness(1e-9)


@dataclass(frozen=True, kw_only=True)
class Promises:
    """What a layer promises beside what all do, and the options under which it does.

    Args:
        hard: options that make it choose what the hard problem chooses at the same multiplier.
        variants: more options that the general promises hold for, beside the defaults.
        exact: options under which the shares are a differentiable function of revenue and cost,
            and their derivative is exact; none where the backward is a stand-in.
        within_budget: options under which the expected spend on predicted costs is within the
            budget, None where there are none.
        sampled: options under which it draws from a seed, None where it never does.
        needs_people: a problem without people is refused.
        transformed: `torch.func` can transform it; else it says that it cannot.
        masks: it takes ``allowed``; else it says that it cannot.
    """

    hard: Options
    variants: tuple[Options, ...] = ()
    exact: tuple[Options, ...] = ()
    within_budget: Options | None = None
    sampled: Options | None = None
    needs_people: bool = False
    transformed: bool = True
    masks: bool = True


FIXED = Price(multiplier=0.7)
BY_SHARES: Options = {"price": Price(met_by="shares"), "multiplier_gradient": True}

PROMISES = {
    "finite-difference": Promises(
        hard={},
        within_budget={},
        variants=(
            {"perturbed": "scores", "margins": "window", "width": 0.5, "opponents": "nearest"},
            {"perturbed": "outcomes", "margins": "largest"},
        ),
    ),
    "implicit-mle": Promises(
        hard={"softness": HARDEST}, variants=({"noise": "normal"},), sampled={"samples": 4}
    ),
    "interpolation": Promises(hard={}, within_budget={}),
    "linear-program": Promises(
        hard={"softness": Softness(1e-6)},
        within_budget={},
        needs_people=True,
        transformed=False,
        masks=False,
    ),
    "perturbed-argmax": Promises(
        hard={"softness": HARDEST},
        variants=({"noise": "gumbel"},),
        exact=tuple(
            {"noise": noise, "softness": Softness(0.5, "absolute"), "price": FIXED}
            for noise in ("normal", "gumbel")
        ),
        sampled={"samples": 4},
    ),
    "quadratic": Promises(
        hard={"softness": Softness(1e-6)},
        exact=({"softness": Softness(2.0, "absolute")},),
        within_budget={},
    ),
    "softmax": Promises(
        hard={"softness": HARDEST},
        variants=(BY_SHARES,),
        exact=(
            {"softness": Softness(0.3, "absolute"), "price": FIXED},
            {"softness": Softness(0.3, "absolute"), **BY_SHARES},
        ),
        within_budget={"price": Price(met_by="shares")},
    ),
    "straight-through": Promises(hard={}, within_budget={}),
}

# Forward mode reads its rules from a module of torch that still uses what torch has deprecated.
forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")

CASES = [(name, options) for name in PROMISES for options in ({}, *PROMISES[name].variants)]
TRANSFORMED = [case for case in CASES if PROMISES[case[0]].transformed]
EXACT_CASES = [(name, options) for name in PROMISES for options in PROMISES[name].exact]
STAND_INS = [name for name in PROMISES if not PROMISES[name].exact]
WITHIN_BUDGET = {n: p.within_budget for n, p in PROMISES.items() if p.within_budget is not None}
SAMPLED = {n: p.sampled for n, p in PROMISES.items() if p.sampled is not None}


def called(case: object) -> str:
    """Name a case after its options."""
    if isinstance(case, dict):
        return ",".join(f"{key}={value}" for key, value in case.items()) or "defaults"
    return str(case)


every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=called)
every_transformed_case = pytest.mark.parametrize(("name", "options"), TRANSFORMED, ids=called)
every_exact_case = pytest.mark.parametrize(("name", "options"), EXACT_CASES, ids=called)


def make(name: str, options: Options | None = None) -> AbstractLayer:
    """Build a layer."""
    layer = LAYERS.make(name, **(options or {}))
    assert isinstance(layer, AbstractLayer)
    return layer


def problem(dtype: torch.dtype, rows: int = 40, arms: int = 5) -> tuple[Tensor, Tensor, float]:
    generator = torch.Generator().manual_seed(11)
    revenue = torch.rand(rows, arms, generator=generator, dtype=dtype)
    cost = torch.rand(rows, arms, generator=generator, dtype=dtype)
    return revenue, cost, float(cost.amin(dim=1).sum()) + 0.15 * rows


def test_every_layer_says_what_it_promises() -> None:
    assert set(PROMISES) == set(NAMES)


@every_case
def test_rows_lie_on_the_simplex_and_keep_dtype_and_device(
    name: str, options: Options, dtype: torch.dtype, device: torch.device
) -> None:
    revenue, cost, budget = problem(dtype)
    soft = make(name, options)(revenue.to(device), cost.to(device), budget)
    assert soft.shares.dtype == dtype
    assert soft.shares.device.type == device.type
    assert bool((soft.shares >= 0).all())
    assert_close(soft.shares.sum(dim=1), torch.ones(40, dtype=dtype, device=device))
    assert soft.multiplier.shape == ()
    assert float(soft.multiplier) >= 0


@every_case
def test_gradients_reach_revenue_and_cost(
    name: str, options: Options, dtype: torch.dtype, device: torch.device
) -> None:
    revenue, cost, budget = problem(dtype)
    inputs = [column.to(device).requires_grad_() for column in (revenue, cost)]
    loss = make(name, options)(*inputs, budget).shares.square().sum()
    for slope in torch.autograd.grad(loss, inputs):
        assert slope.dtype == dtype
        assert slope.device.type == device.type
        assert bool(slope.isfinite().all())
        assert float(slope.abs().max()) > 0


@every_case
def test_order_of_people_and_treatments_does_not_matter(name: str, options: Options) -> None:
    revenue, cost, budget = problem(torch.float64)
    people, arms = torch.randperm(40, generator=torch.Generator().manual_seed(0)), [3, 0, 4, 1, 2]
    layer = make(name, options)
    shuffled = layer(revenue[people][:, arms], cost[people][:, arms], budget).shares
    assert_close(shuffled, layer(revenue, cost, budget).shares[people][:, arms])


@every_case
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_currency_does_not_matter(name: str, options: Options, factor: float) -> None:
    """Neither to the shares nor, but for its unit, to the gradient."""
    revenue, cost, budget = problem(torch.float64)
    target = torch.eye(5, dtype=torch.float64)[torch.arange(40) % 5]
    layer, found = make(name, options), []
    for unit in (1.0, factor):
        inputs = [(unit * column).requires_grad_() for column in (revenue, cost)]
        shares = layer(*inputs, unit * budget).shares
        slopes = torch.autograd.grad((shares * target).sum(), inputs)
        found.append((shares.detach(), *(unit * slope for slope in slopes)))
    assert_close(found[1], found[0])


@every_case
def test_leading_axes_are_separate_problems(name: str, options: Options) -> None:
    revenue, cost, budget = problem(torch.float64)
    layer = make(name, options)
    stacked = layer(
        torch.stack((revenue, 2 * revenue)),
        torch.stack((cost, cost)),
        torch.tensor([budget, 1.1 * budget]),
    )
    alone = [layer(revenue, cost, budget), layer(2 * revenue, cost, 1.1 * budget)]
    assert_close(stacked.shares, torch.stack([one.shares for one in alone]))
    assert_close(stacked.multiplier, torch.stack([one.multiplier for one in alone]))


@every_case
def test_a_budget_is_its_money_at_the_predicted_costs(name: str, options: Options) -> None:
    revenue, cost, _ = problem(torch.float64)
    layer = make(name, options)
    for budget in (Budget(share=0.3), Budget(per_head=0.5), Budget(total=20.0)):
        expected = layer(revenue, cost, budget.total_of(cost))
        assert_close(layer(revenue, cost, budget), expected)
    several = torch.stack((cost, 2 * cost))
    shares = layer(torch.stack((revenue, revenue)), several, Budget(share=0.3)).shares
    assert_close(shares[1], layer(revenue, 2 * cost, Budget(share=0.3)).shares)


@every_case
def test_received_shares_are_gathered_shares(name: str, options: Options) -> None:
    revenue, cost, budget = problem(torch.float64)
    treatment = torch.arange(40) % 5
    paid = cost.gather(1, treatment[:, None])[:, 0]
    logs = ObservedCost(treatment, paid, torch.full_like(paid, 5))
    layer = make(name, options)
    shares, multiplier = layer(revenue, cost, budget, logs)
    expected = shares.gather(1, treatment[:, None])[:, 0]
    assert_close(layer.received(revenue, cost, budget, logs), (expected, multiplier))


@every_case
def test_observed_costs_set_the_multiplier(name: str, options: Options) -> None:
    revenue, cost, budget = problem(torch.float64)
    treatment = torch.arange(40) % 5
    paid = 3 * cost.gather(1, treatment[:, None])[:, 0]
    logs = ObservedCost(treatment, paid, torch.full_like(paid, 5))
    layer = make(name, options)
    dear = layer(revenue, cost, budget, logs)
    assert_close(dear.shares.sum(dim=1), torch.ones(40, dtype=torch.float64))
    assert float(dear.multiplier) > float(layer(revenue, cost, budget).multiplier)


@every_case
def test_inputs_are_untouched_and_results_repeat(name: str, options: Options) -> None:
    revenue, cost, budget = problem(torch.float32)
    kept = revenue.clone(), cost.clone()
    layer = make(name, options)
    first, second = layer(revenue, cost, budget), layer(revenue, cost, budget)
    assert_close((revenue, cost), kept, rtol=0, atol=0)
    assert_close(first.shares, second.shares, rtol=0, atol=0)


@every_case
def test_a_layer_can_be_copied_pickled_and_printed(name: str, options: Options) -> None:
    revenue, cost, budget = problem(torch.float32)
    layer = make(name, options)
    first = layer(revenue, cost, budget)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_close(again(revenue, cost, budget), first, rtol=0, atol=0)
    assert not layer.state_dict()
    assert repr(layer).startswith(f"{type(layer).__name__}(")


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_kept_and_printed(name: str) -> None:
    """Configurations read options back from the attributes of their names."""
    layer = make(name)
    for option in inspect.signature(type(layer)).parameters:
        assert hasattr(layer, option)
        assert re.search(rf"\b{option}=", repr(layer)), option


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    revenue, cost, budget = problem(torch.float32)
    with pytest.raises(ShapeError, match="revenue and cost must share one shape"):
        make(name)(revenue, cost[:3], budget)


@every_case
def test_nobody_gets_nothing(name: str, options: Options) -> None:
    layer, nothing = make(name, options), torch.zeros(0, 4)
    if PROMISES[name].needs_people:
        with pytest.raises(UnsupportedProblemError, match="got 0 people"):
            layer(nothing, nothing, 0.0)
        return
    revenue = torch.zeros(0, 4, requires_grad=True)
    shares, multiplier = layer(revenue, nothing, 0.0)
    assert shares.shape == (0, 4)
    assert float(multiplier.detach()) == 0
    if shares.requires_grad:
        (slope,) = torch.autograd.grad(shares.sum(), revenue)
        assert slope.shape == (0, 4)


# Limits and budget ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_limit_is_the_choice_at_the_multiplier(name: str) -> None:
    revenue, cost, budget = problem(torch.float64)
    soft = make(name, PROMISES[name].hard)(revenue, cost, budget)
    split = soft.shares.amax(dim=1) < 0.999  # whom the multiplier leaves between two treatments
    assert int(split.sum()) <= 1
    hard = decide(revenue, cost, soft.multiplier)
    assert_close(soft.shares.argmax(dim=1)[~split], hard[~split])


@pytest.mark.parametrize("name", WITHIN_BUDGET)
@pytest.mark.parametrize("richer", [1.0, 1.3, 3.0])
def test_the_expected_spend_is_within_the_budget(name: str, richer: float) -> None:
    revenue, cost, budget = problem(torch.float64)
    soft = make(name, WITHIN_BUDGET[name])(revenue, cost, richer * budget)
    assert float((soft.shares * cost).sum()) <= richer * budget * (1 + 1e-6)


# Derivatives ---------------------------------------------------------------------------------


@every_exact_case
@forward_mode
def test_the_derivative_is_exact(name: str, options: Options) -> None:
    """Reverse mode, forward mode and, by reverse over reverse, the second derivative."""
    revenue, cost, budget = problem(torch.float64, rows=3, arms=3)
    inputs = (revenue.requires_grad_(), cost.requires_grad_())
    layer = make(name, options)

    def shares(*columns: Tensor) -> Tensor:
        found: Tensor = layer(*columns, budget).shares
        return found

    assert torch.autograd.gradcheck(shares, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(shares, inputs)


def second_derivative(loss: Tensor, inputs: tuple[Tensor, Tensor]) -> None:
    slope = torch.autograd.grad(loss, inputs, create_graph=True)[0]
    torch.autograd.grad(slope.square().sum(), inputs)


@pytest.mark.parametrize("name", STAND_INS)
def test_a_stand_in_has_no_second_derivative_and_says_so(name: str) -> None:
    revenue, cost, budget = problem(torch.float64)
    inputs = (revenue.requires_grad_(), cost.requires_grad_())
    loss = make(name)(*inputs, budget).shares.square().sum()
    with pytest.raises(DflError, match="derivative"):  # at the latest when it is asked for
        second_derivative(loss, inputs)


# Transforms ----------------------------------------------------------------------------------


def of_everyone(layer: AbstractLayer, budget: float) -> Any:
    """Return a loss in revenue, for transforms."""
    target = torch.eye(5, dtype=torch.float64)[torch.arange(40) % 5]

    def loss(revenue: Tensor, cost: Tensor) -> Tensor:
        return (layer(revenue, cost, budget).shares - target).square().sum()

    return loss


@every_transformed_case
def test_functional_gradients_are_those_of_autograd(name: str, options: Options) -> None:
    revenue, cost, budget = problem(torch.float64)
    loss = of_everyone(make(name, options), budget)
    inputs = (revenue.clone().requires_grad_(), cost.clone().requires_grad_())
    expected = torch.autograd.grad(loss(*inputs), inputs)
    assert_close(torch.func.grad(loss, argnums=(0, 1))(revenue, cost), expected)


@every_transformed_case
def test_a_mapped_gradient_is_the_loop(name: str, options: Options) -> None:
    revenue, cost, budget = problem(torch.float64)
    loss = of_everyone(make(name, options), budget)
    several = torch.stack((revenue, 2 * revenue, revenue.flip(0)))
    slope = torch.func.grad(loss)
    mapped = torch.func.vmap(slope, in_dims=(0, None))(several, cost)
    assert_close(mapped, torch.stack([slope(one, cost) for one in several]))


@pytest.mark.parametrize("name", [name for name in NAMES if not PROMISES[name].transformed])
def test_a_layer_that_cannot_be_transformed_says_so(name: str) -> None:
    revenue, cost, budget = problem(torch.float64)
    slope = torch.func.grad(of_everyone(make(name), budget))
    with pytest.raises(UnsupportedProblemError, match=name):
        slope(revenue, cost)
    with pytest.raises(UnsupportedProblemError, match=name):
        torch.func.vmap(slope, in_dims=(0, None))(revenue[None], cost)


@every_case
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # at graph breaks
def test_a_compiled_layer_gives_the_same(name: str, options: Options) -> None:
    """With graph breaks where there is a solver or a rule of our own."""
    revenue, cost, budget = problem(torch.float64)
    loss = of_everyone(make(name, options), budget)
    torch.compiler.reset()
    compiled = torch.compile(loss, backend="eager")
    for function in (loss, compiled):
        given = revenue.clone().requires_grad_()
        value = function(given, cost)
        found = (value.detach(), *torch.autograd.grad(value, given))
        if function is loss:
            expected = found
    assert_close(found, expected)


# Predictions that are no ordinary ones --------------------------------------------------------


@every_case
@pytest.mark.parametrize("base", [0.0, 3.0, -1000.0])
def test_equal_predictions_leave_a_gradient_that_trains(
    name: str, options: Options, base: float, dtype: torch.dtype
) -> None:
    """A network whose last layer is zero predicts the same for every treatment."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(40, 3, generator=draw, dtype=dtype)
    truth = (features @ torch.randn(3, 3, generator=draw, dtype=dtype)).sigmoid()
    cost = torch.tensor([0.0, 1.0, 2.0], dtype=dtype).expand(40, 3)
    layer, net = make(name, options), torch.nn.Linear(3, 3, dtype=dtype)
    torch.nn.init.zeros_(net.weight)
    torch.nn.init.constant_(net.bias, base)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
    for step in range(12):
        shares = layer(net(features), cost, 24.0).shares
        assert bool(shares.isfinite().all())
        optimiser.zero_grad()
        (-(shares * truth).mean()).backward()
        assert net.weight.grad is not None
        if step == 0:
            assert 1e-6 < float(net.weight.grad.abs().max()) < 1e3
        optimiser.step()
    assert float(net.weight.detach().norm()) > 0.1


@every_case
def test_two_people_with_the_same_predictions_have_finite_gradients(
    name: str, options: Options
) -> None:
    revenue = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    cost = torch.ones(2, 3, dtype=torch.float64)
    shares = make(name, options)(revenue, cost, 2.0).shares
    (slope,) = torch.autograd.grad((shares * torch.eye(3).double()[:2]).sum(), revenue)
    assert bool(slope.isfinite().all())
    assert_close(shares.sum(dim=1), torch.ones(2, dtype=torch.float64))


def pulled(
    layer: AbstractLayer, revenue: Tensor, cost: Tensor, budget: float, **options: Any
) -> tuple[Tensor, ...]:
    """Return shares, multiplier and the gradient in revenue of a fixed weighting."""
    given = revenue.clone().requires_grad_()
    weight = torch.rand(40, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    shares, multiplier = layer(given, cost, budget, **options)
    loss = (shares * weight[:, : revenue.shape[1]]).sum()
    return shares.detach(), multiplier.detach(), *torch.autograd.grad(loss, given)


TAKE_MASKS = [case for case in CASES if PROMISES[case[0]].masks]


@pytest.mark.parametrize(("name", "options"), TAKE_MASKS, ids=called)
@pytest.mark.parametrize("observed", [False, True])
def test_a_treatment_that_nobody_may_get_is_as_good_as_not_there(
    name: str, options: Options, observed: bool
) -> None:
    revenue, cost, budget = problem(torch.float64)
    cost[:, 4], revenue[:, 4] = 0.0, 9.0  # the cheapest and the best
    allowed = torch.tensor([True, True, True, True, False]).expand(40, 5)
    logs = None
    if observed:
        treatment = torch.arange(40) % 4
        paid = cost.gather(1, treatment[:, None])[:, 0]
        logs = ObservedCost(treatment, paid, torch.full_like(paid, 4))
    layer = make(name, options)
    found = pulled(layer, revenue, cost, budget, allowed=allowed, observed=logs)
    expected = pulled(layer, revenue[:, :4], cost[:, :4], budget, observed=logs)
    if PROMISES[name].sampled is None or "samples" not in options:
        assert_close((found[0][:, :4], found[1], found[2][:, :4]), expected, atol=1e-6, rtol=1e-6)
    assert float(found[0][:, 4].abs().max()) == 0
    assert float(found[2][:, 4].abs().max()) == 0


@pytest.mark.parametrize(("name", "options"), TAKE_MASKS, ids=called)
def test_what_is_not_allowed_has_no_share_no_gradient_and_no_part_in_any_scale(
    name: str, options: Options
) -> None:
    revenue, cost, budget = problem(torch.float64)
    forbidden = torch.rand(40, 5, generator=torch.Generator().manual_seed(5)) < 0.3
    forbidden[:, 0] = False
    layer = make(name, options)
    found = [
        pulled(layer, revenue.masked_fill(forbidden, other), cost, 2 * budget, allowed=~forbidden)
        for other in (0.0, -1e9, 1e9)
    ]
    assert_close(found[1], found[0])
    assert_close(found[2], found[0])
    shares, _, slope = found[0]
    assert_close(shares.sum(dim=1), torch.ones(40, dtype=torch.float64), atol=1e-6, rtol=0)
    assert float(shares[forbidden].max()) == 0
    assert float(slope[forbidden].abs().max()) == 0
    both = layer(
        *(torch.stack((one, one)) for one in (revenue, cost)), 2 * budget, None, ~forbidden
    )
    assert_close(both.shares[1], shares)


@pytest.mark.parametrize(("name", "options"), TAKE_MASKS, ids=called)
@pytest.mark.parametrize("entries", [1, 60])
def test_entries_masked_by_a_large_number_leave_the_others_their_gradient(
    name: str, options: Options, entries: int
) -> None:
    revenue, cost, budget = problem(torch.float64)
    worst = cost == cost.amax(dim=1, keepdim=True)  # never chosen at minus a billion
    chosen = worst.flatten().nonzero().flatten()[:entries]
    masked = torch.zeros(200, dtype=torch.bool).index_fill(0, chosen, True).reshape(40, 5)
    layer = make(name, options)
    expected = pulled(layer, revenue, cost, 1.5 * budget, allowed=~masked)
    found = pulled(layer, revenue.masked_fill(masked, -1e9), cost, 1.5 * budget)
    assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_masks_that_are_none_are_refused(name: str) -> None:
    revenue, cost, budget = problem(torch.float64)
    layer, everything = make(name), torch.ones(40, 5, dtype=torch.bool)
    if not PROMISES[name].masks:
        with pytest.raises(UnsupportedProblemError, match="got allowed; use the layer quadratic"):
            layer(revenue, cost, budget, allowed=everything)
        return
    with pytest.raises(DTypeError, match="allowed must be a tensor, got list"):
        layer(revenue, cost, budget, allowed=everything.tolist())
    with pytest.raises(DTypeError, match=r"allowed must be bool, got torch\.int64"):
        layer(revenue, cost, budget, allowed=everything.long())
    with pytest.raises(ShapeError, match=r"allowed must be \(40, 5\), got \(40, 4\)"):
        layer(revenue, cost, budget, allowed=everything[:, :4])
    everything[3] = False
    with pytest.raises(
        InvalidValueError, match=r"leave every row an entry, got 1 row\(s\) without"
    ):
        layer(revenue, cost, budget, allowed=everything)


@every_case
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_prediction_that_is_no_number_is_refused_or_handed_on(
    name: str, options: Options, bad: float
) -> None:
    revenue, cost, budget = problem(torch.float64)
    revenue[3, 2] = bad
    with pytest.raises(InvalidValueError, match="must be finite"):
        make(name, options)(revenue, cost, budget)
    if make(name).price is None or "multiplier_gradient" in options or name == "quadratic":
        return
    layer = make(name, {**options, "price": FIXED})
    with suppress(InvalidValueError):  # nothing looks for a price: it may find out later, or not
        assert bool(layer(revenue, cost, budget).shares[3].isnan().any())


@every_case
def test_autocast_hands_over_short_floats_and_gets_float32(name: str, options: Options) -> None:
    revenue, cost, budget = (each for each in problem(torch.float32))
    short = [one.bfloat16() for one in (revenue, cost)]
    layer = make(name, options)
    expected = layer(*(one.float() for one in short), budget)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(*short, budget)
    assert found.shares.dtype == torch.float32
    assert_close(found, expected)
    with pytest.raises(DTypeError, match="revenue must be float32 or float64"):
        layer(*short, budget)


@every_case
def test_inference_mode_changes_nothing(name: str, options: Options) -> None:
    """Neither there nor, by something kept, afterwards."""
    revenue, cost, budget = problem(torch.float64)
    layer = make(name, options)
    with torch.inference_mode():
        inside = layer(revenue.clone(), cost.clone(), budget).shares.clone()
    after = pulled(layer, revenue, cost, budget)
    assert_close(inside, after[0], rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_prediction_or_no_budget_is_refused_in_words(name: str) -> None:
    revenue, cost, budget = problem(torch.float64)
    layer = make(name)
    for name, given in (("revenue", (revenue.tolist(), cost)), ("cost", (revenue, cost.tolist()))):
        with pytest.raises(DTypeError, match=f"{name} must be a tensor, got list"):
            layer(*given, budget)
    with pytest.raises(DTypeError, match=r"revenue must be floating point, got torch\.int64"):
        layer(revenue.long(), cost, budget)
    with pytest.raises(DTypeError, match=r"cost must be floating point, got torch\.bool"):
        layer(revenue, cost > 0, budget)
    with pytest.raises(
        InvalidValueError, match="budget must be a number, a tensor or a Budget, got"
    ):
        layer(revenue, cost, "20")


@pytest.mark.parametrize("name", NAMES)
def test_a_number_where_an_option_is_a_value_says_what_to_write(name: str) -> None:
    with pytest.raises(
        InvalidValueError, match=r"must be a Softness, got 0\.3; perhaps Softness\("
    ):
        make(name, {"softness": 0.3})
    if make(name).price is not None:
        with pytest.raises(
            InvalidValueError, match=r"must be a Price, got 0\.3; perhaps Price\(mul"
        ):
            make(name, {"price": 0.3})


# Draws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLED)
def test_draws_come_from_the_seed(name: str) -> None:
    revenue, cost, budget = problem(torch.float64)

    def shares(**options: Any) -> Tensor:
        found: Tensor = make(name, SAMPLED[name] | options)(revenue, cost, budget).shares
        return found

    state = torch.get_rng_state()
    assert_close(shares(seed=3), shares(seed=3), rtol=0, atol=0)
    assert not bool((shares(seed=3) == shares(seed=4)).all())
    assert bool((torch.get_rng_state() == state).all())
    layer = make(name, SAMPLED[name] | {"seed": None})
    first, second = layer(revenue, cost, budget), layer(revenue, cost, budget)
    assert not bool((first.shares == second.shares).all())
    torch.set_rng_state(state)
    assert_close(layer(revenue, cost, budget).shares, first.shares, rtol=0, atol=0)


def test_the_table_is_complete() -> None:
    found = set()
    for module in pkgutil.iter_modules(dfl.layers.__path__, "dfl.layers."):
        for _, member in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(member, AbstractLayer) and not inspect.isabstract(member):
                found.add(member)
    assert found == {LAYERS.load(name) for name in NAMES}


@pytest.mark.parametrize("name", [one for one in LAYERS.names() if one != "linear-program"])
def test_logs_may_be_mapped_over(name: str) -> None:
    layer, draw = LAYERS.make(name), torch.Generator().manual_seed(0)
    revenue, cost = torch.rand(2, 2, 5, 3, generator=draw)
    arm, (paid, weight) = torch.randint(3, (2, 5), generator=draw), 1 + torch.rand(2, 2, 5)

    def shares(r: Tensor, c: Tensor, *logs: Tensor) -> Tensor:
        return layer(r, c, 6.0, ObservedCost(*logs)).shares  # type: ignore[no-any-return]

    columns = (revenue, cost, arm, paid, weight)
    found = torch.func.vmap(shares, randomness="same")(*columns)
    torch.testing.assert_close(
        found, torch.stack([shares(*one) for one in zip(*columns, strict=True)])
    )
    with pytest.raises(InvalidValueError, match="observed cost must be finite"):
        torch.func.vmap(shares, randomness="same")(revenue, cost, arm, paid / 0 * 0, weight)


@pytest.mark.parametrize("name", [one for one in NAMES if PROMISES[one].masks])
def test_masks_may_be_mapped_over(name: str) -> None:
    layer, draw = LAYERS.make(name), torch.Generator().manual_seed(0)
    revenue, cost = torch.rand(2, 2, 5, 3, generator=draw)
    allowed = torch.rand(2, 5, 3, generator=draw) < 0.6
    allowed[..., 0] = True

    def shares(r: Tensor, c: Tensor, a: Tensor) -> Tensor:
        return layer(r, c, 6.0, allowed=a).shares  # type: ignore[no-any-return]

    found = torch.func.vmap(shares)(revenue, cost, allowed)
    assert_close(
        found, torch.stack([shares(*one) for one in zip(revenue, cost, allowed, strict=True)])
    )
    with pytest.raises(InvalidValueError, match=r"an entry, got 10 row\(s\) without"):
        torch.func.vmap(shares)(revenue, cost, allowed & False)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_no_problem_has_no_shares(name: str) -> None:
    revenue = torch.rand(0, 6, 3, requires_grad=True)
    found = make(name)(revenue, torch.rand(0, 6, 3), 5.0)
    assert tuple(found.shares.shape) == (0, 6, 3)
    assert tuple(found.multiplier.shape) == (0,)
    assert torch.autograd.grad(found.shares.sum(), revenue)[0].shape == revenue.shape


@pytest.mark.parametrize("name", ["finite-difference", "interpolation", "straight-through"])
def test_hard_decisions_in_float32_are_within_the_budget(name: str) -> None:
    """The critical price is a quotient that float32 does not hold."""
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        revenue, cost = (torch.rand(2, 3 + seed % 9, 3, generator=generator).cumsum(-1)).unbind()
        paid = cost.double()
        low, high = (float(end.sum()) for end in (paid.amin(dim=1), paid.amax(dim=1)))
        budget = low + 0.4 * (high - low)
        shares = make(name)(revenue, cost, budget).shares
        assert float((shares.double() * paid).sum()) <= budget * (1 + 1e-6), seed
