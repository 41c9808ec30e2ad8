"""Shares of received treatments and the loss on them, with gradients, against plain torch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.testing import assert_close

from dfl.kernels import triton_kernels
from dfl.layers import Price, Softmax, Softness
from dfl.layers.softmax import received_share
from dfl.losses import LoggedBatch, PrimalPolicy
from dfl.losses.estimators.policy_value import Estimator, received_value

pytest.importorskip("triton", reason="needs the extra triton")

SHAPES = [(1, 1), (300, 2), (256, 5), (3, 257, 8), (2, 2, 40, 3), (70, 33)]
CLOSE = {torch.float32: {"rtol": 2e-6, "atol": 1e-6}, torch.float64: {"rtol": 1e-12, "atol": 1e-13}}


def problem(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    draw = torch.Generator().manual_seed(5)
    revenue, cost = torch.rand(2, *shape, generator=draw, dtype=torch.float64)
    multiplier, temperature = torch.rand(2, *shape[:-2], generator=draw, dtype=torch.float64)
    treatment = torch.randint(shape[-1], shape[:-1], generator=draw)
    columns = (revenue, cost, multiplier, temperature + 0.05)
    return [*(column.to(device, dtype) for column in columns), treatment.to(device)]


def with_gradient(
    function: Callable[..., Tensor], revenue: Tensor, cost: Tensor, *rest: Tensor
) -> tuple[Tensor, ...]:
    inputs = revenue.clone().requires_grad_(), cost.clone().requires_grad_()
    value = function(*inputs, *rest)
    slope = torch.linspace(-1, 2, value.numel(), dtype=value.dtype, device=value.device)
    return value.detach(), *torch.autograd.grad(value, inputs, slope.view(value.shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_shares_and_gradients_are_the_same(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    inputs = problem(shape, dtype, device)
    before = [one.clone() for one in inputs]
    expected = with_gradient(received_share, *inputs)
    with triton_kernels():
        found = with_gradient(received_share, *inputs)
    assert_close(found, expected, **CLOSE[dtype])
    assert all(torch.equal(*pair) for pair in zip(inputs, before, strict=True))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of numpy, the interpreter's
def test_ties_and_far_scores_give_numbers(dtype: torch.dtype, device: torch.device) -> None:
    revenue = torch.tensor([[1.0, 1.0, 1.0], [0.0, 900.0, -900.0], [-1e4, -1e4, 0.0]]).double()
    revenue = torch.cat([revenue, torch.tensor([[-torch.inf, -torch.inf, 1.0]])])  # not allowed
    cost = torch.zeros_like(revenue)
    rest = (torch.tensor(0.5), torch.tensor(0.1), torch.tensor([2, 2, 0, 2]))
    inputs = [one.to(device, dtype) for one in (revenue, cost, *rest[:2])]
    with triton_kernels():
        found = with_gradient(received_share, *inputs, rest[2].to(device))
    assert all(bool(one.isfinite().all()) for one in found)
    assert_close(found, with_gradient(received_share, *inputs, rest[2].to(device)))
    assert found[0].tolist() == pytest.approx([1 / 3, 0, 0, 1])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_other_derivatives_are_those_of_plain_torch() -> None:
    revenue, cost, *rest = problem((2, 4, 3), torch.float64, torch.device("cpu"))
    inputs = (revenue.requires_grad_(), cost.requires_grad_())

    def share(revenue: Tensor, cost: Tensor) -> Tensor:
        return received_share(revenue, cost, *rest)

    with triton_kernels():
        assert torch.autograd.gradcheck(share, inputs, check_forward_ad=True, fast_mode=True)
        assert torch.autograd.gradgradcheck(share, inputs, fast_mode=True)
        mapped = torch.func.vmap(received_share)(revenue.detach(), cost.detach(), *rest)
    assert_close(mapped, received_share(revenue.detach(), cost.detach(), *rest))


@pytest.mark.parametrize("estimator", ["horvitz-thompson", "self-normalised"])
@pytest.mark.parametrize("shape", [(7, 1), (3_001, 5), (2, 1_024, 8)])
def test_the_loss_and_its_gradient_are_the_same(
    estimator: Estimator, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    revenue, cost, _, _, treatment = problem(shape, dtype, device)
    treatment[..., : shape[-1]] = torch.arange(shape[-1], device=device)  # each is seen
    outcome, paid, weight = torch.rand(3, *shape[:-1], dtype=dtype, device=device) + 0.1
    batch = LoggedBatch(treatment, outcome, paid, weight)
    layer = Softmax(softness=Softness(0.3, "absolute"), price=Price(multiplier=0.7))
    loss = PrimalPolicy(layer=layer, estimator=estimator)  # type: ignore[arg-type]

    def value(revenue: Tensor, cost: Tensor) -> Tensor:
        return loss(revenue, cost, batch, 1.0)

    expected = with_gradient(value, revenue, cost)
    with triton_kernels():
        found = with_gradient(value, revenue, cost)
    assert_close(found, expected, **CLOSE[dtype])


def test_the_value_has_all_its_derivatives() -> None:
    received, outcome, weight = torch.rand(3, 2, 9, dtype=torch.float64) + 0.1
    received.requires_grad_()

    def value(received: Tensor) -> Tensor:
        return received_value(received, outcome, weight, "self-normalised")

    with triton_kernels():
        assert torch.autograd.gradcheck(value, received)
        assert torch.autograd.gradgradcheck(value, received)
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(received.detach(), torch.ones_like(received))
            found = forward_ad.unpack_dual(value(dual)).tangent
    (slope,) = torch.autograd.grad(value(received).sum(), received)
    assert_close(found, slope.sum(dim=-1))
