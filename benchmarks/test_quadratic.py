"""The regularised linear program: closed form beside cvxpylayers alone, forward and backward.

Off by default. Run with ``pytest benchmarks/test_quadratic.py --benchmark-only``; one thread.
cvxpylayers stands as its documentation would write this problem well: flat, built and warmed up
outside of the timing, one cone over all people, Clarabel at 1e-8.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from dfl.layers import Price, Quadratic, Softmax, Softness
from dfl.layers.linear_program import LinearProgram

TEMPERATURE = 0.3
ROUNDS = {"quadratic": 200, "cvxpylayers": 7, "linear-program": 7}  # milliseconds, or a second
SMALL = [20, 100, 300, 1_000]
MILLION = 1_000_000
Problem = tuple[Tensor, Tensor, float, Tensor]


@lru_cache(maxsize=1)
def problem(rows: int, treatments: int, dtype: torch.dtype) -> Problem:
    """Return revenue, cost, a budget that binds, and the gradient that comes in."""
    draw = torch.Generator().manual_seed(0)
    revenue, cost, slope = torch.rand(3, rows, treatments, generator=draw, dtype=dtype)
    return revenue, cost, 0.2 * rows, slope


def both_ways(shares_of: Callable[[Tensor, Tensor, float], Tensor], given: Problem) -> Any:
    revenue, cost, budget, slope = given

    def step() -> tuple[Tensor, ...]:
        inputs = (revenue.detach().requires_grad_(), cost.detach().requires_grad_())
        shares = shares_of(*inputs, budget)
        return (shares.detach(), *torch.autograd.grad(shares, inputs, slope))

    return step


@lru_cache(maxsize=1)
def peer(rows: int, treatments: int) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Build cvxpylayers' program, without our layer around it."""
    import cvxpy
    import numpy
    from cvxpylayers.torch import CvxpyLayer
    from scipy import sparse

    size = rows * treatments
    shares = cvxpy.Variable(size)
    gain, cost, budget = cvxpy.Parameter(size), cvxpy.Parameter(size), cvxpy.Parameter()
    groups = sparse.kron(sparse.eye(rows), numpy.ones((1, treatments)), format="csr")
    objective = gain @ shares - cvxpy.sum_squares(shares) / 2
    constraints = [cost @ shares <= budget, groups @ shares == 1, shares >= 0]
    program = cvxpy.Problem(cvxpy.Maximize(objective), constraints)
    layer = CvxpyLayer(program, [gain, cost, budget], [shares])
    names = ("tol_gap_abs", "tol_gap_rel", "tol_feas")
    options = {"solve_method": "Clarabel", "n_jobs_forward": 1, **dict.fromkeys(names, 1e-8)}

    def solve(revenue: Tensor, cost: Tensor, budget: float) -> Tensor:
        money = torch.tensor(budget, dtype=torch.float64)
        gain = (revenue / TEMPERATURE).flatten()
        (found,) = layer(gain, cost.flatten(), money, solver_args=options)
        return found.reshape(revenue.shape)

    return solve


@lru_cache(maxsize=1)
def layer() -> Quadratic:
    return Quadratic(softness=Softness(TEMPERATURE, "absolute"))


def exact(revenue: Tensor, cost: Tensor, budget: float) -> Tensor:
    return layer()(revenue, cost, budget).shares


def ours_through_cvxpylayers(revenue: Tensor, cost: Tensor, budget: float) -> Tensor:
    return LinearProgram(softness=Softness(TEMPERATURE, "absolute"))(revenue, cost, budget).shares


@pytest.mark.parametrize("rows", SMALL)
@pytest.mark.parametrize("name", ["quadratic", "cvxpylayers", "linear-program"])
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning")
def test_against_cvxpylayers(benchmark: BenchmarkFixture, name: str, rows: int) -> None:
    benchmark.group = f"regularised linear program, both ways, N={rows} M=5 float64"
    given = problem(rows, 5, torch.float64)
    ways = {"quadratic": exact, "linear-program": ours_through_cvxpylayers}
    shares_of = ways.get(name) or peer(rows, 5)
    found = benchmark.pedantic(both_ways(shares_of, given), rounds=ROUNDS[name], warmup_rounds=3)
    expected = both_ways(exact, given)()
    benchmark.extra_info["value_error"] = float((found[0] - expected[0]).abs().max())
    benchmark.extra_info["gradient_error"] = float(
        (found[1] - expected[1]).norm() / expected[1].norm()
    )
    assert float((found[0] - expected[0]).abs().max()) < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("scale", ["absolute", "relative"])
@pytest.mark.parametrize("kind", [Quadratic, Softmax], ids=["quadratic", "softmax-by-shares"])
def test_a_million_people(
    benchmark: BenchmarkFixture, kind: Any, scale: str, dtype: torch.dtype
) -> None:
    benchmark.group = f"a million people, both ways, M=8 {dtype}"
    options: dict[str, Any] = {"softness": Softness(TEMPERATURE, scale)}  # type: ignore[arg-type]
    if kind is Softmax:
        options |= {"price": Price(met_by="shares"), "multiplier_gradient": True}
    made = kind(**options)
    given = problem(MILLION, 8, dtype)
    step = both_ways(lambda *inputs: made(*inputs).shares, given)
    shares, by_revenue, _ = benchmark.pedantic(step, rounds=5, warmup_rounds=1)
    spend = float((shares * given[1]).sum(dtype=torch.float64))
    benchmark.extra_info["spend_over_budget"] = spend / given[2] - 1
    assert spend <= given[2] * (1 + 1e-5)
    assert bool(by_revenue.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_floor_of_reading_both_inputs(benchmark: BenchmarkFixture, dtype: torch.dtype) -> None:
    benchmark.group = f"a million people, both ways, M=8 {dtype}"
    revenue, cost, _, _ = problem(MILLION, 8, dtype)
    total = benchmark.pedantic(lambda: revenue.sum() + cost.sum(), rounds=9, warmup_rounds=2)
    assert bool(total.isfinite())
