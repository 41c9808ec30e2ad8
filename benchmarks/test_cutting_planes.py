"""`CuttingPlanes` beside HiGHS and beside the smoothed, accelerated ascent of DuaLip.

Off by default. Run with ``pytest benchmarks/test_cutting_planes.py --benchmark-only``; inputs are
float32, M = 5, K = 3, with capacities or without. ``extra_info`` of the saved JSON holds the
certified gap, the passes over the data and the distance of the bound from the best one known.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.optimize import linprog
from scipy.sparse import coo_array, csc_array
from torch import Tensor

from dfl.problem import AllocationProblem
from dfl.solvers import CuttingPlanes, PricedAllocation
from dfl.solvers.prices.lagrangian import Lagrangian

TREATMENTS, BUDGETS = 5, 3
SIZES = (10_000, 100_000, 1_000_000)
STEPS = (100, 1000)  # of the smoothed ascent


@lru_cache(maxsize=1)
def market(rows: int, capacities: bool) -> AllocationProblem:
    """Make a problem of concave responses; two of the three budgets bind."""
    draw = torch.Generator().manual_seed(0)
    cost = torch.rand(rows, TREATMENTS, BUDGETS, generator=draw).cumsum(1)
    cost[:, 0] = 0
    gain = 2 * torch.rand(rows, TREATMENTS, generator=draw)
    budget = 0.3 * cost[:, -1].sum(0, dtype=torch.float64) * torch.linspace(1, 1.3, BUDGETS)
    capacity = torch.full((TREATMENTS,), torch.inf)
    if capacities:
        capacity[2:] = 0.15 * rows
    revenue = (gain * 0.8 ** torch.arange(TREATMENTS)).cumsum(1)
    return AllocationProblem(revenue, cost, budget, capacity=capacity)


@pytest.fixture(params=[False, True], ids=["budgets", "capacities"])
def capacities(request: pytest.FixtureRequest) -> bool:
    """With a limit of people on three of the treatments, or without."""
    return bool(request.param)


def describe(benchmark: BenchmarkFixture, rows: int, capacities: bool) -> None:
    """Name the group of the table and what was run."""
    kind = "budgets and capacities" if capacities else "budgets"
    benchmark.group = f"cutting-planes N={rows} M={TREATMENTS} K={BUDGETS} {kind}"
    benchmark.extra_info.update(
        rows=rows, device="cpu", threads=torch.get_num_threads(), torch=torch.__version__
    )


def record(benchmark: BenchmarkFixture, found: PricedAllocation) -> None:
    """Keep quality beside speed."""
    benchmark.extra_info.update(
        gap=found.allocation.gap,
        iterations=found.iterations,
        sample_iterations=found.sample_iterations,
        converged=found.converged,
        upper_bound=float(found.allocation.upper_bound),
    )


@pytest.mark.parametrize("rows", SIZES)
def test_cold(benchmark: BenchmarkFixture, rows: int, capacities: bool) -> None:
    describe(benchmark, rows, capacities)
    problem = market(rows, capacities)
    found = benchmark.pedantic(CuttingPlanes().solve_from, (problem,), rounds=3, warmup_rounds=1)
    record(benchmark, found)


@pytest.mark.parametrize("rows", SIZES)
def test_warm_after_three_percent_more_budget(
    benchmark: BenchmarkFixture, rows: int, capacities: bool
) -> None:
    describe(benchmark, rows, capacities)
    problem = market(rows, capacities)
    start = CuttingPlanes().solve_from(problem).prices
    more = replace(problem, budget=1.03 * problem.budgets)
    found = benchmark.pedantic(CuttingPlanes().solve_from, (more, start), rounds=3, warmup_rounds=1)
    record(benchmark, found)


def test_highs(benchmark: BenchmarkFixture, capacities: bool) -> None:
    """The LP relaxation, by the interior point method, the faster of the two here."""
    describe(benchmark, SIZES[0], capacities)
    problem = market(SIZES[0], capacities)
    every = np.arange(SIZES[0] * TREATMENTS)
    people = csc_array(coo_array((np.ones(every.size), (every // TREATMENTS, every))))
    lagrangian = Lagrangian.of(problem)
    use = lagrangian.uses(slice(None))[1][..., lagrangian.active].flatten(0, 1).T
    inputs = {
        "c": -problem.revenue.double().numpy().ravel(),
        "A_ub": csc_array(use.numpy()),
        "b_ub": lagrangian.limit[lagrangian.active].numpy(),
        "A_eq": people,
        "b_eq": np.ones(SIZES[0]),
        "method": "highs-ipm",
    }
    found = benchmark.pedantic(linprog, kwargs=inputs, rounds=1)
    bound = float(CuttingPlanes().solve(problem).upper_bound)
    benchmark.extra_info.update(optimum=-found.fun, distance=abs(bound / -found.fun - 1))


def smoothed_ascent(lagrangian: Lagrangian, steps: int, smoothing: float) -> Tensor:
    """Accelerated projected gradient descent on the dual smoothed by the entropy.

    ``g_s(p) = p . limit + s * sum_i log sum_j exp(score_ij / s)``, with steps of one over the
    local curvature, found by backtracking, and restarts where the value rises.
    """
    revenue, use = lagrangian.uses(slice(None))
    use, limit = use[..., lagrangian.active], lagrangian.limit[lagrangian.active]
    scale = use.amax(dim=(0, 1))
    use, limit = use / scale, limit / scale

    def smoothed(prices: Tensor) -> tuple[Tensor, Tensor]:
        score = (revenue - use @ prices) / smoothing
        share = score.softmax(dim=1)
        value = prices @ limit + smoothing * score.logsumexp(dim=1).sum()
        return value, limit - torch.einsum("ij,ijc->c", share, use)

    prices = ahead = torch.zeros_like(limit)
    step, momentum = 1.0 / revenue.shape[0], 1.0
    last = smoothed(prices)[0]
    for _ in range(steps):
        value, slope = smoothed(ahead)
        while True:
            new = (ahead - step * slope).clamp_min(0)
            move = new - ahead
            found = smoothed(new)[0]
            if found <= value + slope @ move + move @ move / (2 * step) + 1e-12 * value.abs():
                break
            step /= 2
        faster = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        keep = found <= last
        ahead = (new + (momentum - 1) / faster * (new - prices) * keep).clamp_min(0)
        prices, last, momentum, step = new, found, faster if keep else 1.0, 1.2 * step
    full = torch.zeros_like(lagrangian.limit)
    full[lagrangian.active] = prices / scale
    return full


@pytest.mark.parametrize("steps", STEPS)
def test_smoothed_accelerated_ascent(
    benchmark: BenchmarkFixture, steps: int, capacities: bool
) -> None:
    """What DuaLip does, on one machine: how near its bound comes in a number of steps."""
    describe(benchmark, SIZES[0], capacities)
    problem = market(SIZES[0], capacities)
    lagrangian = Lagrangian.of(problem)
    inputs = (lagrangian, steps, 0.01)
    prices = benchmark.pedantic(smoothed_ascent, inputs, rounds=1, warmup_rounds=0)
    best = float(CuttingPlanes().solve(problem).upper_bound)
    benchmark.extra_info["distance"] = lagrangian.evaluate(prices).value / best - 1
