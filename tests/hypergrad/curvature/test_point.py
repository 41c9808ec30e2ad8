from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from dfl.errors import DflError, DTypeError, InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.hypergrad import ComposedLoss, Exact, Hypergradient, LookAhead, Loss, Parameters, Unrolled
from dfl.hypergrad.curvature.point import Point, check_finite, gradient, members_of

ONE = {"a": torch.ones(3)}


def test_a_point_shares_memory_and_not_the_graph() -> None:
    inner = {"a": torch.ones(2, requires_grad=True)}
    point = Point.at(inner, ONE)
    assert point.inner["a"].data_ptr() == inner["a"].data_ptr()
    assert point.inner["a"].is_leaf
    assert point.inner["a"] is not inner["a"]
    assert not ONE["a"].requires_grad


@pytest.mark.parametrize(
    ("inner", "outer", "error", "match"),
    [
        ({}, ONE, InvalidValueError, "inner must hold at least one number, got none"),
        (ONE, {}, InvalidValueError, "outer must hold at least one number, got none"),
        ({"a": torch.ones(0)}, ONE, InvalidValueError, "inner must hold at least one number"),
        ({"a": torch.ones(2).long()}, ONE, DTypeError, r"inner\['a'\] must be floating point"),
        (ONE, {"b": torch.ones(2) > 0}, DTypeError, r"outer\['b'\] must be floating point"),
        (ONE | {"b": torch.ones(1).double()}, ONE, DTypeError, "inner tensors must share one"),
    ],
)
def test_bad_parameters_are_refused(
    inner: Parameters, outer: Parameters, error: type[DflError], match: str
) -> None:
    with pytest.raises(error, match=match):
        Point.at(inner, outer)


@pytest.mark.parametrize(
    ("loss", "error", "match"),
    [
        (lambda inner, outer: 1.0, InvalidValueError, "inner_loss must return a tensor, got float"),
        (
            lambda inner, outer: torch.ones(2, 3),
            ShapeError,
            r"inner_loss must return a scalar \(\) or one value per member .* got \(2, 3\)",
        ),
        (
            lambda inner, outer: torch.tensor(float("nan")),
            InvalidValueError,
            "the value of inner_loss must be finite, got NaN or infinity: look",
        ),
        (
            lambda inner, outer: torch.tensor([1.0, float("inf")]),
            InvalidValueError,
            r"the value of inner_loss must be finite, got NaN or infinity at index \[1\]",
        ),
    ],
)
def test_bad_values_are_refused(loss: Loss, error: type[DflError], match: str) -> None:
    with pytest.raises(error, match=match):
        Point.at(ONE, ONE).value(loss)


def test_members_must_be_an_axis_of_every_inner_tensor() -> None:
    assert members_of(torch.ones(()), ONE) is None
    assert members_of(torch.ones(3), ONE) == 3
    with pytest.raises(ShapeError, match=r"each of 2 members, so inner\['a'\] must be \(2, ...\)"):
        members_of(torch.ones(2), ONE)
    with pytest.raises(ShapeError, match=r"inner\['b'\] must be \(2, ...\), got \(\)"):
        members_of(torch.ones(2), {"b": torch.ones(())})


@pytest.mark.parametrize(("members", "came"), [(None, "a scalar"), (4, "4 values")])
def test_an_outer_loss_must_have_as_many_members(members: int | None, came: str) -> None:
    point = Point.at(ONE, ONE)
    assert point.outer_value(lambda inner, outer: inner["a"].sum(), members).shape == ()
    with pytest.raises(ShapeError, match=f"got 3 values where inner_loss returned {came}"):
        point.outer_value(lambda inner, outer: inner["a"], members)


def test_gradients_of_what_is_unrelated_are_zero() -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    found = gradient([(a * 2).sum(), torch.ones(())], [a, b])
    assert [value.tolist() for value in found] == [[2.0, 2.0], [0.0, 0.0, 0.0]]
    (none,) = gradient([torch.ones(2)], [b], [torch.ones(2)])
    assert none.tolist() == [0.0, 0.0, 0.0]


def test_a_finite_check_names_what_and_where() -> None:
    check_finite(torch.ones(2, 3), "it")
    with pytest.raises(InvalidValueError, match=r"^it must be finite, .* at index \[0, 2\] of"):
        check_finite(torch.tensor([[float("nan")], [1.0], [float("inf")]]), "it")


ROWS = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


def losses(network: nn.Module) -> tuple[ComposedLoss, Callable[..., Tensor]]:
    def forward(inner: Parameters, outer: Parameters) -> Tensor:
        return functional_call(network, inner, (ROWS,))

    inner_loss = ComposedLoss(forward, lambda out, outer: ((out - outer["goal"]) ** 2).mean())
    return inner_loss, lambda inner, outer: (forward(inner, outer) ** 2).mean()


def differentiate(network: nn.Module, frozen: tuple[str, ...] = ()) -> Hypergradient:
    inner = {n: p.detach() for n, p in network.named_parameters() if n not in frozen}
    outer = {"goal": torch.ones(1)}
    return Exact(damping=1.0, curvature="gauss-newton")(*losses(network), inner, outer)


def built(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), layer, nn.Tanh(), nn.Linear(4, 1))


DRAWN = [nn.Dropout(0.5), nn.AlphaDropout(0.5), nn.Dropout(1.0)]


@pytest.mark.parametrize("layer", DRAWN, ids=repr)
def test_dropout_in_training_is_refused_and_in_evaluation_taken(layer: nn.Module) -> None:
    network = built(layer)
    network.train()
    with pytest.raises(UnsupportedProblemError, match=r"inner_loss must give the same value .* dr"):
        differentiate(network)
    network.eval()
    assert bool(differentiate(network).outer_grad["goal"].isfinite().all())
    with pytest.raises(UnsupportedProblemError, match="outer_loss must give the same value"):
        Exact(damping=1.0)(
            losses(network)[0],
            lambda inner, outer: nn.functional.dropout(inner["3.weight"], 0.1).sum(),
            {name: value.detach() for name, value in network.named_parameters()},
            {"goal": torch.ones(1)},
        )


def test_dropout_of_nothing_is_taken() -> None:
    network = built(nn.Dropout(0.0))
    network.train()
    assert bool(differentiate(network).outer_grad["goal"].isfinite().all())


def test_dropout_inside_attention_is_refused() -> None:
    def inner_loss(inner: Parameters, outer: Parameters) -> Tensor:
        rows = inner["a"].reshape(1, 2, 2)
        found = nn.functional.scaled_dot_product_attention(rows, rows, rows, dropout_p=0.2)
        return (found**2).sum()

    call = (inner_loss, inner_loss, {"a": torch.ones(4)}, {"b": torch.ones(1)})
    with pytest.raises(UnsupportedProblemError, match="it uses dropout"):
        Unrolled()(*call)
    with pytest.raises(UnsupportedProblemError, match="it uses dropout"):
        LookAhead(1, step_size=0.1)(inner_loss, *call[2:])


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("randn_like", torch.randn_like),
        ("rrelu", nn.RReLU()),
        ("uniform_", lambda a: a.detach().clone().uniform_()),
        ("normal", lambda a: torch.distributions.Normal(a, 1.0).sample()),
    ],
)
def test_an_inner_loss_that_draws_is_refused(name: str, draw: Callable[[Tensor], Tensor]) -> None:
    def drawn(inner: Parameters, outer: Parameters) -> Tensor:
        return ((inner["a"] - outer["b"] + draw(inner["a"])) ** 2).sum()

    def fixed(inner: Parameters, outer: Parameters) -> Tensor:
        return ((inner["a"] - outer["b"]) ** 2).sum()

    point = ({"a": torch.ones(4)}, {"b": torch.ones(1)})
    with pytest.raises(UnsupportedProblemError, match=f"its {name} draws random numbers: draw"):
        Unrolled()(drawn, fixed, *point)
    Unrolled()(fixed, drawn, *point)  # an outer loss is evaluated once


def test_draws_of_a_generator_and_rrelu_in_evaluation_are_taken() -> None:
    layer = nn.RReLU().eval()

    def loss(inner: Parameters, outer: Parameters) -> Tensor:
        noise = torch.randn(4, generator=torch.Generator().manual_seed(0))
        return ((layer(inner["a"]) - outer["b"] + noise) ** 2).sum()

    point = ({"a": torch.ones(4)}, {"b": torch.ones(1)})
    found = [Exact()(loss, loss, *point).outer_grad["b"] for _ in range(2)]
    assert torch.equal(*found)


def test_spectral_normalisation_is_refused_in_training() -> None:
    network = built(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)))
    with pytest.raises(UnsupportedProblemError, match="its spectral_norm takes a step of power"):
        differentiate(network)
    network.eval()
    assert bool(differentiate(network).outer_grad["goal"].isfinite().all())


def test_attention_without_a_second_derivative_says_how_to_have_one() -> None:
    def loss(inner: Parameters, outer: Parameters) -> Tensor:
        rows = inner["a"].reshape(1, 1, 2, 2)
        found = nn.functional.scaled_dot_product_attention(rows, rows, rows)
        return ((found - outer["b"]) ** 2).sum() + (inner["a"] ** 2).sum()

    def twice(inner: Parameters, outer: Parameters) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return loss(inner, outer)

    point = ({"a": torch.ones(4)}, {"b": torch.ones(1)})
    with pytest.raises(UnsupportedProblemError, match=r"sdpa_kernel\(SDPBackend.MATH\)"):
        Exact()(loss, loss, *point)
    assert bool(Exact()(twice, twice, *point).outer_grad["b"].isfinite())


def test_running_averages_are_refused_in_training_and_taken_in_evaluation() -> None:
    layer = nn.BatchNorm1d(4)
    network = built(layer)
    before = layer.running_mean.clone()  # type: ignore[union-attr]
    with pytest.raises(UnsupportedProblemError, match="its batch_norm updates running averages"):
        differentiate(network)
    assert torch.equal(before, layer.running_mean)  # type: ignore[arg-type]
    network.eval()
    assert bool(differentiate(network).outer_grad["goal"].isfinite().all())


@pytest.mark.parametrize("averages", [True, False])
def test_instance_normalisation_likewise(averages: bool) -> None:
    layer = nn.InstanceNorm1d(2, track_running_stats=averages)

    def inner_loss(inner: Parameters, outer: Parameters) -> Tensor:
        return ((layer(inner["a"]) - outer["b"]) ** 2).sum() + (inner["a"] ** 2).sum()

    inner = {"a": torch.arange(12.0).reshape(3, 2, 2) ** 2}
    call = (inner_loss, inner_loss, inner, {"b": torch.ones(1)})
    if averages:
        with pytest.raises(UnsupportedProblemError, match="its instance_norm updates running"):
            Unrolled()(*call)
    else:
        assert bool(Unrolled()(*call).outer_grad["b"].isfinite().all())


def test_batch_normalisation_without_averages_is_right_also_under_vmap() -> None:
    network = built(nn.BatchNorm1d(4, track_running_stats=False)).double()
    network.train()
    rows = ROWS.double()
    single = {name: value.detach() for name, value in network.named_parameters()}

    def loss(inner: Parameters, outer: Parameters) -> Tensor:
        def one(inner: Parameters) -> Tensor:
            return functional_call(network, inner, (rows,))

        return ((vmap(one)(inner) - outer["goal"][:, None, None]) ** 2).mean((-1, -2))

    def outer_loss(inner: Parameters, outer: Parameters) -> Tensor:
        return (inner["3.weight"] ** 2).sum((-1, -2))

    inner = {name: torch.stack([value, 2 * value]) for name, value in single.items()}
    outer = {"goal": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    method = Unrolled(steps=2, step_size=0.01)
    found = method(loss, outer_loss, inner, outer).outer_grad["goal"]
    for sign in (0, 1):
        step = torch.zeros(2, dtype=torch.float64)
        step[sign] = 1e-5
        ends = [
            method(loss, outer_loss, inner, {"goal": outer["goal"] + s * step}).outer_value[sign]
            for s in (1, -1)
        ]
        torch.testing.assert_close(found[sign], (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-9)


def test_frozen_parameters_are_left_out_of_inner() -> None:
    """Only the head is trained: the same as ridge regression on the frozen features."""
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1, bias=False))
    network[0].requires_grad_(False)
    found = differentiate(network, frozen=("0.weight", "0.bias"))
    with torch.no_grad():
        features = torch.tanh(network[0](ROWS))
        out = features @ network[2].weight.mT
        hessian = 2 * features.mT @ features / 8 + torch.eye(4)
        slope = 2 * features.mT @ out / 8
        solution = torch.linalg.lstsq(hessian, slope).solution
        expected = 2 * (features @ solution).mean()
    torch.testing.assert_close(found.outer_grad["goal"], expected.reshape(1), rtol=1e-4, atol=1e-6)
