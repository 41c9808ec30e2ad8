"""Interpolation: the identity that defines its gradient, for any argmax and for allocations."""

import copy
import pickle

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import UnsupportedProblemError
from dfl.layers import InterpolatedDecision, Interpolation, Softness
from dfl.layers.pricing.priced import decide_one_hot
from tests.layers.problems import GridPath, TopK


def draw(*shape: int, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("argmax", [TopK(2), GridPath(3)])
def test_the_gradient_is_the_difference_of_two_decisions(argmax: TopK | GridPath) -> None:
    values, slope = draw(20, 9), draw(20, 9, seed=4)
    decision, pull = torch.func.vjp(
        InterpolatedDecision(argmax, softness=Softness(0.5, "absolute")), values
    )
    assert_close(decision, argmax(values))
    expected = (argmax(values) - argmax(values - 0.5 * slope)) / 0.5
    assert_close(pull(slope)[0], expected)
    assert float(expected.abs().max()) > 0


def test_the_gradient_is_that_of_the_interpolated_loss() -> None:
    """The linearised loss, smoothed as in the paper's equation 5, differs by this much exactly."""
    argmax, strength = TopK(2), 0.7
    values, slope = draw(6), draw(6, seed=4)

    def smoothed(given: torch.Tensor) -> torch.Tensor:
        moved = given - strength * slope
        best, other = (argmax(one[None])[0] for one in (given, moved))
        return (given @ best - moved @ other) / strength  # its gradient: (best - other) / strength

    layer = InterpolatedDecision(argmax, softness=Softness(strength, "absolute"))
    pulled = torch.func.vjp(layer, values)[1](slope)[0]
    assert_close(pulled, torch.func.grad(smoothed)(values))


def test_a_relative_step_has_no_unit() -> None:
    layer = InterpolatedDecision(TopK(2), softness=Softness(0.5))
    values, slope = draw(20, 6), draw(20, 6, seed=4)
    plain = torch.func.vjp(layer, values)[1](slope)[0]
    scaled = torch.func.vjp(layer, 1e6 * values)[1](1e-3 * slope)[0]
    assert_close(1e9 * scaled, plain)


def test_no_gradient_in_none_out() -> None:
    values = draw(4, 5)
    for given in (values, torch.zeros_like(values)):
        pull = torch.func.vjp(InterpolatedDecision(TopK(2)), given)[1]
        assert_close(pull(torch.zeros_like(given))[0], torch.zeros_like(given))
    single = torch.func.vjp(InterpolatedDecision(TopK(1), softness=Softness(5.0)), values[0])[1]
    assert bool(single(values[0])[0].any())  # one instance without a batch has a spread too


def test_the_allocation_layer_holds_the_identity_at_its_multiplier() -> None:
    revenue, cost = draw(30, 4).requires_grad_(), draw(30, 4, seed=4).requires_grad_()
    layer = Interpolation(softness=Softness(0.3, "absolute"))
    soft = layer(revenue, cost, 10.0)
    slope = draw(30, 4, seed=5)
    by_revenue, by_cost = torch.autograd.grad(soft.shares, (revenue, cost), slope)
    moved = decide_one_hot(revenue.detach() - 0.3 * slope, cost.detach(), soft.multiplier)
    assert_close(by_revenue, (soft.shares.detach() - moved) / 0.3)
    assert_close(by_cost, -soft.multiplier * by_revenue)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_forward_mode_is_refused() -> None:
    values = draw(3, 4)
    with pytest.raises(UnsupportedProblemError, match="a rule for reverse mode alone"):
        torch.func.jvp(InterpolatedDecision(TopK(1)), (values,), (values,))


def test_options_are_printed_and_copied() -> None:
    layer = InterpolatedDecision(TopK(1), softness=Softness(2.0))
    assert "softness=Softness(temperature=2.0, scale='relative')" in repr(layer)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert again.softness == layer.softness
