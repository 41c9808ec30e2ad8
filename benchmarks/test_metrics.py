"""Seconds per metric; run with: pytest benchmarks/test_metrics.py --benchmark-only."""

from collections.abc import Callable

import pytest
import torch

from dfl.budget import Budget
from dfl.data.uplift_data import PotentialOutcomes, UpliftData
from dfl.metrics import (
    Bootstrap,
    TrueScale,
    aucc,
    expected_outcome,
    observed_curve,
    qini,
    true_curve,
)

BUDGETS = [Budget(share=share) for share in (0.1, 0.25, 0.5, 0.75, 1.0)]
PLAN = Bootstrap(draws=200)


def problem(rows: int, treatments: int) -> tuple[UpliftData, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    strength = torch.rand(rows, 1, generator=generator, dtype=torch.float64)
    cost = torch.arange(treatments) * (0.8 + 0.4 * strength)
    revenue = 1 + 3 * strength * cost.sqrt()
    treatment = torch.randint(0, treatments, (rows,), generator=generator)
    received = treatment[:, None]
    shock = torch.randn(rows, generator=generator, dtype=torch.float64)
    data = UpliftData(
        features=strength,
        treatment=treatment,
        revenue=revenue.gather(1, received).squeeze(1) + shock,
        cost=cost.gather(1, received).squeeze(1),
        treatments=treatments,
        source="rct",
        truth=PotentialOutcomes(revenue, cost),
    )
    noise = torch.randn(revenue.shape, generator=generator, dtype=torch.float64)
    return data, revenue + 0.3 * noise, cost + 0.01 * noise.abs()


METRICS: dict[str, tuple[int, Callable[..., object]]] = {
    "observed-curve": (5, observed_curve),
    "true-curve": (5, lambda data, revenue, cost: true_curve(data.truth, revenue, cost)),
    "true-scale": (5, lambda data, revenue, cost: TrueScale.of(data.truth, BUDGETS)),
    "eom": (5, lambda data, *model: expected_outcome(data, *model, BUDGETS, bootstrap=PLAN)),
    "aucc": (2, lambda data, revenue, cost: aucc(data, revenue[:, 1], bootstrap=PLAN)),
    "qini": (2, lambda data, revenue, cost: qini(data, revenue[:, 1], bootstrap=PLAN)),
}


SIZES = [10_000, 100_000, pytest.param(1_000_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("name", METRICS)
def test_metric(benchmark, name: str, rows: int) -> None:
    treatments, metric = METRICS[name]
    arguments = problem(rows, treatments)
    benchmark.extra_info.update(
        {"rows": rows, "treatments": treatments, "draws": PLAN.draws, "seed": 0, "device": "cpu"}
    )
    benchmark.pedantic(
        metric,
        arguments,
        rounds=1 if rows > 100_000 else 3,
        warmup_rounds=1 if rows < 100_000 else 0,
    )
