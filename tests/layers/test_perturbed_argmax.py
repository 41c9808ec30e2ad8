"""The perturbed allocation layer beyond the contract: Gumbel is softmax, draws meet the exact."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.layers import PerturbedArgmax, Price, Softmax, Softness


def draw(*shape: int, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("scale", ["absolute", "relative"])
def test_gumbel_noise_is_the_softmax_layer(scale: str) -> None:
    revenue, cost = draw(60, 4), draw(60, 4, seed=4)
    perturbed = PerturbedArgmax(
        noise="gumbel", softness=Softness(0.2, scale), price=Price(multiplier=0.4)
    )  # type: ignore[arg-type]
    softmax = Softmax(softness=Softness(0.2, scale), price=Price(multiplier=0.4))  # type: ignore[arg-type]
    assert_close(perturbed(revenue, cost, 20.0), softmax(revenue, cost, 20.0))


@pytest.mark.parametrize("noise", ["gumbel", "normal"])
def test_draws_agree_with_the_exact_layer(noise: str) -> None:
    """Values and gradients, within 4 standard errors over 5,000 equal rows."""
    revenue, cost = draw(4).expand(5000, 4), draw(4, seed=4).expand(5000, 4)
    slope = draw(4, seed=5).expand(5000, 4)
    options: dict[str, Any] = {
        "noise": noise, "softness": Softness(0.3, "absolute"), "price": Price(multiplier=0.5)
    }  # fmt: skip
    exact, sampled = PerturbedArgmax(**options), PerturbedArgmax(**options, samples=8)
    truth, pull = torch.func.vjp(lambda r: exact(r, cost, 1.0).shares, revenue)
    found, pulled = torch.func.vjp(lambda r: sampled(r, cost, 1.0).shares, revenue)
    for many, right in ((found, truth), (pulled(slope)[0], pull(slope)[0])):
        error = many.std(dim=0) / many.shape[0] ** 0.5
        assert float(((many.mean(dim=0) - right[0]).abs() / error).max()) < 4


def test_more_noise_is_softer() -> None:
    revenue, cost = draw(60, 4), draw(60, 4, seed=4)
    largest = [
        float(
            PerturbedArgmax(softness=Softness(sigma))(revenue, cost, 20.0).shares.amax(dim=1).mean()
        )
        for sigma in (0.01, 0.1, 1.0, 100.0)
    ]
    assert largest == sorted(largest, reverse=True)
    assert largest[0] > 0.97
    assert largest[-1] < 0.26


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": "cauchy"}, "noise must be one of 'normal', 'gumbel', got 'cauchy'"),
        ({"samples": 3}, "samples must be even where they are antithetic, got 3"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        PerturbedArgmax(**options)  # type: ignore[arg-type]
