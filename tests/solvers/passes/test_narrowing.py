import math

import pytest
import torch

from dfl.problem import Allocation, AllocationProblem
from dfl.solvers import GreedyDual
from dfl.solvers.passes import AbstractPasses, passes_for
from dfl.solvers.passes import narrowing as module
from dfl.solvers.passes.narrowing import budget_path, narrow
from tests.solvers.instances import KINDS, largest_step, magnitude, problem

CPU = torch.device("cpu")


@pytest.fixture(params=["numba", "torch"])
def passes(request: pytest.FixtureRequest) -> AbstractPasses:
    """Back ends that need no long start."""
    return passes_for(request.param, CPU)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow problems of a few hundred people, several times over."""
    monkeypatch.setattr(module, "_SMALL", 32)


def check(found: Allocation, many: AllocationProblem, budget: float) -> None:
    """Hold an allocation against the whole path."""
    path = budget_path(many.revenue, many.cost, passes_for("torch", CPU))
    expected = path.at(budget)
    rounding = 1e-11 * magnitude(many)
    assert float(found.upper_bound) == pytest.approx(float(expected.upper_bound), abs=rounding)
    assert float(found.upper_bound) >= float(found.revenue)
    assert float(found.upper_bound - found.revenue) <= largest_step(many) + rounding
    choice = found.choice[:, None]
    cost = float(many.cost.double().gather(1, choice).sum())
    revenue = float(many.revenue.double().gather(1, choice).sum())
    assert cost <= budget * (1 + 1e-9)
    assert float(found.cost) == pytest.approx(cost, rel=1e-11)
    assert float(found.revenue) == pytest.approx(revenue, abs=rounding)
    if found.split is not None:
        split = found.split
        assert int(found.choice[split.row]) in (split.low, split.high)
        assert 0 < split.share < 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("treatments", [1, 2, 5])
def test_the_optimum_is_that_of_the_path(
    passes: AbstractPasses, kind: str, treatments: int
) -> None:
    for seed in range(12):
        many = problem(seed, rows=700, treatments=treatments, kind=kind)
        budget = float(many.budgets[0])
        check(narrow(many.revenue, many.cost, budget, passes), many, budget)


@pytest.mark.usefixtures("small")
def test_the_multiplier_is_that_of_the_path(passes: AbstractPasses) -> None:
    many = problem(5, rows=2_000, treatments=6)
    path = budget_path(many.revenue, many.cost, passes)
    for share in torch.linspace(0, 1.05, 30).tolist():
        budget = float(path.costs[0] + share * (path.costs[-1] - path.costs[0]))
        found = narrow(many.revenue, many.cost, budget, passes)
        assert float(found.multiplier) == float(path.at(budget).multiplier)
        check(found, many, budget)


@pytest.mark.parametrize("kind", ["continuous", "integers", "duplicates"])
def test_back_ends_agree_at_the_real_thresholds(kind: str, dtype: torch.dtype) -> None:
    many = problem(7, rows=60_000, treatments=8, kind=kind)
    revenue, cost = many.revenue.to(dtype), many.cost.to(dtype)
    budget = float(cost.amin(1).sum(dtype=torch.float64) * 0.6 + cost.amax(1).sum() * 0.4)
    found = [
        GreedyDual(backend=backend).solve(AllocationProblem(revenue, cost, budget))
        for backend in ("torch", "numba")
    ]
    assert float(found[0].upper_bound) == pytest.approx(float(found[1].upper_bound), rel=1e-12)
    assert float(found[0].multiplier) == float(found[1].multiplier)
    check(found[1], AllocationProblem(revenue.double(), cost.double(), budget), budget)


def counted(passes: AbstractPasses, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write down what every attempt to settle people came to."""
    outcomes: list[str] = []
    settle = module._settle

    def watched(*args: object) -> object:
        found = settle(*args)  # type: ignore[arg-type]  # passed on as it came
        outcomes.append("failed" if found is None else "settled")
        return found

    monkeypatch.setattr(module, "_settle", watched)
    return outcomes


def test_the_sample_holds_one_of_each_run_of_neighbours(
    passes: AbstractPasses, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    path = module.budget_path

    def watched(revenue: torch.Tensor, cost: torch.Tensor, passes: AbstractPasses) -> object:
        seen.append(revenue[:, 0])
        return path(revenue, cost, passes)

    monkeypatch.setattr(module, "budget_path", watched)
    rows, size = 40_960, 4_096
    row = torch.arange(rows).double()
    revenue = torch.stack([row, row + 1], dim=1)
    cost = torch.tensor([[0.0, 1.0]]).double().expand(rows, 2).contiguous()
    narrow(revenue, cost, 100.0, passes)
    assert torch.div(seen[0], rows // size, rounding_mode="floor").equal(
        torch.arange(size).double()
    )
    assert seen[0].remainder(rows // size).unique().shape[0] == rows // size


@pytest.mark.usefixtures("small")
def test_a_few_who_spend_most_defeat_the_sample_but_not_the_answer(
    passes: AbstractPasses, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = problem(5, rows=3_000, treatments=4)
    cost = many.cost.clone()
    revenue = many.revenue.clone()
    cost[::1000] *= 1e4
    revenue[::1000] *= 3e4
    outcomes = counted(passes, monkeypatch)
    for budget in (1e3, 2e4, 1e5):
        rich = AllocationProblem(revenue, cost, budget + float(cost.amin(1).sum()))
        check(narrow(revenue, cost, float(rich.budget), passes), rich, float(rich.budget))
    assert "failed" in outcomes


@pytest.mark.usefixtures("small")
def test_alike_people_are_solved_by_the_whole_path(
    passes: AbstractPasses, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = torch.arange(4.0).expand(500, 4).double()
    alike = AllocationProblem(cost.sqrt(), cost, 333.5)
    outcomes = counted(passes, monkeypatch)
    check(narrow(alike.revenue, alike.cost, 333.5, passes), alike, 333.5)
    assert outcomes == ["failed", "failed"]


def test_inputs_stay_as_they_are(passes: AbstractPasses) -> None:
    many = problem(3, rows=20_000, treatments=4)
    before = many.revenue.clone(), many.cost.clone()
    narrow(many.revenue, many.cost, float(many.budgets[0]), passes)
    assert many.revenue.equal(before[0])
    assert many.cost.equal(before[1])


def test_the_same_problem_gives_the_same_choice(passes: AbstractPasses) -> None:
    many = problem(4, rows=30_000, treatments=5, kind="integers")
    first, second = (
        narrow(many.revenue, many.cost, float(many.budgets[0]), passes) for _ in range(2)
    )
    assert first.choice.equal(second.choice)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["continuous", "integers"])
def test_back_ends_agree_on_a_million_people(kind: str) -> None:
    many = problem(3, rows=1_000_000, treatments=8, kind=kind)
    inputs = many.revenue.float(), many.cost.float(), float(many.budgets[0])
    bounds = [
        float(GreedyDual(backend=backend).solve(AllocationProblem(*inputs)).upper_bound)
        for backend in ("torch", "numba", "compile")
    ]
    assert all(math.isclose(bound, bounds[0], rel_tol=1e-12) for bound in bounds)
