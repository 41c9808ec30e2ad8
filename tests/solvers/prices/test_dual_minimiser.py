"""Tied people: the choice follows the shares of the primal solution, whatever the ties."""

import numpy as np
import pytest
import torch

from dfl.problem import Allocation, AllocationProblem
from dfl.solvers import CuttingPlanes, LinearProgram
from tests.solvers.instances import meets


def segments(
    seed: int,
    *,
    rows: int,
    kinds: int,
    treatments: int = 4,
    budgets: int = 1,
    noise: float = 0.0,
    shuffled: bool = False,
) -> AllocationProblem:
    """Make a problem of few kinds of people, all budgets and capacities binding or near it."""
    draw = np.random.default_rng(seed)
    kind = np.repeat(np.arange(kinds), -(-rows // kinds))[:rows]
    kind = draw.permutation(kind) if shuffled else kind
    revenue = draw.random((kinds, treatments)).cumsum(1)[kind]
    cost = draw.random((kinds, treatments, budgets)).cumsum(1)[kind]
    cost[:, 0] = 0
    revenue = revenue + noise * draw.random(revenue.shape)
    budget = 0.3 * cost.max(1).sum(0) * draw.uniform(0.6, 1.2, budgets)
    capacity = np.full(treatments, float(rows))
    capacity[1:] = rows * draw.uniform(0.05, 0.3, treatments - 1)
    tensors = (torch.from_numpy(one) for one in (revenue, cost, budget))
    return AllocationProblem(*tensors, capacity=torch.from_numpy(capacity))


def steps_below_the_bound(problem: AllocationProblem, found: Allocation) -> float:
    step = float((problem.revenue.amax(1) - problem.revenue.amin(1)).max())
    return float(found.upper_bound - found.revenue) / step


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("rows", "kinds", "budgets", "noise"),
    [
        (1_200, 5, 1, 0.0),
        (6_000, 5, 1, 0.0),
        (24_000, 8, 2, 0.0),
        (24_000, 8, 2, 1e-9),
        (6_000, 8, 3, 1e-5),
        (5_000, 1, 1, 0.0),
    ],
)
def test_segments_of_identical_people_are_allocated_within_a_few_single_people(
    rows: int, kinds: int, budgets: int, noise: float, seed: int
) -> None:
    problem = segments(seed, rows=rows, kinds=kinds, budgets=budgets, noise=noise)
    found = CuttingPlanes().solve(problem)
    assert bool(meets(problem, found.choice[:, None]).all())
    assert steps_below_the_bound(problem, found) < budgets + 1.5


def test_the_order_of_tied_people_plays_no_part() -> None:
    sorted_, shuffled = (
        segments(3, rows=6_000, kinds=5, budgets=2, shuffled=shuffled) for shuffled in (False, True)
    )
    for problem in (sorted_, shuffled):
        found = CuttingPlanes().solve(problem)
        assert steps_below_the_bound(problem, found) < 3


def test_a_constant_added_to_all_revenue_changes_no_step() -> None:
    plain = segments(2, rows=2_000, kinds=6, budgets=2)
    raised = AllocationProblem(
        plain.revenue + 1000, plain.cost, plain.budget, capacity=plain.capacity
    )
    found, other = (CuttingPlanes().solve(one) for one in (plain, raised))
    assert steps_below_the_bound(raised, other) < 3
    assert float(other.revenue - 1000 * 2_000) == pytest.approx(float(found.revenue), rel=1e-3)


def exactly_binding(seed: int, rows: int, kinds: int, budgets: int) -> AllocationProblem:
    """Make a problem that leaves no place and no money over: a plan uses all of both."""
    draw = np.random.default_rng(seed)
    free = segments(seed, rows=rows, kinds=kinds, treatments=6, budgets=budgets)
    plan = torch.from_numpy(draw.integers(0, 6, rows))
    spent = free.cost[torch.arange(rows), plan].sum(0)
    capacity = torch.bincount(plan, minlength=6).double()
    return AllocationProblem(free.revenue, free.cost, spent, capacity=capacity)


@pytest.mark.parametrize("solver", [CuttingPlanes(), LinearProgram()])
@pytest.mark.parametrize(("rows", "kinds"), [(40, 4), (1_500, 6), (1_500, 1_500)])
@pytest.mark.parametrize("seed", range(3))
def test_capacities_and_budgets_without_any_room_are_met(
    solver: CuttingPlanes | LinearProgram, rows: int, kinds: int, seed: int
) -> None:
    problem = exactly_binding(seed, rows, kinds, budgets=3)
    found = solver.solve(problem)
    assert bool(meets(problem, found.choice[:, None]).all())
    assert problem.capacity is not None
    assert found.choice.bincount(minlength=6).tolist() == problem.capacity.tolist()
    assert steps_below_the_bound(problem, found) < 4


@pytest.mark.parametrize(("treatments", "places"), [(100, 4), (200, 2)])
def test_a_capacity_on_each_of_many_treatments_takes_few_evaluations(
    treatments: int, places: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    revenue, cost = torch.rand(2, 300, treatments, generator=generator, dtype=torch.float64)
    capacity = torch.full((treatments,), float(places))
    problem = AllocationProblem(revenue, cost, 20.0, capacity=capacity)
    found = CuttingPlanes().solve_from(problem)
    assert found.converged
    assert found.iterations <= 10
    assert steps_below_the_bound(problem, found.allocation) < 1
