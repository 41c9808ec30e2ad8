"""Which transforms of torch every registered decision loss works under, and which derivatives.

Reverse mode, `torch.func.grad` and `torch.func.vmap` over predictions and logs work for all; so
does `torch.compile`, with graph breaks where a check or a solver runs. Second derivatives exist for
the smooth ones; stand-ins refuse them, and the gradient of SPO+ is constant but for jumps, so torch
finds no graph in it.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.errors import DflError, InvalidValueError
from dfl.layers import LAYERS
from dfl.losses import LOSSES, AbstractDecisionLoss, DualPolicy, LoggedBatch, PrimalPolicy
from dfl.losses.estimators.policy_value import VALUE_ESTIMATORS

# Losses with second derivatives, the gradient of others stands in for a derivative.
SMOOTH = {
    "adjacent-hinge": False,
    "cost-sensitive": True,
    "dual-policy": True,
    "dual-finite-difference": False,
    "fenchel-young": True,
    "improved-finite-difference": False,
    "lagrangian-decomposition": False,
    "marginal-utility": True,
    "maximum-entropy": True,
    "primal-finite-difference": False,
    "primal-policy": True,
    "roi": True,
    "spo-plus": False,
}
# Losses of each kind; tracing takes seconds, and the others only put these together.
COMPILED = ("fenchel-young", "improved-finite-difference", "primal-policy", "roi", "spo-plus")
NAMES = LOSSES.names()
BUDGET = 40.0


def options_of(name: str) -> set[str]:
    return set(inspect.signature(LOSSES.load(name)).parameters)


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, LoggedBatch]:
    """Return predictions, and logs with baselines."""
    generator = torch.Generator().manual_seed(4)
    revenue = torch.rand(90, 3, generator=generator, dtype=torch.float64).cumsum(dim=1)
    cost = torch.rand(90, 3, generator=generator, dtype=torch.float64).cumsum(dim=1) / 2
    noise = 0.3 * torch.rand(90, 3, generator=generator, dtype=torch.float64)
    treatment = torch.arange(90) % 3
    seen = [(one + noise).gather(1, treatment[:, None])[:, 0] for one in (revenue, cost)]
    columns = (*seen, torch.full((90,), 3.0), revenue - noise, cost + noise)
    batch = LoggedBatch(treatment, *(one.to(dtype) for one in columns))
    return revenue.to(dtype), cost.to(dtype), batch


def of_predictions(loss: AbstractDecisionLoss, batch: LoggedBatch) -> Callable[..., Tensor]:
    def value(revenue: Tensor, cost: Tensor) -> Tensor:
        return loss(revenue, cost, batch, BUDGET)

    return value


def test_every_loss_says_whether_it_is_smooth() -> None:
    assert set(SMOOTH) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_functional_gradients_are_those_of_autograd(name: str) -> None:
    revenue, cost, batch = problem()
    loss = of_predictions(LOSSES.make(name), batch)
    given = (revenue.clone().requires_grad_(), cost.clone().requires_grad_())
    expected = torch.autograd.grad(loss(*given), given)
    assert_close(torch.func.grad(loss, argnums=(0, 1))(revenue, cost), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_mapped_gradient_is_the_loop(name: str) -> None:
    revenue, cost, batch = problem()
    slope = torch.func.grad(of_predictions(LOSSES.make(name), batch))
    several = torch.stack((revenue, 2 * revenue, revenue.flip(0)))
    mapped = torch.func.vmap(slope, in_dims=(0, None))(several, cost)
    assert_close(mapped, torch.stack([slope(one, cost) for one in several]))


@pytest.mark.parametrize("name", NAMES)
def test_logs_may_be_mapped_over(name: str) -> None:
    revenue, cost, batch = problem()
    loss, parts = LOSSES.make(name), [slice(45), slice(45, 90)]
    columns = [revenue, cost, *(getattr(batch, field.name) for field in fields(batch))]
    halves = [torch.stack([one[part] for part in parts]) for one in columns]

    def value(r: Tensor, c: Tensor, *logs: Tensor) -> Tensor:
        return loss(r, c, LoggedBatch(*logs), BUDGET / 2)

    mapped = torch.func.vmap(torch.func.grad_and_value(value))(*halves)
    one_by_one = [torch.func.grad_and_value(value)(*one) for one in zip(*halves, strict=True)]
    assert_close(mapped, tuple(torch.stack(one) for one in zip(*one_by_one, strict=True)))
    halves[2] = halves[2] + 1
    with pytest.raises(InvalidValueError, match=r"treatment must be 0 to 2, .* got 3"):
        torch.func.vmap(value)(*halves)


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # at graph breaks
def test_a_compiled_loss_gives_the_same(name: str) -> None:
    revenue, cost, batch = problem()
    loss = of_predictions(LOSSES.make(name), batch)
    found = []
    torch.compiler.reset()
    for function in (loss, torch.compile(loss, backend="eager")):
        given = revenue.clone().requires_grad_()
        value = function(given, cost)
        found.append((value.detach(), *torch.autograd.grad(value, given)))
    assert_close(found[0], found[1])


def second(loss: Callable[..., Tensor], revenue: Tensor, cost: Tensor) -> Tensor:
    """Differentiate the square of the gradient."""
    given = revenue.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(given, cost), given, create_graph=True)
    return torch.autograd.grad(slope.square().sum(), given)[0]


@pytest.mark.parametrize("name", [name for name in NAMES if SMOOTH[name]])
def test_a_smooth_loss_has_second_derivatives(name: str) -> None:
    revenue, cost, batch = problem()
    found = second(of_predictions(LOSSES.make(name), batch), revenue, cost)
    assert bool(found.isfinite().all())
    assert float(found.abs().max()) > 0


@pytest.mark.parametrize("name", [name for name in NAMES if not SMOOTH[name]])
def test_another_loss_refuses_second_derivatives(name: str) -> None:
    revenue, cost, batch = problem()
    with pytest.raises((DflError, RuntimeError), match=r"no derivative|does not require grad"):
        second(of_predictions(LOSSES.make(name), batch), revenue, cost)


@pytest.mark.parametrize("estimator", VALUE_ESTIMATORS)
@pytest.mark.parametrize("layer", LAYERS.names())
@pytest.mark.parametrize("kind", [PrimalPolicy, DualPolicy])
def test_every_layer_and_every_estimator_make_a_loss(
    kind: Any, layer: str, estimator: str, dtype: torch.dtype
) -> None:
    revenue, cost, batch = problem(dtype)
    loss = kind(layer=LAYERS.make(layer), estimator=estimator)
    given = (revenue.requires_grad_(), cost.requires_grad_())
    value = loss(*given, batch, BUDGET)
    assert value.dtype == dtype
    for slope in torch.autograd.grad(value, given):
        assert slope.dtype == dtype
        assert bool(slope.isfinite().all())
        assert float(slope.abs().max()) > 0


@pytest.mark.parametrize("estimator", VALUE_ESTIMATORS)
@pytest.mark.parametrize("name", [name for name in NAMES if "estimator" in options_of(name)])
def test_a_loss_asks_for_the_baselines_that_it_reads(name: str, estimator: str) -> None:
    revenue, cost, batch = problem()
    loss = LOSSES.make(name, estimator=estimator)
    bare = replace(batch, baseline_revenue=None, baseline_cost=None)
    assert loss.needs_baseline == (estimator == "doubly-robust")
    if loss.needs_baseline:
        with pytest.raises(InvalidValueError, match=r"needs batch\.baseline_revenue"):
            loss(revenue, cost, bare, BUDGET)
    else:
        assert_close(loss(revenue, cost, bare, BUDGET), loss(revenue, cost, batch, BUDGET))


@pytest.mark.parametrize("estimator", VALUE_ESTIMATORS)
def test_estimators_keep_leading_axes_apart(estimator: Any) -> None:
    revenue, cost, batch = problem()
    fields = ("treatment", "revenue", "cost", "weight", "baseline_revenue", "baseline_cost")
    back = replace(batch, **{name: getattr(batch, name).flip(0) for name in fields})
    both = replace(
        batch, **{name: torch.stack((getattr(batch, name), getattr(back, name))) for name in fields}
    )
    loss = PrimalPolicy(estimator=estimator)
    found = loss(torch.stack((revenue, revenue)), torch.stack((cost, cost)), both, BUDGET)
    alone = [loss(revenue, cost, one, BUDGET) for one in (batch, back)]
    assert_close(found, torch.stack(alone))
