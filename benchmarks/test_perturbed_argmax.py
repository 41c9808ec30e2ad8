"""Normal and Gumbel perturbed argmax over rows, beside plain torch samplers.

Off by default. Run with ``pytest benchmarks/test_perturbed_argmax.py --benchmark-only``; inputs
are float32, one thread. Timed is one forward pass and one vector-Jacobian product. ``extra_info``
holds the largest error of both against a float64 quadrature that is exact to 1e-10.
"""

from functools import lru_cache

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from dfl.layers import PerturbedDecision, expected_choice, one_hot_argmax

SIZES = [(10_000, 8), (100_000, 4), (100_000, 8), (100_000, 32)]


@lru_cache(maxsize=1)
def inputs(rows: int, entries: int) -> tuple[Tensor, Tensor]:
    """Scores in units of the noise, and the vector to multiply with."""
    generator = torch.Generator().manual_seed(0)
    scores, vector = torch.randn(2, rows, entries, generator=generator)
    return scores, vector


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def scores(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> tuple[Tensor, Tensor]:
    """Inputs of each size; the size names the group of the table."""
    rows, entries = request.param
    benchmark.group = f"perturbed argmax N={rows} M={entries}"
    benchmark.extra_info.update(
        dtype="float32", device="cpu", threads=torch.get_num_threads(), torch=torch.__version__
    )
    return inputs(rows, entries)


def both(layer: object, scores: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    """Forward pass and vector-Jacobian product by autograd."""
    scores = scores.detach().requires_grad_()
    shares = layer(scores)  # type: ignore[operator]
    return shares.detach(), torch.autograd.grad(shares, scores, vector)[0]


def sampler(scores: Tensor, vector: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """The estimator of Berthet et al. (2020) as one writes it, a draw at a time."""
    ones = torch.ones(scores.shape[0], 1)
    shares, slope = torch.zeros_like(scores), torch.zeros_like(scores)
    generator = torch.Generator().manual_seed(0)
    for _ in range(samples):
        noise = torch.randn(scores.shape, generator=generator)
        shares.scatter_add_(1, (scores + noise).argmax(1, keepdim=True), ones)
    generator = torch.Generator().manual_seed(0)
    for _ in range(samples):
        noise = torch.randn(scores.shape, generator=generator)
        best = (scores + noise).argmax(1, keepdim=True)
        slope.addcmul_(vector.gather(1, best), noise)
    return shares.div_(samples), slope.div_(samples)


def record(
    benchmark: BenchmarkFixture,
    found: tuple[Tensor, Tensor],
    given: tuple[Tensor, Tensor],
    noise: str,
) -> None:
    """Keep quality beside speed, on the first thousand rows."""
    scores, vector = (one[:1000].double() for one in given)
    exact = both(lambda x: expected_choice(x, noise), scores, vector)  # type: ignore[arg-type]
    errors = [float((a[:1000] - b).abs().max()) for a, b in zip(found, exact, strict=True)]
    benchmark.extra_info.update(error_of_shares=errors[0], error_of_product=errors[1])


@pytest.mark.parametrize("noise", ["normal", "gumbel"])
def test_exact(benchmark: BenchmarkFixture, noise: str, scores: tuple[Tensor, Tensor]) -> None:
    layer = lambda x: expected_choice(x, noise)  # type: ignore[arg-type]  # noqa: E731
    found = benchmark.pedantic(both, (layer, *scores), rounds=9, warmup_rounds=2)
    record(benchmark, found, scores, noise)


def test_our_draws(benchmark: BenchmarkFixture, scores: tuple[Tensor, Tensor]) -> None:
    layer = PerturbedDecision(one_hot_argmax, samples=100)
    found = benchmark.pedantic(both, (layer, *scores), rounds=2, warmup_rounds=0)
    record(benchmark, found, scores, "normal")


def test_plain_sampler(benchmark: BenchmarkFixture, scores: tuple[Tensor, Tensor]) -> None:
    found = benchmark.pedantic(sampler, (*scores, 100), rounds=3, warmup_rounds=1)
    record(benchmark, found, scores, "normal")


def test_floor_of_reading_the_scores(
    benchmark: BenchmarkFixture, scores: tuple[Tensor, Tensor]
) -> None:
    total = benchmark.pedantic(lambda: scores[0].sum(), rounds=9, warmup_rounds=1)
    assert bool(total.isfinite())
