import pytest
import torch
from hypothesis import given
from torch import Tensor

from dfl.problem import AllocationProblem
from dfl.scale import Chunks
from dfl.solvers import HullSteps, cheapest, decide, hull_steps
from tests.solvers.instances import KINDS, magnitude, problem, problems


def steps_of(revenue: list[float], cost: list[float]) -> list[tuple[int, int, float, float]]:
    """Walk one person: previous, treatment, added cost and added revenue of each step."""
    steps = hull_steps(torch.tensor([revenue]).double(), torch.tensor([cost]).double())
    columns = (steps.previous, steps.treatment, steps.added_cost, steps.added_revenue)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_steps_of_a_concave_person() -> None:
    assert steps_of([0, 3, 4], [0, 1, 2]) == [(0, 1, 1.0, 3.0), (1, 2, 1.0, 1.0)]


def test_a_treatment_below_the_line_is_passed_over() -> None:
    assert steps_of([0, 1, 4], [0, 1, 2]) == [(0, 2, 2.0, 4.0)]


def test_treatments_on_one_line_stay_separate_steps() -> None:
    assert steps_of([0, 2, 4], [0, 1, 2]) == [(0, 1, 1.0, 2.0), (1, 2, 1.0, 2.0)]


def test_dominated_treatments_never_come_up() -> None:
    assert steps_of([2, 1, 2, 3], [1, 2, 3, 4]) == [(0, 3, 3.0, 1.0)]


def test_free_gains_are_part_of_the_start() -> None:
    revenue, cost = torch.tensor([[1.0, 5.0, 5.0]]), torch.tensor([[0.0, 0.0, 0.0]])
    steps = hull_steps(revenue, cost)
    assert steps.base.tolist() == [1]
    assert steps.row.numel() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_choice_is_the_decision_at_any_multiplier(kind: str) -> None:
    many = problem(3, rows=200, treatments=6, kind=kind)
    steps = hull_steps(many.revenue, many.cost)
    for multiplier in (0.0, 0.05, 0.31, 0.777, 3.1, 50.0):
        decided = decide(many.revenue, many.cost, multiplier)
        assert torch.equal(steps.choice(multiplier), decided)
    assert torch.equal(steps.choice(torch.inf), cheapest(many.revenue, many.cost))


def dual(problem: AllocationProblem, multiplier: float) -> float:
    """Best total of ``revenue - multiplier * cost``."""
    return float((problem.revenue - multiplier * problem.cost).amax(1).sum())


@given(problems())
def test_steps_reach_the_best_scores(problem: AllocationProblem) -> None:
    steps = hull_steps(problem.revenue, problem.cost)
    for multiplier in [0.0, *steps.multiplier.tolist()]:
        choice = steps.choice(multiplier)[:, None]
        score = problem.revenue.gather(1, choice) - multiplier * problem.cost.gather(1, choice)
        size = magnitude(problem) + multiplier * float(problem.cost.sum())
        assert float(score.sum()) == pytest.approx(dual(problem, multiplier), abs=1e-12 * size)


def in_order(steps: HullSteps) -> bool:
    """Say whether each person's steps join up and their multipliers never rise."""
    for person in steps.row.unique().tolist():
        mine = steps.row == person
        before, after = steps.previous[mine], steps.treatment[mine]
        joined = torch.equal(before, torch.cat([steps.base[person].reshape(1), after[:-1]]))
        if not joined or bool((steps.multiplier[mine].diff() > 0).any()):
            return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_steps_come_person_by_person_and_fall(kind: str) -> None:
    many = problem(5, rows=60, treatments=7, kind=kind)
    steps = hull_steps(many.revenue, many.cost)
    assert in_order(steps)
    assert bool((steps.row.diff() >= 0).all())
    assert bool((steps.added_cost > 0).all())
    assert bool((steps.added_revenue > 0).all())


@pytest.mark.parametrize(("rows", "treatments"), [(0, 3), (2, 1), (0, 1)])
def test_nobody_and_a_single_treatment(rows: int, treatments: int) -> None:
    steps = hull_steps(torch.ones(rows, treatments), torch.ones(rows, treatments))
    assert steps.base.tolist() == [0] * rows
    assert steps.multiplier.shape == (0,)
    assert steps.choice(0.0).tolist() == [0] * rows


def test_people_in_different_chunks_are_walked_alike(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    many = problem(1, rows=50, treatments=5)
    revenue, cost = many.revenue.to(device), many.cost.to(device)
    whole = hull_steps(revenue, cost, backend="torch")
    monkeypatch.setattr("dfl.solvers.passes.eager._IN_CACHE", Chunks(36))
    parts = hull_steps(revenue, cost, backend="torch")
    for name, column in vars(whole).items():
        assert torch.equal(column, getattr(parts, name))


def test_float32_is_walked_in_float64(generator: torch.Generator) -> None:
    revenue, cost = torch.rand(2, 30, 4, generator=generator)

    def flat(steps: HullSteps) -> Tensor:
        return torch.cat([steps.multiplier, steps.added_cost, steps.added_revenue])

    exact = flat(hull_steps(revenue.double(), cost.double()))
    assert torch.equal(flat(hull_steps(revenue, cost)), exact)
