"""Every back end gives what plain torch gives, bit for bit where it says so."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dfl.errors import InvalidValueError, MissingExtraError
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual, decide, hull_steps
from dfl.solvers.passes import Backend, passes_for
from dfl.solvers.passes.base import most_others
from dfl.solvers.passes.decide import price_in
from dfl.solvers.passes.numba_sift import _around
from dfl.solvers.passes.radix import falling_order
from tests.solvers.instances import KINDS, problem, problems

CPU = torch.device("cpu")
COMPILED = pytest.param("compile", 3, marks=pytest.mark.slow)  # minutes of compiling
CASES = [("numba", 1), ("numba", 2), ("numba", 5), ("numba", 9), ("numba", 33), COMPILED]
each_case = pytest.mark.parametrize(("backend", "treatments"), CASES)


TORCH = passes_for("torch", CPU)


@pytest.mark.parametrize("kind", KINDS)
@each_case
def test_hulls_are_the_same(
    backend: Backend, treatments: int, dtype: torch.dtype, kind: str
) -> None:
    passes = passes_for(backend, CPU)
    many = problem(2, rows=300, treatments=treatments, kind=kind)
    inputs = many.revenue.to(dtype), many.cost.to(dtype)
    expected, found = TORCH.hull(*inputs), passes.hull(*inputs)
    for name, column in vars(expected).items():
        assert torch.equal(getattr(found, name), column)
        assert getattr(found, name).dtype == column.dtype


@given(problem=problems())
def test_hulls_are_the_same_at_all_magnitudes(problem: AllocationProblem) -> None:
    expected = hull_steps(problem.revenue, problem.cost, backend="torch")
    found = hull_steps(problem.revenue, problem.cost, backend="numba")
    assert all(torch.equal(getattr(found, name), one) for name, one in vars(expected).items())


@given(problem=problems(), price=st.sampled_from([0.0, 0.5, 1.0, 2.0, 1e6]))
def test_decisions_are_the_same_at_all_magnitudes(problem: AllocationProblem, price: float) -> None:
    inputs = problem.revenue, problem.cost, price
    assert decide(*inputs, backend="numba").equal(decide(*inputs, backend="torch"))


@pytest.mark.parametrize("kind", KINDS)
@each_case
def test_decisions_are_the_same(
    backend: Backend, treatments: int, dtype: torch.dtype, kind: str
) -> None:
    passes = passes_for(backend, CPU)
    many = problem(2, rows=300, treatments=treatments, kind=kind)
    revenue, cost = many.revenue.to(dtype), many.cost.to(dtype)
    breakpoints = TORCH.hull(revenue, cost).multiplier[:10].to(dtype).tolist()
    for price in (0.0, 0.3, *breakpoints):
        chosen = passes.decide(revenue, cost, price)
        assert chosen.equal(TORCH.decide(revenue, cost, price))


BACKENDS: list[Backend] = ["torch", "numba"]


def in_turn(revenue: Tensor, cost: Tensor, price: float) -> list[int]:
    """Let each treatment meet the best one before it, one number after another."""
    chosen = []
    for revenues, costs in zip(revenue.numpy(), cost.numpy(), strict=True):
        best = 0
        for j in range(1, len(revenues)):
            revenue_gain, cost_gain = revenues[j] - revenues[best], costs[j] - costs[best]
            if cost_gain == 0:
                wins = revenue_gain > 0
            else:
                slope = revenue_gain / cost_gain
                wins = slope > price if cost_gain > 0 else slope <= price
            best = j if wins else best
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("treatments", [2, 8, 9, 20])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, where quotients overflow
def test_a_decision_is_the_tournament_of_the_treatments(
    backend: Backend, treatments: int, dtype: torch.dtype, kind: str
) -> None:
    many = problem(2, rows=400, treatments=treatments, kind=kind)
    revenue, cost = many.revenue.to(dtype), many.cost.to(dtype)
    revenue[:100] = revenue[0]  # people all alike
    breakpoints = TORCH.hull(revenue, cost).multiplier[:5].to(dtype).tolist()
    for price in (0.0, 0.3, 1e-30, 1e30, *breakpoints):
        exact = float(torch.tensor(price, dtype=dtype))
        chosen = decide(revenue, cost, exact, backend=backend)
        assert chosen.tolist() == in_turn(revenue, cost, exact)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-20, 1e18, 3e38])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_decisions_at_the_ends_of_float32_are_those_of_the_tournament(
    backend: Backend, size: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    revenue, cost = torch.randint(-4, 5, (2, 300, 12), generator=generator) / 4
    for amounts in ((revenue * size, cost), (revenue, cost * size), (revenue * size, cost * size)):
        for price in (0.0, 1.0, 1e-38):
            exact = float(torch.tensor(price))
            chosen = decide(*amounts, exact, backend=backend)
            assert chosen.tolist() == in_turn(*amounts, exact)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_huge_amount_leaves_the_decisions_of_others_alone(backend: Backend) -> None:
    many = problem(2, rows=400, treatments=12)
    revenue, cost = many.revenue.float(), many.cost.float()
    wanted = decide(revenue, cost, 0.4, backend=backend)
    revenue[7, 3] = 1e30
    wanted[7] = 3
    assert decide(revenue, cost, 0.4, backend=backend).equal(wanted)


@pytest.mark.parametrize("tied", ["nobody", "the first", "the last", "everyone"])
def test_ties_are_met_in_whichever_chunk_they_lie(tied: str, dtype: torch.dtype) -> None:
    revenue, cost = torch.rand(2, 90_001, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    who = {"the first": slice(3), "the last": slice(-2, None), "everyone": slice(None)}
    if tied != "nobody":
        revenue[who[tied]], cost[who[tied]] = torch.tensor([[3, 2, 1.5]]), torch.tensor([[3, 1, 0]])
    found = decide(revenue, cost, 0.5, backend="torch")
    assert found.equal(decide(revenue, cost, 0.5, backend="numba"))
    assert tied == "nobody" or (found[who[tied]] == 2).all()


def test_one_multiplier_may_be_a_number_or_a_tensor(dtype: torch.dtype) -> None:
    many = problem(2, rows=50, treatments=4)
    revenue, cost = many.revenue.to(dtype).view(5, 10, 4), many.cost.to(dtype).view(5, 10, 4)
    wanted = decide(revenue, cost, torch.full((5,), 0.3))
    assert decide(revenue, cost, 0.3).equal(wanted)
    assert decide(revenue, cost, torch.tensor(0.3)).equal(wanted)
    assert decide(revenue[:0], cost[:0], torch.zeros(0)).shape == (0, 10)
    for wrong in (torch.tensor(-1.0), torch.tensor([0, -1.0, 0, 0, 0]), -1.0):
        with pytest.raises(InvalidValueError, match="multiplier must be >= 0, got -1"):
            decide(revenue, cost, wrong)
    with pytest.raises(InvalidValueError, match="multiplier must be >= 0, got nan"):
        decide(revenue, cost, torch.full((5,), torch.nan))


def test_treatments_beyond_what_is_unrolled_are_sifted(dtype: torch.dtype) -> None:
    many = problem(2, rows=400, treatments=300)
    revenue, cost = many.revenue.to(dtype), many.cost.to(dtype)
    revenue[:, 280] = 1e4  # the best one
    found = passes_for("numba", CPU).sift(revenue, cost, 0.7, 0.701)
    assert found is not None
    assert found.choice.dtype == torch.int64
    assert (found.choice == 280).all()
    filled = found.filled(torch.full_like(found.others, 299))
    assert (filled == 299).sum() == found.others.shape[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sift_is_filled_with_the_treatments_of_the_others(backend: Backend) -> None:
    many = problem(2, rows=5_000, treatments=5)
    found = passes_for(backend, CPU).sift(many.revenue, many.cost, 0.701, 0.7305)
    assert found is not None
    wanted = decide(many.revenue, many.cost, 0.7305)
    wanted[found.others] = torch.arange(found.others.shape[0]) % 5
    filled = found.filled(wanted[found.others])
    assert found.others.shape[0] > 10
    assert filled.equal(wanted)
    assert filled.dtype == torch.int64


ENDS = 0.701, 0.7305  # on no breakpoint of whole numbers
of_float32 = pytest.mark.parametrize(
    "ends", [ENDS, tuple(torch.tensor(ENDS).tolist())], ids=["float64 ends", "float32 ends"]
)


@of_float32
@pytest.mark.parametrize("kind", ["continuous", "integers", "negative"])
@pytest.mark.parametrize(("backend", "treatments"), [("torch", 1), ("torch", 5), *CASES])
def test_a_sift_finds_who_is_settled(
    backend: Backend, treatments: int, dtype: torch.dtype, kind: str, ends: tuple[float, float]
) -> None:
    many = problem(2, rows=10_001, treatments=treatments, kind=kind)
    revenue, cost = many.revenue.to(dtype), many.cost.to(dtype)
    found = passes_for(backend, CPU).sift(revenue, cost, *ends)
    best = [decide(revenue.double(), cost.double(), end) for end in ends]
    differs = best[0] != best[1]
    assert found is not None
    assert found.choice.dtype == torch.int64
    assert found.others.dtype == torch.int64
    assert found.others.equal(differs.nonzero()[:, 0])
    assert found.others_revenue.equal(revenue[differs])
    assert found.others_cost.equal(cost[differs])
    if kind == "continuous":
        assert found.choice.equal(best[1].to(found.choice))
    for amount, total in ((cost, found.cost), (revenue, found.revenue)):
        kept = amount.double().gather(1, best[1][:, None])[:, 0][~differs].sum()
        assert total == pytest.approx(float(kept), rel=1e-12)


@of_float32
@pytest.mark.parametrize(("backend", "treatments"), [("torch", 3), *CASES])
@pytest.mark.parametrize("odd", ["a whale", "twins", "huge"])
def test_a_sift_looks_again_where_scores_are_nearly_equal(
    backend: Backend, treatments: int, dtype: torch.dtype, odd: str, ends: tuple[float, float]
) -> None:
    many = problem(3, rows=3_001, treatments=treatments)
    revenue, cost = many.revenue.to(dtype), many.cost.to(dtype)
    if odd == "a whale":
        revenue[70, treatments // 2] = 1e12
    elif odd == "twins":
        revenue[:, -1], cost[:, -1] = revenue[:, 0], cost[:, 0]
    else:
        revenue[5] = torch.finfo(dtype).max / 2
    found = passes_for(backend, CPU).sift(revenue, cost, *ends)
    assert found is not None
    scores = [revenue.double() - end * cost.double() for end in ends]
    choice = found.choice.long()
    picked = scores[1].gather(1, choice[:, None])[:, 0]
    settled = torch.ones_like(choice, dtype=torch.bool).index_fill_(0, found.others, False)
    assert picked[settled].equal(scores[1].amax(1)[settled])
    at_low = scores[0].gather(1, choice[:, None])[:, 0]
    assert settled.equal(at_low >= scores[0].amax(1)) or odd == "huge"


@given(
    low=st.sampled_from([0.0, 1e-46, 1e-40, 0.7, 1.0, 3e38]) | st.floats(0, 1e30),
    over=st.sampled_from([1.5, 2.0, 1e9]),
    kind=st.sampled_from([np.float32, np.float64]),
)
def test_a_bracket_is_widened_to_the_next_numbers_of_a_kind(
    low: float, over: float, kind: type[np.floating[Any]]
) -> None:
    high = max(low * over, 1e-45)
    below, above = _around(low, high, np.dtype(kind))
    assert below <= low < high <= above
    assert (float(kind(below)), float(kind(above))) == (below, above)
    assert float(np.nextafter(kind(below), kind(np.inf))) > low  # none of the kind is nearer
    assert float(np.nextafter(kind(above), kind(-np.inf))) < high
    if kind is np.float64:
        assert (below, above) == (low, high)


@pytest.mark.parametrize(("backend", "treatments"), [("torch", 3), ("numba", 3), COMPILED])
def test_a_sift_that_leaves_most_people_over_gives_up(backend: Backend, treatments: int) -> None:
    many = problem(2, rows=1_000, treatments=treatments)
    assert passes_for(backend, CPU).sift(many.revenue, many.cost, 0.0, 1e9) is None
    assert most_others(1_000) == 250


@pytest.mark.parametrize("kind", KINDS)
@each_case
def test_sketches_are_the_same(
    backend: Backend, treatments: int, dtype: torch.dtype, kind: str
) -> None:
    many = problem(4, rows=500, treatments=treatments, kind=kind)
    inputs = many.revenue.to(dtype), many.cost.to(dtype), 10
    expected, found = TORCH.sketch(*inputs), passes_for(backend, CPU).sketch(*inputs)
    for name, value in vars(expected).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-12, atol=1e-12)


@given(
    values=st.lists(
        st.one_of(st.floats(0, 1e300), st.sampled_from([0.0, 1.0, 1.0 + 2.0**-52, 3.0, 1e-300])),
        max_size=60,
    )
)
def test_multipliers_are_sorted_stably(values: list[float]) -> None:
    multiplier = torch.tensor(values, dtype=torch.float64)
    expected = multiplier.argsort(descending=True, stable=True)
    assert torch.from_numpy(falling_order(multiplier.numpy())).equal(expected)


@pytest.mark.parametrize("rows", [5, 3_000])
def test_many_nearly_equal_multipliers_are_sorted(rows: int) -> None:
    draw = torch.Generator().manual_seed(0)
    multiplier = 1 + 2.0**-50 * torch.randint(4, (rows,), generator=draw).double()
    multiplier[0], multiplier[-1] = 1e-200, 1e200  # so that the leading bits tell nothing
    expected = multiplier.argsort(descending=True, stable=True)
    assert torch.from_numpy(falling_order(multiplier.numpy())).equal(expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("backend", "treatments"), [("numba", 6), COMPILED])
def test_paths_are_the_same(backend: Backend, treatments: int, kind: str) -> None:
    passes = passes_for(backend, CPU)
    many = problem(4, rows=200, treatments=treatments, kind=kind)
    steps = TORCH.hull(many.revenue, many.cost)
    expected, found = TORCH.along(steps, 3.0, -5.0), passes.along(steps, 3.0, -5.0)
    assert found.order.equal(expected.order)
    assert found.multipliers.equal(expected.multipliers)
    torch.testing.assert_close(found.costs, expected.costs, rtol=1e-13, atol=1e-12)
    torch.testing.assert_close(found.revenues, expected.revenues, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize(("backend", "treatments"), [("numba", 6), COMPILED])
def test_inputs_need_not_be_contiguous(backend: Backend, treatments: int) -> None:
    passes = passes_for(backend, CPU)
    many = problem(4, rows=50, treatments=treatments)
    turned = many.revenue.T.contiguous().T, many.cost.T.contiguous().T
    assert passes.decide(*turned, 0.4).equal(TORCH.decide(many.revenue, many.cost, 0.4))


def test_the_back_end_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    meta = torch.device("meta")
    assert type(passes_for("auto", CPU)).__name__ == "NumbaPasses"
    assert type(passes_for("auto", meta)).__name__ == "TorchPasses"
    assert type(passes_for("compile", CPU)).__name__ == "CompiledPasses"
    monkeypatch.setattr("dfl.solvers.passes.numba_installed", lambda: False)
    assert type(passes_for("auto", CPU)).__name__ == "TorchPasses"


def test_wrong_back_ends_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidValueError, match=r"backend must be one of .*numba.*, got 'cuda'"):
        GreedyDual(backend="cuda")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(InvalidValueError, match=r"works on the CPU, got tensors on meta; use"):
        passes_for("numba", torch.device("meta"))
    monkeypatch.setattr("dfl.solvers.passes.numba_installed", lambda: False)
    with pytest.raises(MissingExtraError, match=r"pip install 'dfl-toolkit\[numba\]', or use"):
        GreedyDual(backend="numba")


@pytest.mark.parametrize("backend", BACKENDS)
def test_decisions_at_a_solver_s_multiplier_are_within_the_budget(backend: Backend) -> None:
    """In float32, which holds no such multiplier; one price and one for each problem."""
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        revenue, cost = torch.rand(2, 2 + seed % 9, 3, generator=generator).cumsum(-1).unbind()
        paid = cost.double()
        low, high = (float(end.sum()) for end in (paid.amin(dim=1), paid.amax(dim=1)))
        budget = low + 0.4 * (high - low)
        price = GreedyDual().solve(AllocationProblem(revenue, cost, budget)).multiplier
        choice = decide(revenue, cost, price, backend=backend)
        assert float(paid.gather(1, choice[:, None]).sum()) <= budget * (1 + 1e-6), seed
        stacked = decide(revenue[None], cost[None], price[None], backend=backend)
        assert stacked[0].equal(choice)


def test_a_price_that_the_dtype_holds_is_kept() -> None:
    prices = torch.tensor([0.0, 0.5, 0.1, 1e-50, 1e39], dtype=torch.float64)
    found = price_in(prices, torch.float32)
    assert found[:2].equal(prices[:2].float())
    assert bool((found[2:].double() > prices[2:]).all())
    assert price_in(prices, torch.float64).equal(prices)
