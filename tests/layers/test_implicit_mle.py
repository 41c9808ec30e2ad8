"""Implicit maximum likelihood: the identity that defines its gradient, sampled and exact."""

import copy
import pickle

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.layers import (
    ImplicitMle,
    ImplicitMleDecision,
    Price,
    Softness,
    expected_choice,
    one_hot_argmax,
)
from dfl.layers.perturbed.noise import Draws
from tests.layers.problems import TopK


def draw(*shape: int, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("noise", ["sum-of-gamma", "gumbel", "normal"])
@pytest.mark.parametrize("samples", [1, 5])
def test_the_gradient_compares_two_means_over_the_same_draws(noise: str, samples: int) -> None:
    values, slope = draw(20, 6), draw(20, 6, seed=4)
    layer = ImplicitMleDecision(
        TopK(2), sigma=0.2, noise=noise, subset=2, samples=samples,
        step=Softness(0.5, "absolute"), seed=9,
    )  # type: ignore[arg-type]  # fmt: skip
    draws = Draws(noise=noise, samples=samples, antithetic=False, subset=2)  # type: ignore[arg-type]

    def mean(given: torch.Tensor) -> torch.Tensor:
        drawn = torch.cat(list(draws.chunks(given, 9)))[:, 0]
        return torch.stack([TopK(2)(given + 0.2 * one) for one in drawn]).mean(dim=0)

    decision, pull = torch.func.vjp(layer, values)
    assert_close(decision, mean(values))
    assert_close(pull(slope)[0], (mean(values) - mean(values - 0.5 * slope)) / 0.5)


def test_without_a_seed_both_means_still_share_their_draws() -> None:
    """No gradient, no difference: with other draws the second mean would differ."""
    values = draw(50, 6)
    pull = torch.func.vjp(ImplicitMleDecision(TopK(2), seed=None), values)[1]
    assert_close(pull(torch.zeros_like(values))[0], torch.zeros_like(values), rtol=0, atol=0)


@pytest.mark.parametrize("noise", ["gumbel", "normal"])
def test_the_exact_layer_is_the_limit_of_many_draws(noise: str) -> None:
    """Within 4 standard errors, in value and gradient."""
    one, multiplier = draw(1, 4), 0.5
    revenue, cost = one.expand(4000, 4), draw(1, 4, seed=4).expand(4000, 4)
    options = {"noise": noise, "price": Price(multiplier=multiplier)}
    options |= {"softness": Softness(0.4, "absolute"), "step": Softness(0.3, "absolute")}
    slope = draw(1, 4, seed=5).expand(4000, 4)
    exact, sampled = ImplicitMle(**options), ImplicitMle(**options, samples=20)  # type: ignore[arg-type]
    truth, pull = torch.func.vjp(lambda r: exact(r, cost, 1.0).shares, revenue)
    found, pulled = torch.func.vjp(lambda r: sampled(r, cost, 1.0).shares, revenue)
    for many, right in ((found, truth), (pulled(slope)[0], pull(slope)[0])):
        error = many.std(dim=0) / many.shape[0] ** 0.5
        assert float(((many.mean(dim=0) - right[0]).abs() / error).max()) < 4
    scores = (revenue - multiplier * cost) / 0.4
    assert_close(truth, expected_choice(scores, noise))  # type: ignore[arg-type]


def test_a_small_step_is_the_derivative_of_the_exact_layer() -> None:
    revenue, cost, slope = draw(30, 4), draw(30, 4, seed=4), draw(30, 4, seed=5)
    layer = ImplicitMle(
        step=Softness(1e-6, "absolute"),
        softness=Softness(0.4, "absolute"),
        price=Price(multiplier=0.5),
    )
    pulled = torch.func.vjp(lambda r: layer(r, cost, 1.0).shares, revenue)[1](slope)[0]
    true = torch.func.vjp(lambda r: ((r - 0.5 * cost) / 0.4).softmax(dim=1), revenue)[1](slope)[0]
    assert_close(pulled, true, atol=1e-5, rtol=1e-4)


def test_options_are_checked_and_printed() -> None:
    with pytest.raises(InvalidValueError, match="noise must be one of 'gumbel', 'normal'"):
        ImplicitMle(noise="sum-of-gamma")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="samples must be >= 1, got 0"):
        ImplicitMle(samples=0)
    with pytest.raises(InvalidValueError, match="sigma must be > 0"):
        ImplicitMleDecision(one_hot_argmax, sigma=-1)
    layer = ImplicitMleDecision(TopK(2), subset=2, seed=1)
    assert "noise='sum-of-gamma', subset=2, samples=1" in repr(layer)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_close(again(draw(3, 4)), layer(draw(3, 4)))
