"""Seconds to make data; run with: pytest benchmarks/test_simulators.py --benchmark-only."""

import resource

import pytest
import torch

from dfl.data import (
    AbstractSimulator,
    CouponSimulator,
    CriteoLikeSimulator,
    HybridData,
    PartSizes,
    to_hybrid,
)
from dfl.seeds import stream

SIMULATORS: dict[str, type[AbstractSimulator]] = {
    "coupon": CouponSimulator,
    "criteo-like": CriteoLikeSimulator,
}
SIZES = [
    pytest.param(PartSizes(), id="default"),
    pytest.param(PartSizes.paper(), id="paper", marks=pytest.mark.slow),
]


def largest_error(hybrid: HybridData) -> float:
    """Largest distance of an observed arm mean of the test part from the truth, in errors."""
    data = hybrid.test
    assert data.truth is not None
    errors = []
    for arm in range(data.treatments):
        rows = data.treatment == arm
        difference = (data.revenue - data.truth.revenue[:, arm])[rows].double()
        errors.append(difference.mean() / (difference.std() / len(difference) ** 0.5))
    return float(torch.stack(errors).abs().max())


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", SIMULATORS)
def test_simulator(benchmark, name: str, sizes: PartSizes) -> None:
    simulator = SIMULATORS[name](sizes=sizes, hidden_confounding=0.5)
    large = sizes == PartSizes.paper()
    hybrid = benchmark.pedantic(
        simulator.hybrid, args=(0,), rounds=1 if large else 5, warmup_rounds=0 if large else 1
    )
    parts = (hybrid.rct, hybrid.obs, hybrid.validation, hybrid.test)
    benchmark.extra_info.update(
        {
            "rows": sum(map(len, parts)),
            "threads": torch.get_num_threads(),
            "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            "seed": 0,
            "device": "cpu",
            "largest_error_of_an_arm_mean": largest_error(hybrid),
        }
    )


@pytest.mark.parametrize("rows", [50_000, pytest.param(2_000_000, marks=pytest.mark.slow)])
def test_to_hybrid(benchmark, rows: int) -> None:
    data = CouponSimulator().draw(rows, generator=stream(0, "experiment"))
    hybrid = benchmark.pedantic(
        to_hybrid, args=(data,), kwargs={"seed": 0}, rounds=3, warmup_rounds=1
    )
    benchmark.extra_info.update({"rows": rows, "kept": len(hybrid.obs), "seed": 0, "device": "cpu"})
