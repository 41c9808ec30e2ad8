"""What every registered solver promises, whatever its method."""

import importlib
import inspect
import pickle
import pkgutil
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

import dfl.solvers
from dfl.errors import UnsupportedProblemError
from dfl.problem import BUDGET_SLACK, Allocation, AllocationProblem
from dfl.solvers import SOLVERS, AbstractSolver
from tests.solvers.instances import (
    FEATURES,
    KINDS,
    brute_force,
    constrained,
    constrained_problems,
    ipw_spend,
    largest_step,
    linear_program,
    magnitude,
    masked_problems,
    meets,
    observed_problem,
    problem,
    problems,
)

ONE_BUDGET = {"allowed", "pinned"}
EVERYTHING = {*FEATURES}
# What each solver takes beyond one budget; what is not here it must refuse.
TAKES = {
    "cutting-planes": EVERYTHING,
    "dual-bisection": ONE_BUDGET | {"observed"},
    "greedy-dual": ONE_BUDGET,
    "linear-program": EVERYTHING,
    "mixed-integer": EVERYTHING,
    "stochastic": EVERYTHING,
}
ALIASES = {"dual-ascent": "cutting-planes"}  # other names of solvers that are tried below
NAMES = [name for name in SOLVERS.names() if name not in ALIASES]
GENERAL = [name for name in NAMES if TAKES.get(name, set()) >= EVERYTHING]
OBSERVING = [name for name in NAMES if "observed" in TAKES.get(name, set())]
EXACT = {"mixed-integer", "stochastic"}
# To prove the last digit of a sum that anyone can fill up takes time without end.
NEAR_ENOUGH: dict[str, dict[str, Any]] = {name: {"relative_gap": 1e-6} for name in EXACT}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Every registered name."""
    registered: str = request.param
    return registered


@pytest.fixture
def solver(name: str) -> AbstractSolver:
    """Every registered solver with its defaults."""
    return SOLVERS.load(name)()


def total(amount: Tensor, choice: Tensor) -> Tensor:
    return amount.double()[torch.arange(choice.shape[0], device=choice.device), choice].sum(0)


def check(problem: AllocationProblem, found: Allocation) -> None:
    """Feasible, adds up, certified, and all on the problem's device."""
    rounding = 1e-9 * magnitude(problem)
    assert found.choice.shape == (problem.rows,)
    assert found.choice.dtype == torch.int64
    assert bool(((found.choice >= 0) & (found.choice < problem.treatments)).all())
    assert bool(meets(problem, found.choice[:, None]).all())
    torch.testing.assert_close(found.cost, total(problem.cost, found.choice), rtol=1e-9, atol=0)
    revenue = float(total(problem.revenue, found.choice))
    assert float(found.revenue) == pytest.approx(revenue, rel=1e-9, abs=rounding)
    assert float(found.upper_bound) >= float(found.revenue)
    assert bool((found.multiplier >= 0).all())
    shapes = {"multiplier": problem.cost.shape[2:], "cost": problem.cost.shape[2:]}
    for field in ("choice", "multiplier", "revenue", "cost", "upper_bound"):
        assert getattr(found, field).device == problem.revenue.device
    for field in ("multiplier", "revenue", "cost", "upper_bound"):
        number = getattr(found, field)
        assert number.shape == shapes.get(field, ())
        assert number.dtype == torch.float64
        assert bool(number.isfinite().all())


def check_optimal(name: str, problem: AllocationProblem, found: Allocation, steps: float) -> None:
    """Within so many steps of the brute-force optimum, or equal to it; the bound holds."""
    rounding = 1e-9 * magnitude(problem)
    best = brute_force(problem)
    assert float(found.upper_bound) >= best - rounding
    assert float(found.revenue) <= brute_force(problem, slack=BUDGET_SLACK) + rounding
    allowance = 0.0 if name in EXACT else steps
    assert float(found.revenue) >= best - allowance - rounding
    if name in EXACT:
        assert float(found.upper_bound - found.revenue) <= rounding


def test_the_table_of_this_suite_has_every_solver() -> None:
    assert set(NAMES) <= TAKES.keys()
    assert OBSERVING
    assert GENERAL


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_the_same_solver_and_answers_to_its_own_name(alias: str) -> None:
    assert SOLVERS.load(alias) is SOLVERS.load(ALIASES[alias])
    assert SOLVERS.name_of(SOLVERS.load(alias)) == ALIASES[alias]


@given(problem=problems())
def test_small_problems_of_every_kind(
    solver: AbstractSolver, name: str, problem: AllocationProblem
) -> None:
    found = solver.solve(problem)
    check(problem, found)
    check_optimal(name, problem, found, tied_steps(problem, found))


@given(problem=masked_problems())
def test_small_problems_with_banned_treatments_and_pinned_people(
    solver: AbstractSolver, name: str, problem: AllocationProblem
) -> None:
    found = solver.solve(problem)
    check(problem, found)
    check_optimal(name, problem, found, tied_steps(problem, found))


def tied_steps(problem: AllocationProblem, found: Allocation) -> float:
    """Promised distance to the optimum: one step for each person tied at the multiplier."""
    score = problem.revenue - found.multiplier * problem.cost
    if problem.choices is not None:
        score = score.masked_fill(~problem.choices, -torch.inf)
    size = problem.revenue.abs() + found.multiplier * problem.cost
    near = score >= (score - 1e-9 * size).amax(1, keepdim=True)
    tied = max(int((near.sum(1) > 1).sum()), 1)
    return tied * largest_step(problem)


@pytest.mark.parametrize("kind", KINDS)
def test_larger_problems_stay_within_the_certificate(name: str, kind: str) -> None:
    solver = SOLVERS.load(name)(**NEAR_ENOUGH.get(name, {}))
    for seed in range(4):
        random = problem(seed + 3, rows=90, treatments=5, kind=kind)
        found = solver.solve(random)
        check(random, found)
        optimum = linear_program(random)
        if name not in EXACT:
            assert float(found.upper_bound) >= optimum - 1e-9 * max(abs(optimum), 1)
        assert float(found.revenue) <= optimum + 1e-9 * max(abs(optimum), 1)
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


def featured(feature: str, seed: int, rows: int) -> AllocationProblem:
    """Make a problem with one thing that not every solver takes."""
    if feature == "observed":
        return observed_problem(seed, rows=rows)
    return constrained(seed, rows=rows, treatments=4, features={feature})


# What the message calls each.
WORDS = {
    "allowed": "allowed",
    "pinned": "pinned",
    "capacity": "capacity",
    "min_return": "min_return",
    "budgets": r"3 budget\(s\)",
    "observed": "observed costs",
}


@pytest.mark.parametrize("feature", WORDS)
def test_each_feature_is_taken_or_refused_as_the_table_says(
    solver: AbstractSolver, name: str, feature: str
) -> None:
    given_problem = featured(feature, 5, rows=30)
    if feature in TAKES[name]:
        assert solver.solve(given_problem).choice.shape == (30,)
        return
    with pytest.raises(UnsupportedProblemError, match=WORDS[feature]) as refusal:
        solver.solve(given_problem)
    advised = {other for other in TAKES if other in str(refusal.value)} - {name}
    assert advised
    assert all(feature in TAKES[other] for other in advised)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("taker", OBSERVING)
def test_observed_costs_are_met(taker: str, seed: int) -> None:
    noisy = observed_problem(seed, rows=120)
    found = SOLVERS.load(taker)().solve(noisy)
    assert noisy.observed is not None
    assert float(found.cost) <= float(noisy.budget) * (1 + BUDGET_SLACK)
    spend = float(ipw_spend(noisy.observed, found.choice))
    assert float(found.cost) == pytest.approx(spend, rel=1e-9)


@pytest.mark.parametrize("taker", OBSERVING)
def test_observed_costs_go_with_masks_and_pins(taker: str) -> None:
    noisy = observed_problem(2, rows=120)
    allowed = torch.rand(120, 4, generator=torch.Generator().manual_seed(2)) < 0.7
    allowed[:, 0] = True
    pinned = torch.full((120,), -1)
    pinned[:9] = 0
    masked = replace(noisy, allowed=allowed, pinned=pinned, budget=4 * float(noisy.budgets[0]))
    found = SOLVERS.load(taker)().solve(masked)
    assert masked.choices is not None
    assert bool(masked.choices[torch.arange(120), found.choice].all())
    assert float(found.cost) <= float(masked.budgets[0]) * (1 + BUDGET_SLACK)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("feature", [*FEATURES, "all"])
@pytest.mark.parametrize("general", GENERAL)
def test_every_constraint_is_met_near_the_optimum(general: str, feature: str, kind: str) -> None:
    features = FEATURES if feature == "all" else [feature]
    for seed in range(2):
        small = constrained(seed, rows=3 + seed, treatments=4, features=features, kind=kind)
        found = SOLVERS.load(general)().solve(small)
        check(small, found)
        check_optimal(general, small, found, 2 * largest_step(small))


@pytest.mark.parametrize("general", GENERAL)
@settings(max_examples=20)
@given(problem=constrained_problems())
def test_small_problems_with_every_constraint(general: str, problem: AllocationProblem) -> None:
    found = SOLVERS.load(general)().solve(problem)
    check(problem, found)
    check_optimal(general, problem, found, problem.rows * largest_step(problem))


def taken_by(name: str) -> list[str]:
    return sorted(TAKES[name] - {"observed"})


@pytest.mark.parametrize("kind", ["continuous", "integers", "dominated"])
def test_neither_order_nor_currency_changes_the_value(name: str, kind: str) -> None:
    solver = SOLVERS.load(name)(**NEAR_ENOUGH.get(name, {}))
    full = constrained(4, rows=30, treatments=4, features=taken_by(name), kind=kind)
    bound = float(solver.solve(full).upper_bound)
    people = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    order = torch.tensor([2, 0, 3, 1])
    scaled = replace(
        full,
        revenue=3 * full.revenue,
        cost=3 * full.cost,
        budget=3 * full.budgets.reshape(full.cost.shape[2:]),
    )
    rel = NEAR_ENOUGH.get(name, {}).get("relative_gap", 1e-9)
    for changed, factor in ((rearranged(full, people, order), 1.0), (scaled, 3.0)):
        found = solver.solve(changed)
        check(changed, found)
        assert float(found.upper_bound) == pytest.approx(factor * bound, rel=rel)


def rearranged(problem: AllocationProblem, people: Tensor, order: Tensor) -> AllocationProblem:
    """Return the same problem with people and treatments in another order."""

    def both(amount: Tensor) -> Tensor:
        return amount[people][:, order]

    inverse = order.argsort()
    pinned, capacity = problem.pinned, problem.capacity
    if pinned is not None:
        pinned = torch.where(pinned < 0, -1, inverse[pinned.clamp(min=0)])[people]
    return replace(
        problem,
        revenue=both(problem.revenue),
        cost=both(problem.cost),
        allowed=None if problem.allowed is None else both(problem.allowed),
        pinned=pinned,
        capacity=None if capacity is None else capacity[order],
    )


def test_constraints_follow_dtype_and_device_and_are_not_touched(
    solver: AbstractSolver, name: str, dtype: torch.dtype, device: torch.device
) -> None:
    exact = constrained(8, rows=60, treatments=4, features=taken_by(name))
    tensors = {
        field.name: value.to(device)
        for field in fields(exact)
        if isinstance(value := getattr(exact, field.name), Tensor)
    }
    tensors |= {column: tensors[column].to(dtype) for column in ("revenue", "cost")}
    same = replace(exact, **tensors)
    before = {column: tensor.clone() for column, tensor in tensors.items()}
    first, second = solver.solve(same), solver.solve(same)
    check(same, first)
    assert first.choice.equal(second.choice)
    assert first.multiplier.equal(second.multiplier)
    assert all(tensor.equal(before[column]) for column, tensor in tensors.items())
    bound = float(solver.solve(exact).upper_bound)
    assert float(first.upper_bound) == pytest.approx(bound, rel=1e-6)


@pytest.mark.parametrize(("rows", "treatments"), [(0, 3), (0, 1), (1, 1), (1, 4), (5, 1)])
def test_constraints_on_nobody_one_person_and_one_treatment(
    solver: AbstractSolver, name: str, rows: int, treatments: int
) -> None:
    small = constrained(8, rows=rows, treatments=treatments, features=taken_by(name))
    found = solver.solve(small)
    check(small, found)
    check_optimal(name, small, found, largest_step(small))


def test_a_budget_without_limit_is_one_that_is_not_there(name: str) -> None:
    if "budgets" not in taken_by(name):
        with pytest.raises(UnsupportedProblemError, match="one budget"):
            SOLVERS.load(name)().solve(constrained(5, rows=40, treatments=4, features=["budgets"]))
        return
    solver = SOLVERS.load(name)(**NEAR_ENOUGH.get(name, {}))
    full = constrained(5, rows=40, treatments=4, features=["budgets", "capacity"])
    full = replace(full, cost=full.cost[..., :2], budget=full.budgets[:2])
    first, second = full.budgets.tolist()
    for budgets, left in (([first, torch.inf], 0), ([torch.inf, second], 1)):
        alone = replace(full, cost=full.cost[..., left], budget=full.budgets[left])
        for capacity in (full.capacity, None):
            free = replace(full, budget=torch.tensor(budgets), capacity=capacity)
            found, wanted = solver.solve(free), solver.solve(replace(alone, capacity=capacity))
            check(replace(free, budget=torch.tensor(budgets).nan_to_num(posinf=1e9)), found)
            bound = float(wanted.upper_bound)
            assert float(found.upper_bound) == pytest.approx(bound, rel=1e-6)
            assert float(found.multiplier[1 - left]) == 0
    nothing = replace(full, budget=torch.full((2,), torch.inf), capacity=None)
    best = float(full.revenue.amax(1).sum())
    assert float(solver.solve(nothing).revenue) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("rows", [1_000, 30_000])
def test_everyone_as_today_is_feasible_at_the_float32_sum_of_what_it_costs(
    solver: AbstractSolver, rows: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    cost = torch.rand(rows, 3, generator=generator).cumsum(1) + 0.1
    today = cost.sqrt()[:, 0].sum(dtype=torch.float64)
    for budget in (cost[:, 0].sum(), float(cost[:, 0].sum())):
        found = solver.solve(AllocationProblem(cost.sqrt(), cost, budget))
        assert float(found.revenue) >= float(today) * (1 - 1e-12)
        assert float(found.cost) <= float(cost[:, 0].sum()) * (1 + 1e-6)


@pytest.mark.parametrize("mode", ["inference", "gradients", "strided"])
def test_how_the_inputs_were_made_does_not_matter(solver: AbstractSolver, mode: str) -> None:
    random = problem(11, rows=60, treatments=4)
    wanted = solver.solve(random)
    with torch.inference_mode(mode == "inference"):
        revenue, cost = random.revenue.clone(), random.cost.clone()
        if mode == "strided":
            revenue, cost = (one.T.contiguous().T for one in (revenue, cost))
        revenue, cost = (one.requires_grad_(mode == "gradients") for one in (revenue, cost))
        budget = torch.tensor(random.budget, requires_grad=mode == "gradients").double()
        within = solver.solve(AllocationProblem(revenue, cost, budget))
    without = solver.solve(AllocationProblem(revenue, cost, budget))
    for found in (within, without):
        assert found.choice.equal(wanted.choice)
        assert not found.revenue.requires_grad
        assert float(found.upper_bound) == pytest.approx(float(wanted.upper_bound), rel=1e-12)


@pytest.mark.parametrize("rows", [1, 2, 50])
def test_everybody_alike_is_allocated_as_well_as_anybody(name: str, rows: int) -> None:
    solver = SOLVERS.load(name)(**NEAR_ENOUGH.get(name, {}))
    one = problem(4, rows=1, treatments=4)
    budget = 0.37 * rows * float(one.cost.amax())
    same = AllocationProblem(
        one.revenue.expand(rows, 4),
        one.cost.expand(rows, 4),
        max(budget, float(one.cost.amin()) * rows),
    )
    found = solver.solve(same)
    check(same, found)
    assert float(found.upper_bound - found.revenue) <= tied_steps(same, found)


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
