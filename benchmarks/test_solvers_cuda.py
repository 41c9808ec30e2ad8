"""The same solve on a GPU, as a share of the device's copy bandwidth. Needs a CUDA device.

``python -m pytest benchmarks/test_solvers_cuda.py --benchmark-only
--benchmark-json=benchmarks/results/solvers_cuda.json``
"""

import time
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual
from dfl.solvers.passes import Backend

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

TREATMENTS = 8


def market(rows: int) -> AllocationProblem:
    """Make the problem of test_solvers.py on the device."""
    draw = torch.Generator("cuda").manual_seed(0)
    cost = torch.rand(rows, TREATMENTS, generator=draw, device="cuda")
    cost[:, 0] = 0
    cost = cost.cumsum(1)
    revenue = torch.rand(rows, TREATMENTS, generator=draw, device="cuda")
    revenue = revenue.mul_(0.7 ** torch.arange(TREATMENTS, device="cuda")).cumsum(1)
    return AllocationProblem(revenue, cost, float(cost[:, -1].sum(dtype=torch.float64)) / 3)


def seconds(run: Callable[[], object]) -> float:
    """Return the least time of five runs, each waited for."""
    taken = []
    for _ in range(5):
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return min(taken)


@pytest.mark.parametrize("backend", ["torch", "compile"])
@pytest.mark.parametrize("rows", [1_000_000, 10_000_000, 100_000_000])
def test_greedy_dual_on_a_gpu(benchmark: BenchmarkFixture, backend: Backend, rows: int) -> None:
    problem = market(rows)
    solver = GreedyDual(backend=backend)
    target = torch.empty_like(problem.revenue)

    def solve() -> None:
        solver.solve(problem)
        torch.cuda.synchronize()

    solve()
    copy = seconds(lambda: target.copy_(problem.revenue))  # reads one input, writes as much
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    benchmark.pedantic(solve, rounds=5, warmup_rounds=1)
    inputs = 2 * problem.revenue.numel() * problem.revenue.element_size()
    bandwidth = inputs / copy
    benchmark.extra_info.update(
        name=f"greedy-dual, {backend}, cuda",
        rows=rows,
        treatments=TREATMENTS,
        gpu=torch.cuda.get_device_name(),
        copy_gb_per_s=bandwidth / 1e9,
        share_of_copy_bandwidth=inputs / benchmark.stats.stats.min / bandwidth,
        peak_over_inputs=(torch.cuda.max_memory_allocated() - before) / inputs,
    )
