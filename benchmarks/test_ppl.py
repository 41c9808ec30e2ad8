"""The decision loss PPL with its gradient: ours, the plain formula, and both compiled.

Off by default. Run with ``pytest benchmarks/test_ppl.py --benchmark-only``; float32, one thread.
Every case checks its gradient against the plain formula's. The plain formula is
``softmax((revenue - multiplier * cost) / temperature, dim=1)`` contracted with the weights.
"""

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.testing import assert_close

from dfl.layers import Price, Softmax, Softness
from dfl.losses import LoggedBatch, PrimalPolicy

MULTIPLIER, TEMPERATURE = 0.7, 0.3
SIZES = [(4096, 5), (100_000, 8), (1_000_000, 8)]
Found = tuple[Tensor, ...]


@lru_cache(maxsize=1)
def problem(rows: int, treatments: int) -> tuple[Tensor, Tensor, LoggedBatch]:
    draw = torch.Generator().manual_seed(0)
    revenue, cost = torch.rand(2, rows, treatments, generator=draw)
    outcome, paid = torch.rand(2, rows, generator=draw)
    treatment = torch.arange(rows) % treatments
    weight = torch.full((rows,), float(treatments))
    return revenue, cost, LoggedBatch(treatment, outcome, paid, weight)


def plain_loss(revenue: Tensor, cost: Tensor, batch: LoggedBatch) -> Tensor:
    shares = ((revenue - MULTIPLIER * cost) / TEMPERATURE).softmax(dim=1)
    received = shares.gather(1, batch.treatment[:, None]).squeeze(1)
    return -(batch.weight * received * (batch.revenue - MULTIPLIER * batch.cost)).mean()


OURS = PrimalPolicy(
    layer=Softmax(softness=Softness(TEMPERATURE, "absolute"), price=Price(multiplier=MULTIPLIER)),
    estimator="horvitz-thompson",
)


def our_loss(revenue: Tensor, cost: Tensor, batch: LoggedBatch) -> Tensor:
    return OURS(revenue, cost, batch, 1.0)


def with_gradient(
    loss: Callable[[Tensor, Tensor, LoggedBatch], Tensor], rows: int, treatments: int
) -> Callable[[], Found]:
    revenue, cost, batch = problem(rows, treatments)

    def step() -> Found:
        inputs = (revenue.detach().requires_grad_(), cost.detach().requires_grad_())
        value = loss(*inputs, batch)
        return (value.detach(), *torch.autograd.grad(value, inputs))

    return step


@pytest.mark.parametrize(("rows", "treatments"), SIZES)
@pytest.mark.parametrize("name", ["ours", "plain", "ours-compiled", "plain-compiled"])
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of torch's own compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_loss_and_gradient(
    benchmark: BenchmarkFixture, name: str, rows: int, treatments: int
) -> None:
    benchmark.group = f"PPL with gradient N={rows} M={treatments}"
    loss = our_loss if name.startswith("ours") else plain_loss
    if name.endswith("compiled"):
        torch.compiler.reset()
        loss = torch.compile(loss)
    found = benchmark.pedantic(
        with_gradient(loss, rows, treatments), rounds=9, warmup_rounds=2, iterations=1
    )
    expected = with_gradient(plain_loss, rows, treatments)()
    scale = float(expected[1].abs().max())
    benchmark.extra_info["error"] = float((found[1] - expected[1]).abs().max()) / scale
    assert_close(found, expected, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize(("rows", "treatments"), SIZES)
def test_floor_of_reading_both_inputs(
    benchmark: BenchmarkFixture, rows: int, treatments: int
) -> None:
    benchmark.group = f"PPL with gradient N={rows} M={treatments}"
    revenue, cost, _ = problem(rows, treatments)
    total = benchmark.pedantic(lambda: revenue.sum() + cost.sum(), rounds=9, warmup_rounds=2)
    assert bool(total.isfinite())
