import pytest
import torch
from hypothesis import given
from torch import Tensor

from dfl.errors import InvalidValueError, UnsupportedProblemError
from dfl.problem import AllocationProblem, ObservedCost
from dfl.solvers import SOLVERS, decide
from dfl.solvers.base import require_one_budget, require_predicted_cost, without_banned
from tests.solvers.instances import brute_force, magnitude, masked_problems

REVENUE = torch.tensor([[1.0, 5.0, 9.0], [0.0, 3.0, 4.0]])
COST = torch.tensor([[1.0, 2.0, 4.0], [0.0, 1.0, 3.0]])
ALLOWED = torch.tensor([[True, True, False], [False, True, True]])


@pytest.mark.parametrize("name", SOLVERS.names())
def test_what_is_no_problem_is_refused(name: str) -> None:
    with pytest.raises(InvalidValueError, match="problem must be an instance of AllocationProblem"):
        SOLVERS.make(name).solve(None)  # type: ignore[arg-type]


def test_without_masks_the_problem_is_the_same() -> None:
    plain = AllocationProblem(REVENUE, COST, 9.0)
    assert without_banned(plain) is plain


def test_what_is_banned_costs_the_most_and_earns_the_least() -> None:
    banned = AllocationProblem(REVENUE, COST, 9.0, allowed=ALLOWED)
    open_to_all = without_banned(banned)
    assert open_to_all.choices is None
    assert open_to_all.budget == 9.0
    assert open_to_all.revenue[ALLOWED].equal(REVENUE[ALLOWED])
    assert open_to_all.cost[ALLOWED].equal(COST[ALLOWED])
    assert open_to_all.cost[~ALLOWED].tolist() == [2.0, 3.0]
    assert bool((open_to_all.revenue[~ALLOWED] < torch.tensor([1.0, 3.0])).all())


def test_a_pinned_person_has_one_treatment_left() -> None:
    pinned = AllocationProblem(REVENUE, COST, 9.0, pinned=torch.tensor([2, -1]))
    open_to_all = without_banned(pinned)
    assert open_to_all.pinned is None
    assert open_to_all.cost.tolist() == [[4.0, 4.0, 4.0], COST[1].tolist()]
    assert bool((open_to_all.revenue[0, :2] < 9.0).all())


@given(problem=masked_problems())
def test_no_price_of_money_buys_what_is_banned(problem: AllocationProblem) -> None:
    open_to_all = without_banned(problem)
    assert problem.choices is not None
    for multiplier in (0.0, 1e-9, 1.0, 1e9, torch.inf):
        chosen = decide(open_to_all.revenue, open_to_all.cost, multiplier)
        assert bool(problem.choices[torch.arange(problem.rows), chosen].all())


@given(problem=masked_problems())
def test_the_optimum_stays_the_same(problem: AllocationProblem) -> None:
    best = brute_force(without_banned(problem))
    assert best == pytest.approx(brute_force(problem), abs=1e-9 * magnitude(problem))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_revenues_too_small_to_count_are_still_below(dtype: torch.dtype) -> None:
    for size in (0.0, 1e-30, 1e30):
        revenue = torch.full((1, 3), size, dtype=dtype)
        tiny = AllocationProblem(
            revenue, torch.ones_like(revenue), 9.0, allowed=torch.tensor([[True, False, True]])
        )
        below = without_banned(tiny).revenue
        assert float(below[0, 1]) < size
        assert bool(below.isfinite().all())


@pytest.mark.parametrize(
    ("name", "value"), [("capacity", torch.tensor([9.0, 9.0, 9.0])), ("min_return", 0.5)]
)
def test_constraints_that_need_more_prices_are_refused(name: str, value: Tensor | float) -> None:
    constrained = AllocationProblem(REVENUE, COST, 9.0, **{name: value})
    with pytest.raises(
        UnsupportedProblemError,
        match=f"some-solver does not take {name}; use cutting-planes, linear-program or mixed-int",
    ):
        require_one_budget("some-solver", constrained)


def test_several_budgets_are_refused() -> None:
    several = AllocationProblem(REVENUE, torch.stack([COST, COST], 2), torch.tensor([9.0, 9.0]))
    with pytest.raises(
        UnsupportedProblemError, match=r"one budget.*got 2 budget\(s\).*\(2, 3, 2\)"
    ):
        require_one_budget("some-solver", several)


def test_observed_costs_are_refused() -> None:
    logs = ObservedCost(torch.tensor([0, 1]), torch.ones(2), torch.ones(2))
    with pytest.raises(UnsupportedProblemError, match=r"some-solver meets .*; use dual-bisection"):
        require_predicted_cost("some-solver", AllocationProblem(REVENUE, COST, 9.0, logs))


def test_what_is_taken_passes() -> None:
    banned = AllocationProblem(REVENUE, COST, 9.0, allowed=ALLOWED)
    require_one_budget("some-solver", banned)
    require_predicted_cost("some-solver", banned)
