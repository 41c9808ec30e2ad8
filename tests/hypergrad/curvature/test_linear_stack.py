from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dfl.hypergrad import ComposedLoss, LinearStack, Parameters
from dfl.hypergrad.curvature import gauss_newton, hessian
from dfl.hypergrad.linear_stack import ACTIVATIONS
from dfl.hypergrad.point import Point

ROWS, SIZES = 7, (3, 5, 4, 2)


def stacked(
    activation: nn.Module, *, bias: bool = True, with_parameters: bool = False, members: int = 0
) -> tuple[ComposedLoss, ComposedLoss, Parameters, Parameters]:
    """Return the same loss twice: products written out, and by autograd."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    layers: list[nn.Module] = []
    for before, after in pairwise(SIZES):
        layers += [nn.Linear(before, after, bias=bias), activation]
    network = nn.Sequential(*layers[:-1]).double()
    lead = (members,) if members else ()
    inner = {name: draw(*lead, *value.shape) for name, value in network.named_parameters()}
    outer = {"weight": draw(*lead, ROWS), "penalty": draw(*lead)}
    features, targets = draw(*lead, ROWS, SIZES[0]), draw(ROWS, SIZES[-1])

    def criterion(found: Tensor | tuple[Tensor, ...], outer: Parameters) -> Tensor:
        prediction, *values = found if isinstance(found, tuple) else (found,)
        rows = (prediction - targets).abs() ** 3
        loss = (outer["weight"].sigmoid().unsqueeze(-1) * rows).mean((-1, -2))
        for value in values:
            loss = loss + outer["penalty"].exp() * (value**2).reshape(*lead, -1).sum(-1)
        return loss

    def forward(inner: Parameters, outer: Parameters) -> Tensor | tuple[Tensor, ...]:
        def one(inner: Parameters, rows: Tensor) -> Tensor:
            return functional_call(network, inner, (rows,))

        found = (vmap(one) if members else one)(inner, features)
        return (found, *inner.values()) if with_parameters else found

    stack = LinearStack(network, features, with_parameters=with_parameters)
    return ComposedLoss(stack, criterion), ComposedLoss(forward, criterion), inner, outer


def same_everywhere(
    written: ComposedLoss,
    automatic: ComposedLoss,
    inner: Parameters,
    outer: Parameters,
    kind: Callable[..., object],
) -> None:
    point = Point.at(inner, outer)
    found, expected = kind(written, point), kind(automatic, point)
    torch.testing.assert_close(written(inner, outer), automatic(inner, outer))
    torch.testing.assert_close(found.inner_gradient, expected.inner_gradient)  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(2)
    for _ in range(2):  # the second product reuses the first one's room
        shape = expected.inner_gradient.shape  # type: ignore[attr-defined]
        vector = torch.randn(shape, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(found.product(vector), expected.product(vector))  # type: ignore[attr-defined]
        torch.testing.assert_close(found.mixed(vector), expected.mixed(vector))  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [hessian, gauss_newton])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_products_equal_autograd(activation: type[nn.Module], kind: Callable[..., object]) -> None:
    same_everywhere(*stacked(activation()), kind)


@pytest.mark.parametrize("kind", [hessian, gauss_newton])
@pytest.mark.parametrize("members", [0, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_penalties_members_and_missing_biases(
    kind: Callable[..., object], members: int, bias: bool
) -> None:
    same_everywhere(*stacked(nn.Tanh(), bias=bias, with_parameters=True, members=members), kind)


@pytest.mark.parametrize("kind", [hessian, gauss_newton])
@pytest.mark.parametrize("frozen", [("0.weight", "0.bias"), ("2.weight",), ("4.bias", "2.bias")])
def test_frozen_parameters_have_no_direction(
    kind: Callable[..., object], frozen: tuple[str, ...]
) -> None:
    written, automatic, inner, outer = stacked(nn.SiLU())
    stack = written.outputs
    assert isinstance(stack, LinearStack)
    named = dict(stack.network.named_parameters())
    inner = {name: value for name, value in inner.items() if name not in frozen}
    for name in frozen:
        named[name].requires_grad_(False)
    same_everywhere(written, automatic, inner, outer, kind)


def test_the_order_of_the_dict_is_kept() -> None:
    written, automatic, inner, outer = stacked(nn.GELU())
    same_everywhere(written, automatic, dict(reversed(inner.items())), outer, hessian)
