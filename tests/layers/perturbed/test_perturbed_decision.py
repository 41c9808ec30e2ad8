"""Averages of any argmax over draws: unbiased, reproducible, and what they refuse."""

import copy
import pickle

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.errors import DTypeError, InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.layers import (
    PerturbedDecision,
    StraightThroughDecision,
    expected_choice,
    expected_maximum,
    one_hot_argmax,
)
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual
from tests.layers.problems import TopK

forward_mode = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
NOISES = ["normal", "gumbel"]


def draw(*shape: int, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def deviation(found: Tensor, exact: Tensor) -> Tensor:
    """Distance of the mean over repetitions from the truth, in standard errors."""
    error = found.std(dim=0) / found.shape[0] ** 0.5
    return (found.mean(dim=0) - exact).abs() / error.clamp_min(1e-12)


@forward_mode
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("control_variate", [True, False])
def test_value_and_both_products_are_unbiased(
    noise: str, antithetic: bool, control_variate: bool
) -> None:
    """Against the exact expectation, over 5,000 rows of the same values, each with its draws."""
    values, vector = draw(4), draw(4, seed=6)
    exact, pull = torch.func.vjp(lambda v: expected_choice(v / 0.8, noise), values)  # type: ignore[arg-type]
    layer = PerturbedDecision(
        one_hot_argmax, sigma=0.8, noise=noise, samples=8, antithetic=antithetic,
        control_variate=control_variate,
    )  # type: ignore[arg-type]  # fmt: skip
    many, along = values.expand(5000, 4), vector.expand(5000, 4)
    found, back = torch.func.vjp(layer, many)
    assert float(deviation(found, exact).max()) < 4
    assert float(deviation(back(along)[0], pull(vector)[0]).max()) < 4
    pushed = torch.func.jvp(layer, (many,), (along,))[1]
    assert float(deviation(pushed, pull(vector)[0]).max()) < 4  # J is symmetric


@pytest.mark.parametrize("noise", NOISES)
def test_the_expected_maximum_is_unbiased_and_its_gradient_the_decision(noise: str) -> None:
    values = draw(4).expand(5000, 4).clone().requires_grad_()
    layer = PerturbedDecision(one_hot_argmax, sigma=0.8, noise=noise, samples=8)  # type: ignore[arg-type]
    found = layer.maximum(values)
    exact = 0.8 * expected_maximum(values[0].detach() / 0.8, noise)  # type: ignore[arg-type]
    assert float(deviation(found.detach(), exact).max()) < 4
    (slope,) = torch.autograd.grad(found.sum(), values)
    assert_close(slope, layer(values))


@forward_mode
@pytest.mark.parametrize("noise", NOISES)
def test_reverse_and_forward_mode_multiply_by_one_matrix(noise: str) -> None:
    layer = PerturbedDecision(TopK(2), noise=noise, samples=6)  # type: ignore[arg-type]
    values = draw(5)
    assert_close(torch.func.jacrev(layer)(values), torch.func.jacfwd(layer)(values))


@pytest.mark.parametrize("noise", NOISES)
def test_the_control_variate_and_the_pairs_lower_the_noise(noise: str) -> None:
    values, vector = draw(6).expand(3000, 6), (draw(6, seed=6) + 3).expand(3000, 6)

    def variances(**options: bool) -> tuple[float, float]:
        layer = PerturbedDecision(one_hot_argmax, noise=noise, samples=8, **options)  # type: ignore[arg-type]
        mean, pull = torch.func.vjp(layer, values)
        return float(mean.var(dim=0).mean()), float(pull(vector)[0].var(dim=0).mean())

    plain, plain_slope = variances(antithetic=False, control_variate=False)
    _, controlled_slope = variances(antithetic=False, control_variate=True)
    paired, paired_slope = variances(antithetic=True, control_variate=True)
    assert controlled_slope < 0.4 * plain_slope
    assert paired_slope < 0.4 * plain_slope
    assert paired < 0.9 * plain


@pytest.mark.parametrize("noise", NOISES)
def test_what_is_too_large_to_keep_is_drawn_again(
    noise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, vector = draw(7, 5), draw(7, 5, seed=6)
    layer = PerturbedDecision(TopK(2), noise=noise, samples=20)  # type: ignore[arg-type]

    def both() -> tuple[Tensor, Tensor]:
        mean, pull = torch.func.vjp(layer, values)
        return mean, pull(vector)[0]

    monkeypatch.setattr("dfl.layers.perturbed.noise._TOGETHER", 100)
    kept = both()
    monkeypatch.setattr("dfl.layers.perturbed.perturbed_decision._KEPT", 0)
    assert_close(both(), kept, rtol=0, atol=0)


def test_the_argmax_is_called_once_per_draw_where_results_are_kept() -> None:
    calls = []

    def argmax(values: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        calls.append(values.shape[0])
        return one_hot_argmax(values)

    values = draw(10, 4).requires_grad_()
    PerturbedDecision(argmax, samples=6)(values).square().sum().backward()
    assert sum(calls) == 60


def test_a_mapped_layer_sees_the_draws_it_sees_alone() -> None:
    layer, several = PerturbedDecision(TopK(2), samples=6), draw(3, 7, 5)

    def loss(values: Tensor) -> Tensor:
        return layer(values).square().sum() + layer.maximum(values).sum()

    mapped = torch.func.vmap(torch.func.grad(loss))(several)
    assert_close(mapped, torch.stack([torch.func.grad(loss)(one) for one in several]))
    assert_close(torch.func.vmap(layer)(several), torch.stack([layer(one) for one in several]))


def test_a_second_derivative_is_refused() -> None:
    values = draw(3, 4).requires_grad_()
    loss = PerturbedDecision(one_hot_argmax)(values).square().sum()
    (slope,) = torch.autograd.grad(loss, values, create_graph=True)
    with pytest.raises(UnsupportedProblemError, match="averaged over draws has no second"):
        slope.sum().backward()


def test_the_second_derivative_of_the_maximum_is_the_first_of_the_decision() -> None:
    layer, values, vector = PerturbedDecision(TopK(2), samples=8), draw(4, 5), draw(4, 5, seed=6)
    values.requires_grad_()
    (slope,) = torch.autograd.grad(layer.maximum(values).sum(), values, create_graph=True)
    (curved,) = torch.autograd.grad((slope * vector).sum(), values)
    (expected,) = torch.autograd.grad((layer(values) * vector).sum(), values)
    assert_close(curved, expected)


def test_a_budget_may_be_solved_again_for_each_draw() -> None:
    """A decision that does not separate: shares of an allocation under a shared budget."""
    generator = torch.Generator().manual_seed(0)
    revenue, cost = torch.rand(2, 12, 3, generator=generator, dtype=torch.float64)
    cost[:, 0] = 0

    def allocate(values: Tensor) -> Tensor:  # (draws, N * M): one problem per row
        choices = [
            GreedyDual().solve(AllocationProblem(one.reshape(12, 3), cost, 2.0)).choice
            for one in values
        ]
        return torch.nn.functional.one_hot(torch.stack(choices), 3).flatten(1)

    layer = PerturbedDecision(allocate, sigma=0.1, samples=40)
    flat = revenue.flatten().clone().requires_grad_()
    shares = layer(flat)
    assert_close(shares.reshape(12, 3).sum(dim=1), torch.ones(12, dtype=torch.float64))
    assert float(shares.detach() @ cost.flatten()) <= 2.0
    (slope,) = torch.autograd.grad(shares @ flat.detach(), flat)
    assert float(slope.abs().max()) > 0


def test_results_follow_dtype_and_device(dtype: torch.dtype, device: torch.device) -> None:
    values = draw(4, 5).to(device, dtype).requires_grad_()
    shares = PerturbedDecision(lambda given: TopK(2)(given).long(), samples=4)(values)
    assert shares.dtype == dtype
    assert shares.device.type == device.type
    assert_close(shares.sum(dim=1), torch.full((4,), 2.0, dtype=dtype, device=device))
    (slope,) = torch.autograd.grad(shares.square().sum(), values)
    assert slope.dtype == dtype


def test_the_layer_can_be_copied_pickled_and_printed() -> None:
    layer, values = PerturbedDecision(TopK(2), samples=4), draw(3, 5)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_close(again(values), layer(values), rtol=0, atol=0)
    assert "sigma=1, noise='normal', samples=4" in repr(layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "sigma must be > 0, got 0"),
        ({"noise": "cauchy"}, "noise must be one of 'normal', 'gumbel', got 'cauchy'"),
        ({"samples": 0}, "samples must be >= 1, got 0"),
        ({"samples": 3}, "samples must be even where they are antithetic, got 3"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        PerturbedDecision(one_hot_argmax, **options)  # type: ignore[arg-type]


def test_what_is_no_argmax_is_refused() -> None:
    values = draw(3, 4)
    with pytest.raises(
        ShapeError, match=r"decisions of the shape of its values, \(60, 4\), got \(6"
    ):
        PerturbedDecision(lambda given: given.argmax(dim=-1), samples=20)(values)
    with pytest.raises(ShapeError, match=r"values must be \(..., D\), got a scalar"):
        StraightThroughDecision(one_hot_argmax)(torch.tensor(1.0))
    with pytest.raises(DTypeError, match=r"values must be floating point, got torch\.int64"):
        StraightThroughDecision(one_hot_argmax)(torch.arange(4))
