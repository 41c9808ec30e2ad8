"""The exact allocator beside the papers' bisection, LP solvers, and the floor of reading inputs.

Off by default. ``make bench-solvers`` runs it and writes the table and the plot of
docs/solvers.md. Inputs are float32; times are CPU seconds of one thread, so that other programs
on the machine do not count; ``extra_info`` of the saved JSON holds size, gap and versions.
"""

import ctypes
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.optimize import linprog
from scipy.sparse import coo_array
from torch import Tensor

from dfl.problem import Allocation, AllocationProblem, ObservedCost
from dfl.solvers import SOLVERS, DualBisection, GreedyDual, decide, hull_steps, match_intervals
from dfl.solvers.passes import Backend

pytestmark = pytest.mark.benchmark(timer=time.process_time)

ROWS, TREATMENTS = (10_000, 100_000, 1_000_000, 10_000_000), (2, 5, 8, 16)
SIZES = [*((rows, many) for many in TREATMENTS for rows in ROWS), (1_000_000, 32)]
SMALLER = [size for size in SIZES if size[0] <= 1_000_000]
LP_SIZES = [(1_000, 5), (10_000, 5), (10_000, 8)]
MILLION = [(1_000_000, 8)]
PASSES = 50  # of the papers' bisection


@lru_cache(maxsize=1)
def market(rows: int, treatments: int) -> AllocationProblem:
    """Make a problem of noisy concave responses; the budget is a third of the largest spend."""
    draw = torch.Generator().manual_seed(0)
    step, gain = torch.rand(2, rows, treatments, generator=draw)
    step[:, 0] = 0
    cost = step.cumsum(1)
    revenue = gain.mul_(0.7 ** torch.arange(treatments)).cumsum(1)
    return AllocationProblem(revenue, cost, float(cost[:, -1].sum(dtype=torch.float64)) / 3)


def over(sizes: list[tuple[int, int]]) -> pytest.MarkDecorator:
    """Run a benchmark at some sizes."""
    return pytest.mark.parametrize("size", sizes, ids=lambda size: f"{size[0]}x{size[1]}")


def posed(benchmark: BenchmarkFixture, size: tuple[int, int], name: str) -> AllocationProblem:
    """Return the problem of a size and write down what is measured on it."""
    rows, treatments = size
    benchmark.group = f"N={rows} M={treatments}"
    benchmark.extra_info.update(
        name=name,
        rows=rows,
        treatments=treatments,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    return market(rows, treatments)


def rounds(size: tuple[int, int]) -> int:
    """Return how often to repeat: small problems more often."""
    return max(3, min(15, 10_000_000 // (size[0] * size[1])))


def record(benchmark: BenchmarkFixture, found: Allocation) -> None:
    """Keep quality beside speed."""
    benchmark.extra_info.update(
        gap=found.gap, revenue=float(found.revenue), upper_bound=float(found.upper_bound)
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


@over(SIZES)
def test_floor(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    problem = posed(benchmark, size, "floor: reading both inputs")

    def read() -> Tensor:
        return problem.revenue.sum() + problem.cost.sum()

    total = benchmark.pedantic(read, rounds=rounds(size), warmup_rounds=1)
    assert bool(total.isfinite())


@over(SIZES)
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_greedy_dual(benchmark: BenchmarkFixture, backend: Backend, size: tuple[int, int]) -> None:
    problem = posed(benchmark, size, f"greedy-dual, {backend}")
    solver = GreedyDual(backend=backend)
    found = benchmark.pedantic(solver.solve, (problem,), rounds=rounds(size), warmup_rounds=2)
    record(benchmark, found)


def resident(field: str) -> int:
    """Return bytes of memory in use (VmRSS), or most used since the last reset (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


@over([(10_000_000, 2), (10_000_000, 8)])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_memory(benchmark: BenchmarkFixture, backend: Backend, size: tuple[int, int]) -> None:
    """Most memory above the inputs, as a share of them; Linux alone tells."""
    problem = posed(benchmark, size, f"memory, {backend}")
    solver = GreedyDual(backend=backend)
    solver.solve(problem)
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # gives back what is free, so that it counts again
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets VmHWM
    before = resident("VmRSS")
    benchmark.pedantic(solver.solve, (problem,), rounds=1)
    inputs = 2 * problem.revenue.numel() * problem.revenue.element_size()
    benchmark.extra_info["peak_over_inputs"] = (resident("VmHWM") - before) / inputs


@over(MILLION)
def test_greedy_dual_compiled(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    problem = posed(benchmark, size, "greedy-dual, compile")
    solver = GreedyDual(backend="compile")
    started = time.perf_counter()
    solver.solve(problem)
    benchmark.extra_info["first_call_s"] = time.perf_counter() - started
    found = benchmark.pedantic(solver.solve, (problem,), rounds=7, warmup_rounds=2)
    record(benchmark, found)


@over(SIZES)
def test_papers_bisection(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    problem = posed(benchmark, size, "bisection of the papers, 50 passes")
    inputs = (problem.revenue, problem.cost, float(problem.budget))
    choice = benchmark.pedantic(papers_bisection, inputs, rounds=1 if size[0] > 1e6 else 3)
    revenue = float(problem.revenue.gather(1, choice[:, None]).sum(dtype=torch.float64))
    bound = float(GreedyDual().solve(problem).upper_bound)
    benchmark.extra_info.update(revenue=revenue, gap=(bound - revenue) / bound)


@over(SMALLER)
def test_dual_bisection(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    problem = posed(benchmark, size, "dual-bisection")
    found = benchmark.pedantic(DualBisection().solve, (problem,), rounds=3, warmup_rounds=1)
    record(benchmark, found)


@over(LP_SIZES)
def test_highs_alone(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    """SciPy's HiGHS on the sparse relaxation, nothing of ours around it."""
    problem = posed(benchmark, size, "HiGHS (SciPy)")
    every = np.arange(problem.revenue.numel())
    people = coo_array((np.ones(every.size), (every // problem.treatments, every)))
    money = coo_array(problem.cost.double().numpy().reshape(1, -1))
    value = -problem.revenue.double().numpy().ravel()

    def solve() -> float:
        solution = linprog(
            value, A_ub=money, b_ub=[float(problem.budget)], A_eq=people, b_eq=np.ones(problem.rows)
        )
        return -float(solution.fun)

    optimum = benchmark.pedantic(solve, rounds=1)
    assert optimum == pytest.approx(float(GreedyDual().solve(problem).upper_bound), rel=1e-6)


@over(LP_SIZES)
@pytest.mark.parametrize("engine", ["highs", "pdlp"])
def test_linear_program(benchmark: BenchmarkFixture, engine: str, size: tuple[int, int]) -> None:
    problem = posed(benchmark, size, f"linear-program, {engine}")
    solver = SOLVERS.load("linear-program")(engine=engine)
    found = benchmark.pedantic(solver.solve, (problem,), rounds=1)
    record(benchmark, found)


@over(SMALLER)
def test_whole_path(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    problem = posed(benchmark, size, "whole path, numba")
    solver = GreedyDual(backend="numba")
    path = benchmark.pedantic(solver.path, (problem,), rounds=5, warmup_rounds=1)
    benchmark.extra_info["points"] = path.costs.shape[0]


@over(SMALLER)
def test_torch_hull_and_sort(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    """What a path cannot do without, in plain torch."""
    problem = posed(benchmark, size, "hull and sort of all slopes, torch")

    def sort() -> Tensor:
        steps = hull_steps(problem.revenue, problem.cost, backend="torch")
        return steps.multiplier.sort(descending=True).values

    benchmark.pedantic(sort, rounds=3, warmup_rounds=1)


@over(SMALLER)
def test_look_up_on_a_path(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    problem = posed(benchmark, size, "look-up on a path")
    path = GreedyDual().path(problem)
    found = benchmark.pedantic(path.at, (problem.budget,), rounds=5, warmup_rounds=1)
    record(benchmark, found)


@over(SMALLER)
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_decide(benchmark: BenchmarkFixture, backend: Backend, size: tuple[int, int]) -> None:
    problem = posed(benchmark, size, f"decide, {backend}")
    inputs = (problem.revenue, problem.cost, 0.4)
    choice = benchmark.pedantic(
        decide, inputs, {"backend": backend}, rounds=rounds(size), warmup_rounds=2
    )
    assert choice.shape == (problem.rows,)


@over(SMALLER)
def test_argmax(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    problem = posed(benchmark, size, "argmax(1), torch")

    def choose() -> Tensor:
        return (problem.revenue - 0.4 * problem.cost).argmax(1)

    choice = benchmark.pedantic(choose, rounds=rounds(size), warmup_rounds=1)
    assert choice.shape == (problem.rows,)


@over(SIZES)
def test_checking_a_problem(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    """What ``AllocationProblem(...)`` costs before any solver runs."""
    given = posed(benchmark, size, "checking the inputs")
    inputs = (given.revenue, given.cost, given.budget)
    benchmark.pedantic(AllocationProblem, inputs, rounds=rounds(size), warmup_rounds=1)


@over(SMALLER)
def test_match_intervals(benchmark: BenchmarkFixture, size: tuple[int, int]) -> None:
    problem = posed(benchmark, size, "match intervals")
    treatment = torch.arange(problem.rows) % problem.treatments
    inputs = (problem.revenue, problem.cost, treatment)
    low, _ = benchmark.pedantic(match_intervals, inputs, rounds=3, warmup_rounds=1)
    assert bool((low >= 0).all())


@over([(500, 5), (2_000, 5), (5_000, 5)])
def test_training_step_on_observed_costs(
    benchmark: BenchmarkFixture, size: tuple[int, int]
) -> None:
    """What training pays per network and step: problem built, multiplier found."""
    given = posed(benchmark, size, "training step on observed costs")
    treatment = torch.arange(given.rows) % given.treatments
    cost = given.cost.gather(1, treatment[:, None])[:, 0]
    weight = torch.full((given.rows,), float(given.treatments))

    def step() -> Allocation:
        logs = ObservedCost(treatment, cost, weight)
        return DualBisection().solve(
            AllocationProblem(given.revenue, given.cost, given.budget, logs)
        )

    found = benchmark(step)
    benchmark.extra_info.update(spend=float(found.cost), budget=float(given.budget))
