from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.problem import AllocationProblem
from dfl.solvers import decide, match_intervals
from tests.solvers.instances import problems

WHOLE = st.integers(0, 4)


@st.composite
def whole_numbers(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Revenue and cost of one person in small whole numbers: ties of every kind."""
    treatments = draw(st.integers(1, 5))
    columns = [
        draw(st.lists(WHOLE, min_size=treatments, max_size=treatments)) for _ in ("revenue", "cost")
    ]
    revenue, cost = (torch.tensor([column], dtype=torch.float64) for column in columns)
    return revenue, cost


def every_breakpoint() -> list[Fraction]:
    """All quotients of differences of 0 .. 4, and a number inside each gap."""
    exact = sorted({Fraction(a, b) for a in range(5) for b in range(1, 5)})
    between = [(a + b) / 2 for a, b in pairwise(exact)]
    return [*exact, *between, Fraction(10)]


def matches(low: Tensor, high: Tensor, multiplier: float | Tensor) -> Tensor:
    return (low <= multiplier) & (multiplier < high)


@given(whole_numbers())
def test_intervals_are_those_of_the_exact_decision(amounts: tuple[Tensor, Tensor]) -> None:
    revenue, cost = amounts
    treatments = range(revenue.shape[1])
    for multiplier in every_breakpoint():
        score = [
            (r - multiplier * c, -c, r, -j)
            for j, (r, c) in enumerate(
                zip(revenue[0].int().tolist(), cost[0].int().tolist(), strict=True)
            )
        ]
        best = max(treatments, key=lambda j: score[j])
        assert decide(revenue, cost, float(multiplier)).tolist() == [best]
        for treatment in treatments:
            low, high = match_intervals(revenue, cost, torch.tensor([treatment]))
            assert bool(matches(low, high, float(multiplier))) == (treatment == best)


@given(problems())
def test_intervals_do_not_overlap_and_the_last_is_open(problem: AllocationProblem) -> None:
    revenue, cost = problem.revenue, problem.cost
    everyone = [
        match_intervals(revenue, cost, torch.full((problem.rows,), j))
        for j in range(problem.treatments)
    ]
    low, high = (torch.stack(column) for column in zip(*everyone, strict=True))
    assert not low.isnan().any()
    assert not high.isnan().any()
    assert (low >= 0).all()
    unbounded = ((low < high) & high.isinf()).sum(0)
    assert (unbounded == 1).all()
    for multiplier in low[low.isfinite()].tolist():
        assert (matches(low, high, multiplier).sum(0) <= 1).all()


def test_decide_agrees_with_the_intervals_at_every_breakpoint(
    generator: torch.Generator, dtype: torch.dtype
) -> None:
    revenue = torch.rand(40, 6, generator=generator, dtype=dtype)
    cost = torch.rand(40, 6, generator=generator, dtype=dtype).round(decimals=1)
    treatment = torch.randint(6, (40,), generator=generator)
    low, high = match_intervals(revenue, cost, treatment)
    ends = torch.cat([low[low.isfinite()], high[high.isfinite() & (high >= 0)]])
    for multiplier in ends:
        decided = decide(revenue, cost, multiplier) == treatment
        assert torch.equal(decided, matches(low, high, multiplier))


@pytest.mark.parametrize("multiplier", [0.0, 0.3, 1.0, 7.0])
def test_decide_is_the_argmax_of_the_scores(
    multiplier: float, generator: torch.Generator, dtype: torch.dtype, device: torch.device
) -> None:
    revenue, cost = torch.rand(2, 500, 5, generator=generator, dtype=dtype).to(device)
    choice = decide(revenue, cost, multiplier)
    assert torch.equal(choice, (revenue - multiplier * cost).argmax(1))
    assert choice.device == revenue.device


def test_an_infinite_multiplier_leaves_everyone_at_the_cheapest() -> None:
    revenue, cost = torch.tensor([[5.0, 1.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    assert decide(revenue, cost, torch.inf).tolist() == [2]


def test_leading_axes_are_separate_problems(generator: torch.Generator) -> None:
    revenue, cost = torch.rand(2, 3, 2, 20, 4, generator=generator)
    multiplier = torch.rand(3, 2, generator=generator)
    treatment = torch.randint(4, (20,), generator=generator)
    low, high = match_intervals(revenue, cost, treatment)
    choice = decide(revenue, cost, multiplier)
    for place in ((0, 0), (1, 1), (2, 0)):
        one_low, one_high = match_intervals(revenue[place], cost[place], treatment)
        assert torch.equal(low[place], one_low)
        assert torch.equal(high[place], one_high)
        one_choice = decide(revenue[place], cost[place], multiplier[place])
        assert torch.equal(choice[place], one_choice)
    assert torch.equal(choice == treatment, matches(low, high, multiplier[..., None]))


def test_intervals_keep_dtype_and_device(dtype: torch.dtype, device: torch.device) -> None:
    revenue = torch.tensor([[0.0, 1.0, 1.4]], dtype=dtype, device=device)
    cost = torch.tensor([[0.0, 1.0, 2.0]], dtype=dtype, device=device)
    low, high = match_intervals(revenue, cost, torch.tensor([1], device=device))
    assert (low.dtype, low.device) == (dtype, revenue.device)
    torch.testing.assert_close(torch.cat([low, high]).cpu(), torch.tensor([0.4, 1.0], dtype=dtype))


@pytest.mark.parametrize(("rows", "treatments"), [(0, 3), (2, 1)])
def test_nobody_and_a_single_treatment(rows: int, treatments: int) -> None:
    revenue = torch.ones(rows, treatments)
    low, high = match_intervals(revenue, revenue, torch.zeros(rows, dtype=torch.int64))
    assert low.tolist() == [0.0] * rows
    assert high.tolist() == [torch.inf] * rows
    assert decide(revenue, revenue, 1.0).tolist() == [0] * rows


TWO = torch.ones(2, 3)
NONE = torch.zeros(2, dtype=torch.int64)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"one shape \(\.\.\., N, M\).*got \(2, 3\) and \(2, 2\)"):
        match_intervals(TWO, TWO[:, :2], NONE)
    with pytest.raises(ShapeError, match=r"one shape \(\.\.\., N, M\).*got \(3,\) and \(3,\)"):
        decide(TWO[0], TWO[0], 1.0)
    with pytest.raises(ShapeError, match=r"treatment must be \(2,\), got \(3,\)"):
        match_intervals(TWO, TWO, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"treatment must be \(2,\), got \(1, 2\)"):
        match_intervals(TWO, TWO, NONE[None])
    with pytest.raises(ShapeError, match=r"broadcast over \(\), the leading axes.*got \(2,\)"):
        decide(TWO, TWO, torch.ones(2))


def test_wrong_treatments_are_refused() -> None:
    with pytest.raises(DTypeError, match=r"treatment must be int64, got torch\.int32"):
        match_intervals(TWO, TWO, NONE.int())
    with pytest.raises(InvalidValueError, match=r"lie in 0 \.\. 2, got 0 \.\. 3"):
        match_intervals(TWO, TWO, torch.tensor([0, 3]))


@pytest.mark.parametrize("multiplier", [-1.0, torch.nan])
def test_wrong_multipliers_are_refused(multiplier: float) -> None:
    with pytest.raises(InvalidValueError, match=f"multiplier must be >= 0, got {multiplier:g}"):
        decide(TWO, TWO, multiplier)
