"""What every registered layer promises."""

import inspect
import pkgutil
from importlib import import_module

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import dfl.layers
from dfl.errors import ShapeError
from dfl.layers import LAYERS, AbstractLayer

NAMES = LAYERS.names()


def make(name: str) -> AbstractLayer:
    """Build a layer with its defaults."""
    layer = LAYERS.load(name)()
    assert isinstance(layer, AbstractLayer)
    return layer


def problem(dtype: torch.dtype, rows: int = 40, arms: int = 5) -> tuple[Tensor, Tensor, float]:
    generator = torch.Generator().manual_seed(11)
    revenue = torch.rand(rows, arms, generator=generator, dtype=dtype)
    cost = torch.rand(rows, arms, generator=generator, dtype=dtype)
    return revenue, cost, float(cost.amin(dim=1).sum()) + 0.15 * rows


@pytest.mark.parametrize("name", NAMES)
def test_rows_lie_on_the_simplex_and_keep_dtype_and_device(
    name: str, dtype: torch.dtype, device: torch.device
) -> None:
    revenue, cost, budget = problem(dtype)
    soft = make(name)(revenue.to(device), cost.to(device), budget)
    assert soft.shares.dtype == dtype
    assert soft.shares.device.type == device.type
    assert bool((soft.shares >= 0).all())
    assert_close(soft.shares.sum(dim=1), torch.ones(40, dtype=dtype, device=device))
    assert soft.multiplier.shape == ()
    assert float(soft.multiplier) >= 0


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_revenue_and_cost(name: str) -> None:
    revenue, cost, budget = problem(torch.float64)
    inputs = (revenue.requires_grad_(), cost.requires_grad_())
    loss = make(name)(revenue, cost, budget).shares.square().sum()
    for slope in torch.autograd.grad(loss, inputs):
        assert bool(slope.isfinite().all())
        assert float(slope.abs().max()) > 0


@pytest.mark.parametrize("name", NAMES)
def test_order_of_people_and_treatments_does_not_matter(name: str) -> None:
    revenue, cost, budget = problem(torch.float64)
    people, arms = torch.randperm(40, generator=torch.Generator().manual_seed(0)), [3, 0, 4, 1, 2]
    layer = make(name)
    shuffled = layer(revenue[people][:, arms], cost[people][:, arms], budget).shares
    assert_close(shuffled, layer(revenue, cost, budget).shares[people][:, arms])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_currency_does_not_matter(name: str, factor: float) -> None:
    revenue, cost, budget = problem(torch.float64)
    layer = make(name)
    scaled = layer(factor * revenue, factor * cost, factor * budget).shares
    assert_close(scaled, layer(revenue, cost, budget).shares)


@pytest.mark.parametrize("name", NAMES)
def test_leading_axes_are_separate_problems(name: str) -> None:
    revenue, cost, budget = problem(torch.float64)
    layer = make(name)
    stacked = layer(
        torch.stack((revenue, 2 * revenue)),
        torch.stack((cost, cost)),
        torch.tensor([budget, 1.1 * budget]),
    )
    alone = [layer(revenue, cost, budget), layer(2 * revenue, cost, 1.1 * budget)]
    assert_close(stacked.shares, torch.stack([one.shares for one in alone]))
    assert_close(stacked.multiplier, torch.stack([one.multiplier for one in alone]))


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_untouched_and_results_repeat(name: str) -> None:
    revenue, cost, budget = problem(torch.float32)
    kept = revenue.clone(), cost.clone()
    layer = make(name)
    first, second = layer(revenue, cost, budget), layer(revenue, cost, budget)
    assert_close((revenue, cost), kept, rtol=0, atol=0)
    assert_close(first.shares, second.shares, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    revenue, cost, budget = problem(torch.float32)
    with pytest.raises(ShapeError, match="revenue and cost must share one shape"):
        make(name)(revenue, cost[:3], budget)


def test_the_table_is_complete() -> None:
    found = set()
    for module in pkgutil.iter_modules(dfl.layers.__path__, "dfl.layers."):
        for _, member in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(member, AbstractLayer) and member is not AbstractLayer:
                found.add(member)
    assert found == {LAYERS.load(name) for name in NAMES}
