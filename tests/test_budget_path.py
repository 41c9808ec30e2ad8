import pickle
from fractions import Fraction

import pytest
import torch

from dfl.budget_path import BudgetPath, HullSteps
from dfl.errors import InfeasibleBudgetError, InvalidValueError
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual, decide
from tests.solvers.instances import KINDS, problem


def whole_numbers(seed: int, rows: int, treatments: int) -> AllocationProblem:
    """Small whole numbers, which float64 adds up exactly."""
    draw = torch.Generator().manual_seed(seed)
    revenue, cost = torch.randint(0, 40, (2, rows, treatments), generator=draw).double()
    return AllocationProblem(revenue, cost, float(cost.amin(1).sum()))


def one_by_one(path: BudgetPath, budget: int) -> tuple[list[int], Fraction]:
    """Take the steps of a path in order, a person at a time; the choice and the LP optimum."""
    choice = path.steps.base.tolist()
    left = budget - int(path.costs[0])
    optimum: Fraction | None = None
    revenue = Fraction(int(path.revenues[0]))
    stopped = set()
    steps = path.steps
    columns = (steps.row, steps.previous, steps.treatment, steps.added_cost, steps.added_revenue)
    in_order = (column[path.order].tolist() for column in columns)
    for row, before, after, cost, gain in zip(*in_order, strict=True):
        if row in stopped:
            continue
        if cost > left:
            stopped.add(row)
            optimum = (
                revenue + Fraction(left) / int(cost) * int(gain) if optimum is None else optimum
            )
            continue
        assert choice[row] == before
        choice[row], left, revenue = after, left - int(cost), revenue + int(gain)
    return choice, revenue if optimum is None else optimum


@pytest.mark.parametrize("seed", range(20))
def test_look_up_equals_taking_steps_one_by_one(seed: int) -> None:
    random = whole_numbers(seed, rows=1 + 3 * seed, treatments=2 + seed % 5)
    path = GreedyDual().path(random)
    low, high = int(path.costs[0]), int(path.costs[-1])
    for budget in range(low, high + 3, max((high - low) // 25, 1)):
        found = path.at(budget)
        choice, optimum = one_by_one(path, budget)
        assert found.choice.tolist() == choice
        assert float(found.upper_bound) == pytest.approx(float(optimum), rel=1e-12)
        assert float(found.cost) == float(random.cost.gather(1, found.choice[:, None]).sum())
        assert float(found.revenue) == float(random.revenue.gather(1, found.choice[:, None]).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_look_up_equals_a_new_solve(kind: str) -> None:
    random = problem(4, rows=60, treatments=5, kind=kind)
    path = GreedyDual().path(random)
    for share in torch.linspace(0, 1.1, 23, dtype=torch.float64).tolist():
        budget = float(path.costs[0] + share * (path.costs[-1] - path.costs[0]))
        new = GreedyDual().solve(AllocationProblem(random.revenue, random.cost, budget))
        found = path.at(torch.tensor(budget, dtype=torch.float64))
        assert found.choice.equal(new.choice)
        assert found.split == new.split
        for name in ("multiplier", "revenue", "cost", "upper_bound"):
            assert float(getattr(found, name)) == float(getattr(new, name))


@pytest.mark.parametrize("kind", KINDS)
def test_the_curve_is_concave_and_rising(kind: str) -> None:
    path = GreedyDual().path(problem(7, rows=80, treatments=6, kind=kind))
    assert path.costs.shape == path.revenues.shape == path.multipliers.shape
    assert bool((path.costs.diff() >= 0).all())
    assert bool((path.revenues.diff() >= 0).all())
    assert bool((path.multipliers.diff() <= 0).all())
    assert float(path.multipliers[-1]) == 0.0
    torch.testing.assert_close(
        path.revenues.diff(), path.multipliers[:-1] * path.costs.diff(), rtol=1e-9, atol=1e-9
    )


def test_every_point_is_met_exactly() -> None:
    random = whole_numbers(5, rows=30, treatments=4)
    path = GreedyDual().path(random)
    for point, (cost, revenue) in enumerate(zip(path.costs, path.revenues, strict=True)):
        found = path.at(cost)
        assert float(found.revenue) == float(revenue) == float(found.upper_bound)
        assert found.split is None
        assert float(found.multiplier) == float(path.multipliers[point])
        assert found.gap == 0.0


def eager_people() -> AllocationProblem:
    """The best step is too dear; of the others, every second one no longer fits."""
    cost = torch.tensor([30.0, 6.0, 5.5, 3.0, 2.9, 1.0, 0.9], dtype=torch.float64)
    revenue = cost * torch.tensor([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4], dtype=torch.float64)
    revenue, cost = (torch.stack([0 * column, column], dim=1) for column in (revenue, cost))
    return AllocationProblem(revenue, cost, 10.0)


def test_a_fill_goes_on_after_passing_over() -> None:
    found = GreedyDual().solve(eager_people())
    assert found.choice.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert float(found.cost) == 10.0


def test_rounds_of_passing_over_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfl.budget_path._FILL_ROUNDS", 2)
    found = GreedyDual().solve(eager_people())
    assert found.choice.tolist() == [0, 1, 0, 1, 0, 0, 0]
    assert float(found.cost) == 9.0


def test_an_allocation_does_not_share_memory_with_the_path() -> None:
    path = GreedyDual().path(whole_numbers(1, rows=5, treatments=3))
    tensors = [path.multipliers, path.costs, path.revenues, path.order, *vars(path.steps).values()]
    before = [tensor.clone() for tensor in tensors]
    for budget in (float(path.costs[0]), float(path.costs[-1])):
        found = path.at(budget)
        for name in ("choice", "multiplier", "revenue", "cost", "upper_bound"):
            getattr(found, name).fill_(77)
    assert all(torch.equal(*pair) for pair in zip(before, tensors, strict=True))


def test_a_budget_short_by_rounding_buys_the_cheapest() -> None:
    random = whole_numbers(2, rows=10, treatments=3)
    path = GreedyDual().path(random)
    found = path.at(float(path.costs[0]) * (1 - 1e-12))
    assert found.choice.equal(path.steps.base)
    assert found.gap == 0.0


def test_wrong_budgets_are_refused() -> None:
    ones = torch.ones(2, 2)
    path = GreedyDual().path(AllocationProblem(ones, ones, 2.0))
    with pytest.raises(InfeasibleBudgetError, match=r"cheapest choice for everyone, 2, got 1\.5"):
        path.at(1.5)
    with pytest.raises(InvalidValueError, match="budget must be a number, got nan"):
        path.at(float("nan"))
    with pytest.raises(InvalidValueError, match="budget must be finite, got inf"):
        path.at(float("inf"))
    for several in (None, torch.ones(2)):
        with pytest.raises(InvalidValueError, match="budget must be a number, got"):
            path.at(several)  # type: ignore[arg-type]


def test_a_float32_budget_short_by_rounding_buys_the_cheapest_choice() -> None:
    cost = torch.rand(10_000, 3, generator=torch.Generator().manual_seed(1)) + 0.1
    path = GreedyDual().path(AllocationProblem(cost, cost, 1e9))
    short = (path.costs[0] * (1 - 1e-7)).float()
    assert float(path.at(short).cost) == float(path.costs[0])
    with pytest.raises(InfeasibleBudgetError, match="cheapest choice for everyone"):
        path.at(float(short))


def test_a_path_pickles() -> None:
    path = GreedyDual().path(whole_numbers(3, rows=20, treatments=4))
    copy = pickle.loads(pickle.dumps(path))
    budget = float(path.costs[3]) + 0.5
    assert copy.at(budget).choice.equal(path.at(budget).choice)


def test_choice_after_takes_the_last_step_of_each_person() -> None:
    row, treatment = torch.tensor([0, 1, 1]), torch.tensor([6, 5, 7])
    unused = torch.ones(3, dtype=torch.float64)
    steps = HullSteps(torch.tensor([3, 4]), row, row, treatment, unused, unused, unused)
    for taken, choice in (([], [3, 4]), ([1], [3, 5]), ([1, 2], [3, 7]), ([0, 1, 2], [6, 7])):
        mask = torch.zeros(3, dtype=torch.bool)
        mask[taken] = True
        assert steps.choice_after(mask).tolist() == choice


def test_points_of_the_path_are_decisions_at_their_multipliers() -> None:
    random = problem(6, rows=50, treatments=4)
    path = GreedyDual().path(random)
    for point in (0, 3, 20, path.order.shape[0]):
        decided = decide(random.revenue, random.cost, float(path.multipliers[point]))
        assert path.choice_at(point).equal(decided)


def test_points_beside_the_path_are_refused() -> None:
    path = GreedyDual().path(problem(6, rows=5, treatments=3))
    steps = path.order.shape[0]
    for point, wanted in ((-1, ">= 0"), (steps + 1, f"<= {steps}"), (1.5, "a whole number")):
        with pytest.raises(InvalidValueError, match=f"point must be {wanted}"):
            path.choice_at(point)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_tied_steps_are_taken_in_the_paths_order(seed: int) -> None:
    cost = torch.arange(4.0).expand(30, 4).double()
    draw = torch.Generator().manual_seed(seed)
    revenue = cost * torch.randint(1, 3, (30, 1), generator=draw)
    path = GreedyDual().path(AllocationProblem(revenue, cost, 0.0))
    assert path.multipliers.unique().tolist() == [0.0, 1.0, 2.0]
    choice = path.steps.base.clone()
    for point, step in enumerate(path.order.tolist()):
        assert path.choice_at(point).equal(choice)
        choice[path.steps.row[step]] = path.steps.treatment[step]


def test_a_fill_looks_at_so_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfl.budget_path._FILL_STEPS", 2)
    found = GreedyDual().solve(eager_people())
    assert found.choice.tolist() == [0, 1, 0, 0, 0, 0, 0]
