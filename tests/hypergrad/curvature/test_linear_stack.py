from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from dfl.errors import InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.hypergrad import ComposedLoss, Exact, GaussNewton, LinearStack, Parameters, Unrolled
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


def by_hand(network: nn.Sequential, inner: Parameters, rows: Tensor) -> Tensor:
    """The network with every layer's parameters looked up by the tensor, not the place."""
    names = {id(value): name for name, value in network.named_parameters()}
    hidden = rows
    for layer in network:
        if isinstance(layer, nn.Linear):
            hidden = hidden @ inner[names[id(layer.weight)]].mT + inner[names[id(layer.bias)]]
        else:
            hidden = layer(hidden)
    return hidden


def tied(kind: str) -> nn.Sequential:
    first, middle, last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
    if kind == "one layer twice":
        middle = first
    elif kind == "one layer three times":
        middle = last = first
    elif kind == "one weight twice":
        middle.weight = first.weight
    elif kind == "one bias three times":
        middle.bias = last.bias = first.bias
    elif kind == "ends alike":
        last = first
    act = nn.Tanh()
    return nn.Sequential(first, act, middle, act, last).double()


@pytest.mark.parametrize(
    "kind",
    [
        "one layer twice",
        "one layer three times",
        "one weight twice",
        "one bias three times",
        "ends alike",
    ],
)
@pytest.mark.parametrize("method", [Exact, GaussNewton])
def test_a_tensor_at_several_places_moves_at_all_of_them(
    kind: str, method: type[Exact] | type[GaussNewton]
) -> None:
    torch.manual_seed(0)
    network = tied(kind)
    rows, targets = torch.randn(20, 4).double(), torch.randn(20, 4).double()
    start = {name: value.detach() + 0.1 for name, value in network.named_parameters()}
    stack = LinearStack(network, rows, with_parameters=True)
    torch.testing.assert_close(stack(start, {})[0], by_hand(network, start, rows))

    def criterion(found: tuple[Tensor, ...], outer: Parameters) -> Tensor:
        penalty = 0.1 * sum((value**2).sum() for value in found[1:])
        return ((found[0] - targets) ** 2 * outer["row"].sigmoid()[:, None]).mean() + penalty

    def outer_loss(inner: Parameters, outer: Parameters) -> Tensor:
        return ((by_hand(network, inner, rows + 0.3) - targets) ** 2).mean()

    slow = ComposedLoss(
        lambda inner, outer: (by_hand(network, inner, rows), *inner.values()), criterion
    )
    outer = {"row": torch.zeros(20, dtype=torch.float64)}
    expected, found = (
        method(damping=1.0)(loss, outer_loss, start, outer).outer_grad["row"]
        for loss in (slow, ComposedLoss(stack, criterion))
    )
    assert float(expected.norm()) > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


def test_some_places_may_be_frozen_where_others_move() -> None:
    network = tied("one weight twice")
    rows = torch.ones(3, 4, dtype=torch.float64)
    inner = {"0.bias": torch.ones(4, dtype=torch.float64)}
    whole = {name: value.detach() for name, value in network.named_parameters()} | inner
    found = LinearStack(network, rows)(inner, {})
    torch.testing.assert_close(found, by_hand(network, whole, rows))


@pytest.mark.parametrize("name", ["2.weight", "weight", "module.0.weight"])
def test_a_name_that_the_network_has_not_is_refused_not_frozen(name: str) -> None:
    network = tied("one layer twice")
    loss = ComposedLoss(
        LinearStack(network, torch.ones(3, 4, dtype=torch.float64)),
        lambda found, outer: (found**2).sum() * outer["scale"],
    )
    inner = {name: torch.zeros(4, 4, dtype=torch.float64)}
    outer = {"scale": torch.ones((), dtype=torch.float64)}
    for method in (Exact(), GaussNewton(), Unrolled()):
        with pytest.raises(
            InvalidValueError,
            match=rf"parameters of the network, 0\.weight, 0\.bias, 4\..*, got '{name}': take dict",
        ):
            method(loss, loss, inner, outer)


def test_layers_that_compute_something_else_are_refused() -> None:
    class Half(nn.Linear):
        pass

    class Softmax(nn.Identity):
        pass

    normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    hooked = nn.Linear(4, 4)
    hooked.register_forward_hook(lambda *_: None)
    for layers, match in (
        ((Half(4, 4),), "got Half at 0"),
        ((normed,), "got ParametrizedLinear at 0"),
        ((nn.Linear(4, 4), Softmax(), nn.Linear(4, 4)), "got Softmax at 1"),
        ((nn.Linear(4, 4), nn.ReLU(), hooked), "must have no forward hooks, got one at 2"),
    ):
        with pytest.raises(UnsupportedProblemError, match=match):
            LinearStack(nn.Sequential(*layers), torch.ones(3, 4))


@pytest.mark.parametrize("kind", [nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.SiLU])
def test_activations_that_write_in_place_are_taken(kind: type[nn.Module]) -> None:
    torch.manual_seed(1)
    rows, found = torch.randn(20, 3).double(), []
    keep = rows.clone()
    for inplace in (False, True):
        torch.manual_seed(2)
        network = nn.Sequential(nn.Linear(3, 4), kind(inplace=inplace), nn.Linear(4, 2)).double()
        loss = ComposedLoss(
            LinearStack(network, rows), lambda out, outer: ((out - outer["goal"]) ** 2).mean()
        )
        inner = {name: value.detach() for name, value in network.named_parameters()}
        outer = {"goal": torch.ones(2, dtype=torch.float64)}
        found.append(Exact(damping=1.0)(loss, loss, inner, outer).outer_grad["goal"])
    assert torch.equal(rows, keep)
    torch.testing.assert_close(found[0], found[1], rtol=1e-11, atol=0)
