"""Every registered solver, beside the papers' bisection and the floor of reading the inputs.

Off by default. Run with ``pytest benchmarks/test_solvers.py --benchmark-only``; inputs are
float32. ``extra_info`` of the saved JSON holds the size, the certified gap and the versions.
"""

from functools import lru_cache

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from dfl.problem import Allocation, AllocationProblem, ObservedCost
from dfl.solvers import SOLVERS, DualBisection, GreedyDual, decide, match_intervals

SIZES = [(rows, treatments) for rows in (10_000, 100_000, 1_000_000) for treatments in (2, 5, 8)]
PASSES = 50  # of the papers' bisection


@lru_cache(maxsize=1)
def market(rows: int, treatments: int) -> AllocationProblem:
    """Make a problem of noisy concave responses; the budget is a third of the largest spend."""
    draw = torch.Generator().manual_seed(0)
    step, gain = torch.rand(2, rows, treatments, generator=draw)
    step[:, 0] = 0
    cost = step.cumsum(1)
    revenue = (gain * 0.7 ** torch.arange(treatments)).cumsum(1)
    return AllocationProblem(revenue, cost, float(cost[:, -1].sum(dtype=torch.float64)) / 3)


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def problem(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> AllocationProblem:
    """A problem of each size; its size names the group of the table."""
    rows, treatments = request.param
    benchmark.group = f"solvers N={rows} M={treatments}"
    benchmark.extra_info.update(
        rows=rows,
        treatments=treatments,
        dtype="float32",
        device="cpu",
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    return market(rows, treatments)


def record(benchmark: BenchmarkFixture, found: Allocation) -> None:
    """Keep quality beside speed."""
    benchmark.extra_info.update(
        gap=found.gap,
        revenue=float(found.revenue),
        cost=float(found.cost),
        upper_bound=float(found.upper_bound),
    )


def papers_bisection(revenue: Tensor, cost: Tensor, budget: float) -> Tensor:
    """Fifty passes of ``argmax(revenue - multiplier * cost)``, as the papers write it."""
    low, high = 0.0, float((revenue / cost.clamp_min(1e-6))[:, 1:].max())
    for _ in range(PASSES):
        middle = (low + high) / 2
        choice = (revenue - middle * cost).argmax(1, keepdim=True)
        if float(cost.gather(1, choice).sum(dtype=torch.float64)) > budget:
            low = middle
        else:
            high = middle
    return (revenue - high * cost).argmax(1)


@pytest.mark.parametrize("name", SOLVERS.names())
def test_solve(benchmark: BenchmarkFixture, name: str, problem: AllocationProblem) -> None:
    solver = SOLVERS.load(name)()
    found = benchmark.pedantic(solver.solve, (problem,), rounds=3, warmup_rounds=1)
    record(benchmark, found)


def test_papers_bisection(benchmark: BenchmarkFixture, problem: AllocationProblem) -> None:
    inputs = (problem.revenue, problem.cost, float(problem.budget))
    choice = benchmark.pedantic(papers_bisection, inputs, rounds=2, warmup_rounds=1)
    revenue = float(problem.revenue.gather(1, choice[:, None]).sum(dtype=torch.float64))
    bound = float(GreedyDual().solve(problem).upper_bound)
    benchmark.extra_info.update(revenue=revenue, gap=(bound - revenue) / bound)


def test_floor_of_reading_both_inputs(
    benchmark: BenchmarkFixture, problem: AllocationProblem
) -> None:
    def read() -> Tensor:
        return problem.revenue.sum() + problem.cost.sum()

    total = benchmark.pedantic(read, rounds=5, warmup_rounds=1)
    assert bool(total.isfinite())


def test_whole_path(benchmark: BenchmarkFixture, problem: AllocationProblem) -> None:
    path = benchmark.pedantic(GreedyDual().path, (problem,), rounds=3, warmup_rounds=1)
    benchmark.extra_info["points"] = path.costs.shape[0]


def test_look_up_on_a_path(benchmark: BenchmarkFixture, problem: AllocationProblem) -> None:
    path = GreedyDual().path(problem)
    found = benchmark.pedantic(path.at, (problem.budget,), rounds=3, warmup_rounds=1)
    record(benchmark, found)


def test_decide(benchmark: BenchmarkFixture, problem: AllocationProblem) -> None:
    inputs = (problem.revenue, problem.cost, 0.4)
    choice = benchmark.pedantic(decide, inputs, rounds=3, warmup_rounds=1)
    assert choice.shape == (problem.rows,)


def test_match_intervals(benchmark: BenchmarkFixture, problem: AllocationProblem) -> None:
    treatment = torch.arange(problem.rows) % problem.treatments
    inputs = (problem.revenue, problem.cost, treatment)
    low, _ = benchmark.pedantic(match_intervals, inputs, rounds=3, warmup_rounds=1)
    assert bool((low >= 0).all())


@pytest.mark.parametrize("rows", [500, 2_000, 5_000])
def test_training_step_on_observed_costs(benchmark: BenchmarkFixture, rows: int) -> None:
    """What training pays per network and step: problem built, multiplier found."""
    benchmark.group = f"observed N={rows} M=5"
    given = market(rows, 5)
    treatment = torch.arange(rows) % 5
    cost = given.cost.gather(1, treatment[:, None])[:, 0]
    weight = torch.full((rows,), 5.0)

    def step() -> Allocation:
        logs = ObservedCost(treatment, cost, weight)
        return DualBisection().solve(
            AllocationProblem(given.revenue, given.cost, given.budget, logs)
        )

    found = benchmark(step)
    benchmark.extra_info.update(spend=float(found.cost), budget=float(given.budget))
