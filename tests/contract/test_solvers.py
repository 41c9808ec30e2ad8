"""What every registered solver promises, whatever its method."""

import importlib
import inspect
import pickle
import pkgutil
from dataclasses import fields, is_dataclass

import pytest
import torch
from hypothesis import given
from torch import Tensor

import dfl.solvers
from dfl.errors import UnsupportedProblemError
from dfl.problem import BUDGET_SLACK, Allocation, AllocationProblem
from dfl.solvers import SOLVERS, AbstractSolver
from tests.solvers.instances import (
    KINDS,
    brute_force,
    ipw_spend,
    largest_step,
    linear_program,
    magnitude,
    observed_problem,
    problem,
    problems,
)


@pytest.fixture(params=SOLVERS.names())
def solver(request: pytest.FixtureRequest) -> AbstractSolver:
    """Every registered solver with its defaults."""
    return SOLVERS.load(request.param)()


def total(amount: Tensor, choice: Tensor) -> float:
    return float(amount.double().gather(1, choice[:, None]).sum())


def check(problem: AllocationProblem, found: Allocation) -> None:
    """Feasible, adds up, certified, and all on the problem's device."""
    rounding = 1e-9 * magnitude(problem)
    budget = float(problem.budgets[0])
    assert found.choice.shape == (problem.rows,)
    assert found.choice.dtype == torch.int64
    assert found.choice.device == problem.revenue.device
    assert bool(((found.choice >= 0) & (found.choice < problem.treatments)).all())
    assert total(problem.cost, found.choice) <= budget * (1 + BUDGET_SLACK)
    assert float(found.cost) == pytest.approx(total(problem.cost, found.choice), rel=1e-9)
    revenue = total(problem.revenue, found.choice)
    assert float(found.revenue) == pytest.approx(revenue, rel=1e-9, abs=rounding)
    assert float(found.upper_bound) >= float(found.revenue)
    assert float(found.multiplier) >= 0
    for name in ("multiplier", "revenue", "cost", "upper_bound"):
        number = getattr(found, name)
        assert number.shape == ()
        assert number.dtype == torch.float64
        assert number.device == problem.revenue.device
        assert bool(number.isfinite())


@given(problem=problems())
def test_small_problems_of_every_kind(solver: AbstractSolver, problem: AllocationProblem) -> None:
    found = solver.solve(problem)
    check(problem, found)
    rounding = 1e-9 * magnitude(problem)
    best = brute_force(problem)
    assert float(found.upper_bound) >= best - rounding
    assert float(found.revenue) <= brute_force(problem, slack=BUDGET_SLACK) + rounding
    assert float(found.revenue) >= best - tied_steps(problem, found) - rounding


def tied_steps(problem: AllocationProblem, found: Allocation) -> float:
    """Promised distance to the optimum: one step for each person tied at the multiplier."""
    score = problem.revenue - found.multiplier * problem.cost
    size = problem.revenue.abs() + found.multiplier * problem.cost
    near = score >= (score - 1e-9 * size).amax(1, keepdim=True)
    tied = max(int((near.sum(1) > 1).sum()), 1)
    return tied * largest_step(problem)


@pytest.mark.parametrize("kind", KINDS)
def test_larger_problems_stay_within_the_certificate(solver: AbstractSolver, kind: str) -> None:
    for seed in range(4):
        random = problem(seed + 3, rows=90, treatments=5, kind=kind)
        found = solver.solve(random)
        check(random, found)
        optimum = linear_program(random)
        assert float(found.upper_bound) >= optimum - 1e-9 * max(abs(optimum), 1)
        assert float(found.upper_bound - found.revenue) <= tied_steps(random, found)


@pytest.mark.parametrize("seed", range(3, 8))
def test_the_order_of_people_does_not_matter(solver: AbstractSolver, seed: int) -> None:
    random = problem(seed, rows=50, treatments=4)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(seed))
    shuffled = AllocationProblem(random.revenue[order], random.cost[order], random.budget)
    assert solver.solve(shuffled).choice.equal(solver.solve(random).choice[order])


@pytest.mark.parametrize("seed", range(3, 8))
def test_the_order_of_treatments_does_not_matter(solver: AbstractSolver, seed: int) -> None:
    random = problem(seed, rows=50, treatments=4)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = AllocationProblem(random.revenue[:, order], random.cost[:, order], random.budget)
    assert order[solver.solve(shuffled).choice].equal(solver.solve(random).choice)


@pytest.mark.parametrize("factor", [2.0**-40, 0.01, 3.0, 2.0**40])
def test_the_currency_does_not_matter(solver: AbstractSolver, factor: float) -> None:
    random = problem(7, rows=50, treatments=4)
    scaled = AllocationProblem(
        factor * random.revenue, factor * random.cost, factor * float(random.budget)
    )
    found, other = solver.solve(random), solver.solve(scaled)
    assert other.choice.equal(found.choice)
    assert float(other.revenue) == pytest.approx(factor * float(found.revenue), rel=1e-9)
    assert float(other.multiplier) == pytest.approx(float(found.multiplier), rel=1e-9)


def test_float32_is_as_good_as_its_inputs(
    solver: AbstractSolver, dtype: torch.dtype, device: torch.device
) -> None:
    exact = problem(8, rows=300, treatments=5)
    given = AllocationProblem(
        exact.revenue.to(device, dtype), exact.cost.to(device, dtype), exact.budget
    )
    found = solver.solve(given)
    check(given, found)
    bound = float(solver.solve(exact).upper_bound)
    assert float(found.upper_bound) == pytest.approx(bound, rel=1e-6)


def test_the_input_is_not_touched_and_a_second_solve_is_equal(solver: AbstractSolver) -> None:
    random = problem(9, rows=60, treatments=4, kind="integers")
    revenue, cost = random.revenue.clone(), random.cost.clone()
    first, second = solver.solve(random), solver.solve(random)
    assert revenue.equal(random.revenue)
    assert cost.equal(random.cost)
    for field in fields(first):
        one, two = getattr(first, field.name), getattr(second, field.name)
        assert torch.equal(one, two) if isinstance(one, Tensor) else one == two


def test_predictions_that_carry_a_gradient_are_taken_as_they_are(solver: AbstractSolver) -> None:
    random = problem(6, rows=40, treatments=4)
    revenue = random.revenue.clone().requires_grad_()
    found = solver.solve(AllocationProblem(revenue, random.cost, random.budget))
    assert found.choice.equal(solver.solve(random).choice)
    assert not found.revenue.requires_grad
    assert revenue.grad is None


def test_a_solver_survives_pickling(solver: AbstractSolver) -> None:
    random = problem(3, rows=40, treatments=4)
    copy = pickle.loads(pickle.dumps(solver))
    answer = pickle.loads(pickle.dumps(copy.solve(random)))
    assert answer.choice.equal(solver.solve(random).choice)


@pytest.mark.parametrize(("rows", "treatments"), [(0, 3), (0, 1), (1, 1), (1, 4), (5, 1)])
def test_nobody_one_person_and_one_treatment(
    solver: AbstractSolver, rows: int, treatments: int
) -> None:
    random = problem(8, rows=rows, treatments=treatments)
    found = solver.solve(random)
    check(random, found)
    assert float(found.upper_bound) == pytest.approx(brute_force(random), abs=largest_step(random))


def test_more_budget_never_lowers_the_bound(solver: AbstractSolver) -> None:
    random = problem(4, rows=40, treatments=5)
    bounds = [
        float(solver.solve(AllocationProblem(random.revenue, random.cost, budget)).upper_bound)
        for budget in torch.linspace(0, 2, 9).mul(float(random.cost.amax(1).sum())).tolist()
        if budget >= float(random.cost.amin(1).sum())
    ]
    assert len(bounds) > 4
    assert bounds == sorted(bounds)


def solve_unless_refused(
    solver: AbstractSolver, problem: AllocationProblem, reason: str
) -> Allocation | None:
    """Solve; None where the solver says clearly that it does not take such a problem."""
    try:
        return solver.solve(problem)
    except UnsupportedProblemError as error:
        if reason not in str(error):
            raise
        return None


@pytest.mark.parametrize("seed", range(5))
def test_observed_costs_are_met_or_refused(solver: AbstractSolver, seed: int) -> None:
    noisy = observed_problem(seed, rows=120)
    found = solve_unless_refused(solver, noisy, "observed costs")
    if found is not None and noisy.observed is not None:
        assert float(found.cost) <= float(noisy.budget) * (1 + BUDGET_SLACK)
        spend = float(ipw_spend(noisy.observed, found.choice))
        assert float(found.cost) == pytest.approx(spend, rel=1e-9)


def test_several_budgets_are_met_or_refused(solver: AbstractSolver) -> None:
    random = problem(5, rows=30, treatments=4)
    cost = torch.stack([random.cost, random.cost.flip(1)], dim=2)
    several = AllocationProblem(random.revenue, cost, cost.mean(1).sum(0))
    found = solve_unless_refused(solver, several, "2 budget")
    if found is not None:
        spent = cost[torch.arange(30), found.choice].sum(0)
        assert bool((spent <= several.budgets * (1 + BUDGET_SLACK)).all())


def test_members_are_final_frozen_dataclasses_without_state(solver: AbstractSolver) -> None:
    kind = type(solver)
    assert getattr(kind, "__final__", False)
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert set(vars(solver)) == {field.name for field in fields(solver)}


def test_the_table_names_every_solver_of_the_package() -> None:
    found = set()
    for module in pkgutil.iter_modules(dfl.solvers.__path__):
        loaded = importlib.import_module(f"dfl.solvers.{module.name}")
        for _, member in inspect.getmembers(loaded, inspect.isclass):
            if issubclass(member, AbstractSolver) and not inspect.isabstract(member):
                found.add(member)
    assert found == {SOLVERS.load(name) for name in SOLVERS.names()}
