"""The share of the received treatment alone: the same as gathering from the whole softmax."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.layers.softmax import received_share

forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


def problem(*shape: int) -> tuple[Tensor, ...]:
    """Revenue, cost, multiplier, temperature, treatment; ``shape`` is ``(..., N, M)``."""
    draw = torch.Generator().manual_seed(5)
    revenue, cost = torch.rand(2, *shape, generator=draw, dtype=torch.float64)
    multiplier, temperature = torch.rand(2, *shape[:-2], generator=draw, dtype=torch.float64)
    treatment = torch.randint(shape[-1], shape[:-1], generator=draw)
    return revenue, cost, multiplier, temperature + 0.1, treatment


def plainly(revenue: Tensor, cost: Tensor, *rest: Tensor) -> Tensor:
    multiplier, temperature, treatment = rest
    scores = (revenue - multiplier[..., None, None] * cost) / temperature[..., None, None]
    return scores.softmax(dim=-1).gather(-1, treatment[..., None]).squeeze(-1)


@pytest.mark.parametrize("shape", [(40, 5), (3, 40, 5), (2, 3, 7, 2), (5, 1)])
@pytest.mark.parametrize("block", [1 << 15, 16])
def test_it_is_the_gathered_softmax_and_so_is_its_gradient(
    shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfl.layers.pricing.problems._BLOCK", block)
    revenue, cost, *rest = problem(*shape)
    weight = torch.rand(shape[:-1], generator=torch.Generator().manual_seed(1)).double()
    found = []
    for function in (received_share, plainly):
        inputs = (revenue.clone().requires_grad_(), cost.clone().requires_grad_())
        value = function(*inputs, *rest)
        found.append((value.detach(), *torch.autograd.grad((weight * value).sum(), inputs)))
    assert_close(found[0], found[1])


def test_float32_gradients_agree_to_a_millionth(generator: torch.Generator) -> None:
    revenue, cost = torch.rand(2, 5000, 8, generator=generator)
    treatment = torch.randint(8, (5000,), generator=generator)
    rest = (torch.tensor(0.7), torch.tensor(0.3), treatment)
    found = []
    for function in (received_share, plainly):
        inputs = (revenue.clone().requires_grad_(), cost.clone().requires_grad_())
        found.append(torch.autograd.grad(function(*inputs, *rest).sum(), inputs))
    assert_close(found[0], found[1], atol=1e-6, rtol=1e-6)


@forward_mode
def test_derivatives_of_both_orders_and_modes() -> None:
    revenue, cost, *rest = problem(2, 4, 3)
    inputs = (revenue.requires_grad_(), cost.requires_grad_())

    def share(*given: Tensor) -> Tensor:
        return received_share(*given, *rest)

    assert torch.autograd.gradcheck(share, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(share, inputs)


def test_third_derivatives_too() -> None:
    revenue, cost, *rest = problem(4, 3)
    slopes = []
    for function in (received_share, plainly):
        at = revenue.clone().requires_grad_()
        value: Any = function(at, cost, *rest).square().sum()
        for _ in range(3):
            (slope,) = torch.autograd.grad(value, at, create_graph=True)
            value = slope.square().sum()
        slopes.append(slope.detach())
    assert_close(slopes[0], slopes[1])


@forward_mode
def test_transforms_give_what_autograd_gives() -> None:
    revenue, cost, *rest = problem(3, 6, 4)

    def loss(*given: Tensor) -> Tensor:
        return received_share(*given, *rest_of_one).square().sum()

    slopes = []
    for index in range(3):
        rest_of_one = [each[index] for each in rest]
        at = revenue[index].clone().requires_grad_()
        slopes.append(torch.autograd.grad(loss(at, cost[index]), at)[0])
        assert_close(torch.func.grad(loss)(revenue[index], cost[index]), slopes[-1])
    mapped = torch.func.vmap(torch.func.grad(lambda *one: received_share(*one).square().sum()))
    assert_close(mapped(revenue, cost, *rest), torch.stack(slopes))
    jacobians = [mode(loss)(revenue[2], cost[2]) for mode in (torch.func.jacfwd, torch.func.jacrev)]
    assert_close(jacobians[0], jacobians[1])
