from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dfl.errors import ShapeError, UnsupportedProblemError
from dfl.hypergrad import ComposedLoss, LinearStack, Parameters
from dfl.hypergrad.curvature.linear_stack import ACTIVATIONS
from dfl.hypergrad.curvature.point import Point
from dfl.hypergrad.curvature.products import gauss_newton, hessian

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


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ((nn.Linear(3, 2), nn.Dropout(), nn.Linear(2, 1)), "alternate .* got Dropout at 1"),
        ((nn.ReLU(), nn.Linear(3, 2)), "alternate .* got ReLU at 0"),
        ((nn.Linear(3, 2), nn.ReLU()), "must end with a Linear layer, got 2 layers"),
        ((), "must end with a Linear layer, got 0 layers"),
    ],
)
def test_other_networks_are_refused(layers: tuple[nn.Module, ...], match: str) -> None:
    with pytest.raises(UnsupportedProblemError, match=match):
        LinearStack(nn.Sequential(*layers), torch.ones(5, 3))


def test_features_must_fit() -> None:
    with pytest.raises(ShapeError, match=r"features must be \(rows, 3\) .* got \(5, 4\)"):
        LinearStack(nn.Sequential(nn.Linear(3, 1)), torch.ones(5, 4))


def test_it_computes_what_the_network_computes() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ELU(), nn.Linear(4, 2, bias=False))
    features = torch.linspace(-1, 1, 15).reshape(5, 3)
    torch.testing.assert_close(LinearStack(network, features)({}, {}), network(features))
