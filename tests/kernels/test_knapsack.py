"""The knapsack's kernels give what plain torch gives, in Triton's interpreter where no GPU is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual, decide
from dfl.solvers.passes import narrowing as narrowing_module
from dfl.solvers.passes import passes_for
from tests.solvers.instances import KINDS, problem, problems

pytest.importorskip("triton", reason="needs the extra triton")

CPU = torch.device("cpu")
TORCH = passes_for("torch", CPU)
SIZES = [(1, 1), (300, 2), (256, 5), (257, 8), (300, 9), (300, 33)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "treatments"), SIZES)
def test_decisions_are_the_same(
    rows: int, treatments: int, dtype: torch.dtype, kind: str, device: torch.device
) -> None:
    many = problem(2, rows=rows, treatments=treatments, kind=kind)
    revenue, cost = many.revenue.to(device, dtype), many.cost.to(device, dtype)
    breakpoints = TORCH.hull(revenue, cost).multiplier[:3].to(dtype).tolist()
    for price in (0.0, 0.3, 1e30, *breakpoints):  # at breakpoints two treatments are tied
        found = decide(revenue, cost, price, backend="triton")
        assert found.equal(decide(revenue, cost, price, backend="torch"))
        assert (found.dtype, found.device) == (torch.int64, revenue.device)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, where quotients overflow
@settings(max_examples=10)
@given(problem=problems(), price=st.sampled_from([0.0, 0.5, 1.0, 1e6]))
def test_decisions_are_the_same_at_all_magnitudes(problem: AllocationProblem, price: float) -> None:
    inputs = problem.revenue, problem.cost, price
    assert decide(*inputs, backend="triton").equal(decide(*inputs, backend="torch"))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, where quotients overflow
@pytest.mark.parametrize("size", [1e-44, 1e-38, 3e38])
def test_decisions_at_the_ends_of_float32_are_the_same(size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    revenue, cost = torch.randint(-4, 5, (2, 300, 12), generator=generator) / 4
    for amounts in ((revenue * size, cost), (revenue, cost * size)):
        for price in (0.0, 1.0):
            found = decide(*amounts, price, backend="triton")
            assert found.equal(decide(*amounts, price, backend="torch"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "treatments"), [(5, 1), (1_001, 2), (512, 8), (700, 33)])
def test_a_sift_is_the_same(
    rows: int, treatments: int, dtype: torch.dtype, kind: str, device: torch.device
) -> None:
    many = problem(2, rows=rows, treatments=treatments, kind=kind)
    revenue, cost = many.revenue.to(device, dtype), many.cost.to(device, dtype)
    inputs = (revenue, cost, 0.701, 0.7305)
    expected, found = TORCH.sift(*inputs), passes_for("triton", device).sift(*inputs)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert found.choice.equal(expected.choice)
    assert found.others.equal(expected.others)
    assert found.others_revenue.equal(expected.others_revenue)
    assert found.others_cost.equal(expected.others_cost)
    assert found.cost == pytest.approx(expected.cost, rel=1e-12)
    assert found.revenue == pytest.approx(expected.revenue, rel=1e-12)


def test_a_sift_that_leaves_most_people_over_gives_up() -> None:
    many = problem(2, rows=1_000, treatments=3)
    assert passes_for("triton", CPU).sift(many.revenue, many.cost, 0.0, 1e9) is None


def test_nobody_is_decided_and_sifted() -> None:
    nobody, passes = torch.ones(0, 3), passes_for("triton", CPU)
    assert passes.decide(nobody, nobody, 1.0).shape == (0,)
    found = passes.sift(nobody, nobody, 0.1, 0.2)
    assert found is not None
    assert (found.choice.shape, found.cost) == ((0,), 0.0)


def test_inputs_need_not_be_contiguous() -> None:
    many = problem(4, rows=50, treatments=6)
    turned = many.revenue.T.contiguous().T, many.cost.T.contiguous().T
    found = passes_for("triton", CPU).decide(*turned, 0.4)
    assert found.equal(TORCH.decide(many.revenue, many.cost, 0.4))


@pytest.mark.parametrize("kind", ["continuous", "integers", "duplicates"])
def test_the_exact_solver_gives_the_same(
    kind: str, dtype: torch.dtype, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narrowing_module, "_SMALL", 64)  # several brackets, one within another
    many = problem(7, rows=3_000, treatments=4, kind=kind)
    revenue, cost = many.revenue.to(device, dtype), many.cost.to(device, dtype)
    given = AllocationProblem(revenue, cost, float(many.budgets[0]))
    expected = GreedyDual(backend="torch").solve(given)
    found = GreedyDual(backend="triton").solve(given)
    assert float(found.multiplier) == float(expected.multiplier)
    assert float(found.upper_bound) == pytest.approx(float(expected.upper_bound), rel=1e-12)
    assert float(found.cost) <= float(many.budgets[0]) * (1 + 1e-9)
