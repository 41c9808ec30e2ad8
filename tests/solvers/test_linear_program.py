import numpy as np
import pytest
import torch

from dfl.errors import InfeasibleProblemError, InvalidValueError, NotConvergedError
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual
from dfl.solvers.linear_program import LinearProgram
from tests.solvers.instances import (
    FEATURES,
    KINDS,
    constrained,
    largest_step,
    linear_program,
    meets,
    problem,
)

COST = torch.tensor([[0.0, 1.0, 2.0]]).expand(3, 3).double()
REVENUE = torch.tensor([[0.0, 1.0, 1.4], [0.0, 0.6, 1.1], [0.0, 0.9, 1.0]]).double()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "priced"])
def test_a_thousand_people_as_by_plain_highs_and_greedy_dual(kind: str) -> None:
    random = problem(13, rows=1000, treatments=5, kind=kind)
    found, greedy = LinearProgram().solve(random), GreedyDual().solve(random)
    assert float(found.upper_bound) == pytest.approx(linear_program(random), rel=1e-9)
    assert float(found.upper_bound) == pytest.approx(float(greedy.upper_bound), rel=1e-12)
    assert float(found.multiplier) == pytest.approx(float(greedy.multiplier), rel=1e-9)
    assert float(found.upper_bound - found.revenue) <= largest_step(random)


@pytest.mark.parametrize("seed", range(60))
def test_one_budget_as_by_greedy_dual(seed: int) -> None:
    random = problem(seed, rows=1 + seed, treatments=2 + seed % 7, kind=KINDS[seed % len(KINDS)])
    found, greedy = LinearProgram().solve(random), GreedyDual().solve(random)
    bound = float(greedy.upper_bound)
    assert float(found.upper_bound) == pytest.approx(bound, rel=1e-12, abs=1e-12)
    assert float(found.multiplier) == pytest.approx(float(greedy.multiplier), rel=1e-9)
    assert float(found.revenue) >= bound - largest_step(random)


@pytest.mark.parametrize("seed", range(3, 10))
def test_split_is_that_of_greedy_dual(seed: int) -> None:
    random = problem(seed, rows=40, treatments=4)
    split, expected = LinearProgram().solve(random).split, GreedyDual().solve(random).split
    assert split is not None
    assert expected is not None
    assert (split.row, split.low, split.high) == (expected.row, expected.low, expected.high)
    assert split.share == pytest.approx(expected.share, rel=1e-6)


@pytest.mark.parametrize("feature", ["budgets", "capacity", "min_return"])
def test_with_other_constraints_there_is_no_split(feature: str) -> None:
    random = constrained(3, rows=40, treatments=4, features={feature})
    assert LinearProgram().solve(random).split is None


def test_two_budgets_have_two_prices_that_add_up_to_the_bound() -> None:
    # Person 0 wants the first money, person 1 the second; both steps are split in half.
    cost = torch.tensor([[[0.0, 0.0], [2.0, 0.0]], [[0.0, 0.0], [0.0, 4.0]]])
    revenue = torch.tensor([[0.0, 6.0], [0.0, 8.0]])
    found = LinearProgram().solve(AllocationProblem(revenue, cost, torch.tensor([1.0, 2.0])))
    assert found.multiplier.tolist() == pytest.approx([3.0, 2.0])
    assert float(found.upper_bound) == pytest.approx(7.0)
    assert found.choice.tolist() == [0, 0]
    assert found.cost.tolist() == [0.0, 0.0]


def test_capacity_goes_to_whom_it_serves_best() -> None:
    limited = AllocationProblem(REVENUE, COST, 6.0, capacity=torch.tensor([3.0, 1.9, 1.0]))
    found = LinearProgram().solve(limited)
    assert found.choice.tolist() == [2, 0, 1]  # 1.9 places are one
    assert float(found.revenue) == pytest.approx(2.3)
    assert float(found.multiplier) == 0.0


def test_a_least_return_forbids_what_does_not_pay() -> None:
    floor = AllocationProblem(REVENUE, COST, 6.0, min_return=0.9)
    found = LinearProgram().solve(floor)
    assert float(found.revenue) >= 0.9 * float(found.cost)
    assert found.choice.tolist() == [1, 0, 1]


def test_what_breaks_even_exactly_meets_the_least_return() -> None:
    draw = np.random.default_rng(0)
    cost = torch.from_numpy(draw.random((50, 3)))
    even = AllocationProblem(0.3 * cost, cost, float(cost.amax(1).sum()), min_return=0.3)
    found = LinearProgram().solve(even)
    assert float(found.cost) == pytest.approx(float(cost.amax(1).sum()), rel=1e-9)


def test_all_constraints_at_once_on_many_people() -> None:
    random = constrained(13, rows=1000, treatments=5, features=FEATURES)
    found = LinearProgram().solve(random)
    assert bool(meets(random, found.choice[:, None]).all())
    assert found.gap < 1e-3


def test_constraints_that_shares_cannot_meet_are_refused() -> None:
    # Two people must leave doing nothing, which only one of them can pay for.
    crowded = AllocationProblem(REVENUE, COST, 1.0, capacity=torch.tensor([1.0, 3.0, 3.0]))
    with pytest.raises(InfeasibleProblemError, match=r"HiGHS proves that even shares.*raise a bud"):
        LinearProgram().solve(crowded)


def test_a_return_that_nobody_brings_is_refused() -> None:
    costly = AllocationProblem(REVENUE[:, 1:], COST[:, 1:], 6.0, min_return=2.0)
    with pytest.raises(InfeasibleProblemError, match="the best return is below min_return = 2"):
        LinearProgram().solve(costly)


def test_capacity_for_fewer_than_have_one_choice_is_refused() -> None:
    allowed = torch.tensor([[True, False, False], [True, False, False], [True, True, True]])
    only = AllocationProblem(
        REVENUE, COST, 6.0, allowed=allowed, capacity=torch.tensor([1.0, 3.0, 3.0])
    )
    with pytest.raises(InfeasibleProblemError, match="more people have one treatment only than"):
        LinearProgram().solve(only)


def test_budgets_that_leave_someone_nothing_are_refused() -> None:
    # Each treatment needs money of which there is none.
    cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    torn = AllocationProblem(torch.ones(1, 2), cost, torch.tensor([0.0, 0.0]))
    with pytest.raises(InfeasibleProblemError, match="the budgets leave someone no treatment"):
        LinearProgram().solve(torn)


def half_and_half() -> AllocationProblem:
    """One person may have half of each treatment, but neither whole."""
    cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    return AllocationProblem(torch.ones(1, 2), cost, torch.tensor([0.5, 0.5]))


def test_shares_that_cannot_be_made_whole_are_refused() -> None:
    with pytest.raises(NotConvergedError, match="no whole allocation near them; use mixed-integer"):
        LinearProgram().solve(half_and_half())


def test_out_of_time_is_an_error() -> None:
    large = problem(13, rows=3000, treatments=5)
    with pytest.raises(NotConvergedError, match=r"HiGHS stopped at time_limit = 1e-06 s.*raise"):
        LinearProgram(time_limit=1e-6).solve(large)


def test_a_generous_time_limit_changes_nothing() -> None:
    random = problem(6, rows=40, treatments=4)
    limited, free = LinearProgram(time_limit=60).solve(random), LinearProgram().solve(random)
    assert limited.choice.equal(free.choice)
    assert limited.upper_bound.equal(free.upper_bound)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "glpk"}, "engine must be one of 'highs', 'pdlp', got 'glpk'"),
        ({"time_limit": 0.0}, r"time_limit must be > 0, got 0\."),
        ({"time_limit": float("nan")}, "time_limit must be > 0, got nan"),
        ({"tolerance": 1e-11}, r"tolerance must be in \[1e-10, 0\.01\], got 1e-11"),
        ({"tolerance": float("nan")}, r"tolerance must be in \[1e-10, 0\.01\], got nan"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        LinearProgram(**options)
