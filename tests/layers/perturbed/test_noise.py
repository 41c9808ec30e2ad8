"""Draws of noise: their distribution, their pairs, their streams."""

import math

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import InvalidValueError
from dfl.layers.perturbed.noise import Draws, score


def all_draws(draws: Draws, like: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return torch.cat(list(draws.chunks(like, seed)))


@pytest.mark.parametrize(
    ("noise", "subset", "variance"),
    [
        ("normal", 1, 1.0),
        ("gumbel", 1, math.pi**2 / 6),
        # Sum over ten terms of the variance of gamma(1 / k, k / i), over k squared.
        ("sum-of-gamma", 1, sum(1 / i**2 for i in range(1, 11))),
        ("sum-of-gamma", 5, sum(1 / i**2 for i in range(1, 11)) / 5),
    ],
)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_mean_and_variance(noise: str, subset: int, variance: float, kind: torch.dtype) -> None:
    draws = Draws(noise=noise, samples=50, antithetic=False, subset=subset)  # type: ignore[arg-type]
    drawn = all_draws(draws, torch.zeros(4000, dtype=kind)).double()
    error = 4 * math.sqrt(variance / drawn.numel())
    mean = 0.0
    if noise == "sum-of-gamma":  # sum of the terms' means, 1 / i each, less the log of their number
        mean = (sum(1 / i for i in range(1, 11)) - math.log(10)) / subset
    assert abs(float(drawn.mean()) - mean) < error
    assert abs(float(drawn.var()) / variance - 1) < 0.05


@pytest.mark.parametrize("noise", ["normal", "gumbel"])
def test_the_score_has_mean_zero_and_moves_the_mean(noise: str) -> None:
    """``E score = 0`` and ``E score * z = 1``: the two facts behind the gradient."""
    draws = Draws(noise=noise, samples=50, antithetic=False)  # type: ignore[arg-type]
    drawn = all_draws(draws, torch.zeros(20_000, dtype=torch.float64))
    slope = score(noise, drawn)  # type: ignore[arg-type]
    error = 4 / math.sqrt(drawn.numel())
    assert abs(float(slope.mean())) < error * float(slope.std())
    assert abs(float((slope * drawn).mean()) - 1) < error * float((slope * drawn).std())


def test_pairs_mirror_each_other() -> None:
    like = torch.zeros(30, dtype=torch.float64)
    normal = all_draws(Draws(noise="normal", samples=8), like)
    assert normal.shape == (4, 2, 30)
    assert_close(normal[:, 0], -normal[:, 1])
    gumbel = all_draws(Draws(noise="gumbel", samples=8), like) + 0.5772156649015329
    quantiles = torch.exp(-torch.exp(-gumbel))
    assert_close(quantiles[:, 0] + quantiles[:, 1], torch.ones(4, 30, dtype=torch.float64))


def test_a_stream_is_its_seeds_and_chunks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfl.layers.perturbed.noise._TOGETHER", 100)
    draws, like = Draws(samples=20), torch.zeros(30)
    chunks = list(draws.chunks(like, 1))
    assert [len(chunk) for chunk in chunks] == [1] * 10
    assert_close(torch.cat(chunks), all_draws(draws, like, 1), rtol=0, atol=0)
    assert not bool((all_draws(draws, like, 2) == torch.cat(chunks)).any())
    assert draws.fresh_seed() == 0
    assert Draws(samples=2, seed=None).fresh_seed() != Draws(samples=2, seed=None).fresh_seed()


def test_a_short_stream_of_a_fixed_seed_is_drawn_once() -> None:
    like = torch.zeros(30)
    first, again = (all_draws(Draws(samples=20, seed=3), like, seed=3) for _ in range(2))
    (kept,), (same,) = (Draws(samples=20, seed=3).chunks(like, 3) for _ in range(2))
    assert same is kept
    assert_close(first, again, rtol=0, atol=0)
    (fresh,) = Draws(samples=20, seed=None).chunks(like, 3)
    assert fresh is not kept
    assert_close(fresh, kept, rtol=0, atol=0)
    with torch.inference_mode():
        (plain,) = Draws(samples=20, seed=4).chunks(like, 4)
    assert not plain.is_inference()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": "cauchy"}, "noise must be 'gumbel', 'normal' or 'sum-of-gamma', got 'cauchy'"),
        ({"noise": "sum-of-gamma"}, "sum-of-gamma noise has no antithetic draws"),
        ({"subset": 0}, "subset must be >= 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Draws(**options)  # type: ignore[arg-type]
