from itertools import combinations

import pytest
import torch

from dfl.errors import InfeasibleProblemError, InvalidValueError, NotConvergedError
from dfl.problem import BUDGET_SLACK, AllocationProblem
from dfl.solvers import mixed_integer
from dfl.solvers.linear_program import LinearProgram
from dfl.solvers.mixed_integer import MixedInteger
from dfl.solvers.sparse.branch_and_bound import Incumbent
from tests.solvers.instances import FEATURES, KINDS, brute_force, constrained, meets, problem


@pytest.mark.parametrize("seed", range(70))
def test_one_budget_as_by_brute_force(seed: int) -> None:
    random = problem(
        seed, rows=1 + seed % 6, treatments=1 + seed % 4, kind=KINDS[seed % len(KINDS)]
    )
    found, best = MixedInteger().solve(random), brute_force(random)
    assert float(found.revenue) == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert float(found.upper_bound) == pytest.approx(best, rel=1e-9, abs=1e-9)


PAIRS = [(), FEATURES, *combinations(FEATURES, 2)]


@pytest.mark.parametrize("features", PAIRS, ids="-".join)
def test_every_pair_of_constraints_as_by_brute_force(features: tuple[str, ...]) -> None:
    for seed in range(7):
        kind = KINDS[seed % len(KINDS)]
        random = constrained(seed, rows=6, treatments=3, features=features, kind=kind)
        found, best = MixedInteger().solve(random), brute_force(random)
        assert bool(meets(random, found.choice[:, None]).all())
        assert float(found.revenue) == pytest.approx(best, rel=1e-9, abs=1e-9)
        assert float(found.upper_bound) == pytest.approx(best, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("features", [(), FEATURES], ids=["one budget", "everything"])
def test_many_people_between_the_rounded_relaxation_and_its_bound(
    features: tuple[str, ...],
) -> None:
    for seed in (3, 4, 5):
        random = constrained(seed, rows=150, treatments=4, features=features)
        found, relaxed = MixedInteger().solve(random), LinearProgram().solve(random)
        assert float(relaxed.revenue) <= float(found.revenue) * (1 + 1e-12)
        assert float(found.revenue) <= float(relaxed.upper_bound) * (1 + 1e-12)
        assert found.multiplier.equal(relaxed.multiplier)
        assert found.gap <= 1e-9
        assert found.split is None


def test_an_answer_within_the_tolerance_of_highs_alone_is_cut_off() -> None:
    # Any three of these cost 1e-8 more than the budget: HiGHS takes that for nothing.
    price = 1 + 1e-8 / 3
    gains = torch.tensor([1.0, 1.1, 1.2, 1.3, 1.4], dtype=torch.float64)
    revenue = torch.stack([torch.zeros_like(gains), gains], dim=1)
    cost = torch.stack([torch.zeros_like(gains), torch.full_like(gains, price)], dim=1)
    tight = AllocationProblem(revenue, cost, 3.0)
    found = MixedInteger().solve(tight)
    assert float(found.cost) <= 3.0 * (1 + BUDGET_SLACK)
    assert found.choice.tolist() == [0, 0, 0, 1, 1]
    assert float(found.upper_bound) == pytest.approx(2.7, rel=1e-9)


def knapsack() -> AllocationProblem:
    """Everything is tied: the optimum fills the budget to the last digit."""
    return problem(3, rows=90, treatments=5, kind="priced")


@pytest.mark.parametrize("relative_gap", [1e-2, 1e-4, 1e-6])
def test_the_search_may_stop_at_a_gap(relative_gap: float) -> None:
    found = MixedInteger(relative_gap=relative_gap).solve(knapsack())
    assert found.gap <= relative_gap * (1 + 1e-9)
    assert float(found.upper_bound) <= float(LinearProgram().solve(knapsack()).upper_bound)


def test_out_of_time_the_best_so_far_comes_back_with_its_gap(
    capfd: pytest.CaptureFixture[str],
) -> None:
    found = MixedInteger(time_limit=0.3).solve(knapsack())
    capfd.readouterr()  # HiGHS writes of its retries
    assert bool(meets(knapsack(), found.choice[:, None]).all())
    assert 1e-12 < found.gap < 1e-3


def test_out_of_time_before_the_relaxation_is_an_error() -> None:
    large = problem(13, rows=3000, treatments=5)
    with pytest.raises(NotConvergedError, match="HiGHS stopped at time_limit = 1e-06 s"):
        MixedInteger(time_limit=1e-6).solve(large)


def half_and_half(budget: float) -> AllocationProblem:
    """One person may have half of each treatment, but neither whole."""
    cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    return AllocationProblem(torch.ones(1, 2), cost, torch.tensor([budget, budget]))


def test_what_only_shares_can_meet_is_refused() -> None:
    with pytest.raises(InfeasibleProblemError, match="the budgets leave someone no treatment"):
        MixedInteger().solve(half_and_half(0.5))
    # Three people on two treatments, each with room for one and a half.
    cost = torch.eye(2).expand(3, 2, 2)
    odd = AllocationProblem(torch.ones(3, 2), cost, torch.tensor([1.5, 1.5]))
    with pytest.raises(InfeasibleProblemError, match="HiGHS proves that no whole allocation can"):
        MixedInteger().solve(odd)


def test_no_choice_at_the_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_integer, "round_whole", lambda *_: None)
    monkeypatch.setattr(mixed_integer, "branch_and_bound", lambda *_, **__: Incumbent(None, 1.0))
    with pytest.raises(NotConvergedError, match=r"no whole allocation with time_limit = 5\.0 s"):
        MixedInteger(time_limit=5.0).solve(problem(3, rows=4, treatments=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relative_gap": -0.1}, r"relative_gap must be >= 0, got -0\.1"),
        ({"relative_gap": float("nan")}, "relative_gap must be >= 0, got nan"),
        ({"time_limit": -1.0}, r"time_limit must be > 0, got -1\."),
    ],
)
def test_wrong_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        MixedInteger(**options)
