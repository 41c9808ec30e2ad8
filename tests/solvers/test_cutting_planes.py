"""`CuttingPlanes` against HiGHS on every kind of constraint."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import coo_array
from torch import Tensor

from dfl.errors import (
    InfeasibleProblemError,
    InvalidValueError,
    NotConvergedError,
    ShapeError,
    UnsupportedProblemError,
)
from dfl.problem import BUDGET_SLACK, AllocationProblem
from dfl.solvers import CuttingPlanes, DualPrices, GreedyDual
from tests.solvers.instances import KINDS, observed_problem, problem, problems

CONSTRAINTS = ("budgets", "capacity", "return", "masks", "all")
SOLVER = CuttingPlanes()


def constrained(
    seed: int, constraint: str, *, rows: int, treatments: int, spare: float = 0.1
) -> AllocationProblem:
    """Make a problem that a random plan meets, up to ``spare`` below the limits."""
    draw = np.random.default_rng(seed)
    budgets = 2 if constraint in ("budgets", "all") else 1
    cost = np.cumsum(draw.gamma(1.0, size=(rows, treatments, budgets)), axis=1)
    steps = draw.gamma(1.0, size=(rows, treatments))
    revenue = np.cumsum(steps * 0.8 ** np.arange(treatments), axis=1)
    allowed, pinned, capacity, least = np.ones((rows, treatments), bool), None, None, None
    everyone = np.arange(rows)
    if constraint in ("masks", "all"):
        allowed = draw.random((rows, treatments)) < 0.7
        allowed[everyone, draw.integers(0, treatments, rows)] = True
        pinned = torch.from_numpy(np.where(draw.random(rows) < 0.1, allowed.argmax(1), -1))
    plan = np.where(allowed, draw.random((rows, treatments)), -1).argmax(1)
    plan = plan if pinned is None else np.where(pinned.numpy() >= 0, pinned.numpy(), plan)
    use = cost[everyone, plan].sum(0)
    if constraint in ("capacity", "all"):
        places = np.bincount(plan, minlength=treatments) + np.ceil(spare * rows / treatments)
        places[draw.integers(0, treatments)] = np.inf
        capacity = torch.from_numpy(places)
    if constraint in ("return", "all"):
        least = float((1 - spare) * revenue[everyone, plan].sum() / use.sum())
    return AllocationProblem(
        torch.from_numpy(revenue),
        torch.from_numpy(cost if budgets > 1 or constraint == "masks" else cost[..., 0]),
        torch.from_numpy((1 + spare) * use),
        allowed=None if pinned is None else torch.from_numpy(allowed),
        pinned=pinned,
        capacity=capacity,
        min_return=least,
    )


def constraints(given: AllocationProblem) -> tuple[np.ndarray, np.ndarray]:
    """Return what each choice uses of each constraint, (C, N * M), and the limits, (C,)."""
    rows, treatments = given.revenue.shape
    cost = given.cost.double()
    cost = cost if cost.ndim == 3 else cost[..., None]
    use = [cost[..., k].numpy().ravel() for k in range(cost.shape[2])]
    limit = given.budgets.tolist()
    if given.capacity is not None:
        for j in range(treatments):
            if math.isfinite(float(given.capacity[j])):
                use.append(torch.eye(treatments)[j].repeat(rows).double().numpy())
                limit.append(math.floor(float(given.capacity[j])))
    if given.min_return is not None:
        floor = given.min_return * cost.sum(2) - given.revenue.double()
        use.append(floor.numpy().ravel())
        limit.append(0.0)
    return np.array(use), np.array(limit)


def highs(given: AllocationProblem, *, whole: bool) -> float | None:
    """Solve the LP relaxation, or with ``whole`` the problem itself; None if infeasible."""
    use, limit = constraints(given)
    rows, treatments = given.revenue.shape
    every = np.arange(rows * treatments)
    people = coo_array((np.ones(every.size), (every // treatments, every))).tocsc()
    revenue = given.revenue.double().numpy().ravel()
    choices = given.choices
    top = np.ones(every.size) if choices is None else choices.double().numpy().ravel()
    if whole:
        found = milp(
            -revenue,
            constraints=[
                LinearConstraint(use, -np.inf, limit),
                LinearConstraint(people, 1, 1),
            ],
            bounds=Bounds(0 * top, top),
            integrality=np.ones(every.size),
        )
    else:
        found = linprog(
            -revenue,
            A_ub=use,
            b_ub=limit,
            A_eq=people,
            b_eq=np.ones(rows),
            bounds=np.stack([0 * top, top], axis=1),
            method="highs",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
    if found.status not in (0, 2):
        raise RuntimeError(found.message)
    return float(-found.fun) if found.status == 0 else None


def is_feasible(given: AllocationProblem, choice: Tensor) -> bool:
    """Check a choice against every constraint, up to rounding."""
    use, limit = constraints(given)
    taken = torch.nn.functional.one_hot(choice, given.treatments).numpy().ravel()
    used = use @ taken
    size = float(given.revenue.double().abs().amax(1).sum())
    slack = np.where(limit > 0, BUDGET_SLACK * limit, BUDGET_SLACK * size)
    choices = given.choices
    banned = choices is not None and not bool(choices.gather(1, choice[:, None]).all())
    return bool((used <= limit + slack).all()) and not banned


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_bound_is_the_optimum_of_the_relaxation_and_the_choice_is_feasible(
    constraint: str,
) -> None:
    for seed in range(24):
        rows, treatments = 10 + 3 * (seed % 7), 2 + seed % 4
        random = constrained(seed, constraint, rows=rows, treatments=treatments)
        optimum = highs(random, whole=False)
        found = SOLVER.solve_from(random)
        assert optimum is not None
        assert found.converged
        assert float(found.allocation.upper_bound) == pytest.approx(optimum, rel=1e-9)
        assert is_feasible(random, found.allocation.choice)
        revenue = random.revenue.gather(1, found.allocation.choice[:, None]).sum()
        assert float(found.allocation.revenue) == pytest.approx(float(revenue), rel=1e-12)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_larger_problems_reach_the_relaxation_with_few_people_in_detail(constraint: str) -> None:
    random = constrained(1, constraint, rows=1500, treatments=4)
    optimum = highs(random, whole=False)
    found = CuttingPlanes(detail=16).solve_from(random)
    assert found.converged
    assert float(found.allocation.upper_bound) == pytest.approx(optimum, rel=1e-9)
    assert is_feasible(random, found.allocation.choice)
    spread = float((random.revenue.amax(1) - random.revenue.amin(1)).max())
    active = constraints(random)[1].shape[0]
    assert float(found.allocation.upper_bound - found.allocation.revenue) <= active * spread


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_no_allocation_earns_more_than_the_bound(constraint: str) -> None:
    for seed in range(5):
        random = constrained(seed, constraint, rows=8, treatments=3, spare=0.2)
        best = highs(random, whole=True)
        found = SOLVER.solve(random)
        assert best is not None
        assert float(found.revenue) <= best + 1e-6
        assert float(found.upper_bound) >= best - 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_slack_second_budget_changes_nothing(kind: str) -> None:
    for seed in range(6):
        one = problem(seed, rows=60, treatments=4, kind=kind)
        cost = torch.stack([one.cost, one.cost], dim=2)
        most = float(one.cost.amax(1).sum())
        two = replace(one, cost=cost, budget=torch.cat([one.budgets, torch.tensor([2 * most])]))
        exact, found = GreedyDual().solve(one), SOLVER.solve(two)
        size = float(one.revenue.abs().amax(1).sum())
        bound = float(exact.upper_bound)
        assert float(found.upper_bound) == pytest.approx(bound, rel=1e-9, abs=2e-9 * size)
        assert is_feasible(two, found.choice)
        step = float((one.revenue.amax(1) - one.revenue.amin(1)).max())
        assert float(found.revenue) >= float(exact.revenue) - step
        assert float(found.multiplier[1]) == 0


def test_one_budget_is_left_to_the_exact_solver() -> None:
    one = problem(3, rows=60, treatments=4)
    exact = GreedyDual().solve(one)
    for same in (
        one,
        replace(one, capacity=torch.full((4,), 60.0)),
        replace(one, cost=one.cost[..., None], budget=one.budgets),
    ):
        found = SOLVER.solve_from(same)
        assert found.allocation.choice.equal(exact.choice)
        assert found.allocation.cost.shape == same.cost.shape[2:]
        assert found.prices.budget.equal(exact.multiplier.reshape(1))


@pytest.mark.parametrize("factor", [2.0**-40, 0.01, 2.0**40])
@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_currency_does_not_matter(constraint: str, factor: float) -> None:
    random = constrained(5, constraint, rows=50, treatments=4)
    scaled = replace(
        random,
        revenue=factor * random.revenue,
        cost=factor * random.cost,
        budget=factor * random.budgets,
    )
    found, other = SOLVER.solve(random), SOLVER.solve(scaled)
    assert other.choice.equal(found.choice)
    assert float(other.upper_bound) == pytest.approx(factor * float(found.upper_bound), rel=1e-9)


def test_what_people_bring_anyway_does_not_matter() -> None:
    random = constrained(2, "budgets", rows=1000, treatments=4)
    usual = SOLVER.solve(random)
    base = torch.linspace(1e8, 1e9, 1000, dtype=torch.float64)[:, None]
    found = SOLVER.solve(replace(random, revenue=random.revenue + base))
    assert float(found.revenue - base.sum()) == pytest.approx(float(usual.revenue), abs=1e-3)
    assert float(found.upper_bound - base.sum()) == pytest.approx(float(usual.upper_bound), abs=2)
    assert found.multiplier.tolist() == pytest.approx(usual.multiplier.tolist(), rel=1e-6)


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_neither_order_matters(constraint: str) -> None:
    random = constrained(6, constraint, rows=50, treatments=4)
    people = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([2, 0, 3, 1])

    def shuffle(amount: Tensor | None) -> Tensor | None:
        return None if amount is None else amount[people][:, order]

    pinned = random.pinned
    if pinned is not None:
        pinned = torch.where(pinned < 0, pinned, order.argsort()[pinned.clamp_min(0)])[people]
    shuffled = replace(
        random,
        revenue=shuffle(random.revenue),
        cost=shuffle(random.cost),
        allowed=shuffle(random.allowed),
        pinned=pinned,
        capacity=None if random.capacity is None else random.capacity[order],
    )
    found = SOLVER.solve(random).choice
    assert order[SOLVER.solve(shuffled).choice].equal(found[people])


@given(
    one=problems(),
    tail=st.sampled_from([1e-12, 1e-3, 1.0, 1e9]),
    places=st.integers(1, 4),
    least=st.sampled_from([None, 0.0, 0.3, 1e6]),
)
def test_any_magnitude_gives_a_feasible_choice_and_a_true_bound_or_a_clear_refusal(
    one: AllocationProblem, tail: float, places: int, least: float | None
) -> None:
    cost = torch.stack([one.cost, tail * one.cost.flip(1)], dim=2)
    lowest = cost.amin(1).sum(0)
    capacity = torch.full((one.treatments,), float(places))
    capacity[0] = torch.inf
    budget = lowest + 0.5 * (cost.amax(1).sum(0) - lowest)
    hard = replace(one, cost=cost, budget=budget, capacity=capacity, min_return=least)
    best = best_of_all(hard)
    size = float(one.revenue.abs().amax(1).sum())
    try:
        found = SOLVER.solve(hard)
    except InfeasibleProblemError:
        assert best == -math.inf
    except NotConvergedError:
        use = np.abs(constraints(hard)[0])
        wide = any(line.max() > 1e9 * line[line > 0].min() for line in use if line.any())
        assert best == -math.inf or wide  # beyond what sums in float64 can tell apart
    else:
        assert is_feasible(hard, found.choice)
        assert float(found.upper_bound) >= best - BUDGET_SLACK * size


def best_of_all(given: AllocationProblem) -> float:
    """Return the best revenue over all choices; minus infinity if none is feasible."""
    use, limit = constraints(given)
    rows, treatments = given.revenue.shape
    choice = torch.tensor(list(product(range(treatments), repeat=rows)), dtype=torch.int64)
    choice = choice.reshape(treatments**rows, rows)
    taken = (
        torch.nn.functional.one_hot(choice, treatments)
        .double()
        .reshape(choice.shape[0], rows * treatments)
        .numpy()
    )
    met = (taken @ use.T <= limit).all(axis=1)
    revenue = taken @ given.revenue.double().numpy().ravel()
    return float(revenue[met].max(initial=-np.inf))


def test_a_warm_start_takes_fewer_passes_after_a_small_change() -> None:
    random = constrained(2, "budgets", rows=40_000, treatments=4)
    cold = SOLVER.solve_from(random)
    changed = replace(random, budget=1.03 * random.budgets)
    zeros = DualPrices(torch.zeros(2), torch.zeros(4), torch.zeros(()))
    warm = SOLVER.solve_from(changed, cold.prices)
    from_samples, from_nothing = SOLVER.solve_from(changed), SOLVER.solve_from(changed, zeros)
    assert warm.sample_iterations < from_samples.sample_iterations
    assert warm.iterations < from_nothing.iterations
    cold_total = from_samples.iterations + from_samples.sample_iterations
    assert warm.iterations + warm.sample_iterations < cold_total
    assert SOLVER.solve_from(random, cold.prices).iterations == 1
    for other in (from_samples, from_nothing):
        bound = float(other.allocation.upper_bound)
        assert float(warm.allocation.upper_bound) == pytest.approx(bound, rel=1e-9)


def test_the_budgets_are_spent_where_everyone_is_tied() -> None:
    rows, draw = 5000, torch.Generator().manual_seed(0)
    cost = torch.rand(rows, 3, 2, generator=draw).cumsum(1).double()
    cost[:, 0] = 0
    tied = AllocationProblem(0.3 * cost.sum(2), cost, 0.3 * cost[:, -1].sum(0))
    found = SOLVER.solve(tied)
    assert is_feasible(tied, found.choice)
    assert found.gap < 0.1  # whole people, all alike at the prices: only the filling counts


def test_stopping_early_keeps_a_feasible_choice_and_a_true_bound() -> None:
    random = constrained(3, "all", rows=400, treatments=4)
    optimum = highs(random, whole=False)
    found = CuttingPlanes(max_iter=1, detail=8).solve_from(random)
    assert not found.converged
    assert optimum is not None
    assert float(found.allocation.upper_bound) >= optimum * (1 - 1e-12)
    assert is_feasible(random, found.allocation.choice)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_float32_is_as_good_as_its_inputs(dtype: torch.dtype, device: torch.device) -> None:
    exact = constrained(4, "budgets", rows=300, treatments=5)
    given = replace(
        exact, revenue=exact.revenue.to(device, dtype), cost=exact.cost.to(device, dtype)
    )
    found = SOLVER.solve(given)
    assert found.choice.device == given.revenue.device
    assert found.upper_bound.dtype == torch.float64
    bound = float(SOLVER.solve(exact).upper_bound)
    assert float(found.upper_bound) == pytest.approx(bound, rel=1e-6)


def clash() -> AllocationProblem:
    """Two budgets, each of which can be met alone: one treatment costs the one, one the other."""
    cost = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(6, 1, 1).double()
    return AllocationProblem(torch.ones(6, 2).double(), cost, torch.tensor([2.0, 2.0]))


def test_constraints_that_exclude_each_other_are_named() -> None:
    with pytest.raises(InfeasibleProblemError, match="budget 0 and budget 1 together"):
        SOLVER.solve(clash())


def test_a_constraint_that_cannot_be_met_alone_is_named() -> None:
    one = problem(3, rows=20, treatments=3)
    with pytest.raises(InfeasibleProblemError, match="no allocation meets min_return: even alone"):
        SOLVER.solve(replace(one, cost=one.cost + 1, budget=1e9, min_return=1e3))


def test_a_problem_that_only_whole_people_make_infeasible_is_refused() -> None:
    cost = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]).double()
    with pytest.raises(NotConvergedError, match=r"no feasible allocation found.*mixed-integer"):
        SOLVER.solve(AllocationProblem(torch.ones(1, 2).double(), cost, torch.tensor([0.5, 0.5])))


def test_observed_costs_are_refused() -> None:
    with pytest.raises(UnsupportedProblemError, match="observed costs"):
        SOLVER.solve(observed_problem(0, rows=30))


@pytest.mark.parametrize(
    ("option", "message"),
    [({"rtol": 0.0}, "rtol"), ({"max_iter": 0}, "max_iter"), ({"detail": 0}, "detail")],
)
def test_options_out_of_range_are_refused(option: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{message} must"):
        CuttingPlanes(**option)


def test_a_start_must_fit() -> None:
    random = constrained(1, "budgets", rows=20, treatments=3)
    zeros = DualPrices(torch.zeros(2), torch.zeros(3), torch.zeros(()))
    with pytest.raises(ShapeError, match="start must have prices of shapes"):
        SOLVER.solve_from(random, replace(zeros, capacity=torch.zeros(4)))
    with pytest.raises(InvalidValueError, match="start must be >= 0"):
        SOLVER.solve_from(random, replace(zeros, budget=-torch.ones(2)))


@pytest.mark.parametrize(("rows", "treatments"), [(0, 3), (0, 1), (1, 1), (1, 3), (5, 1)])
def test_nobody_one_person_and_one_treatment(rows: int, treatments: int) -> None:
    random = constrained(8, "all", rows=rows, treatments=treatments) if rows else None
    if random is None:
        empty = torch.zeros(0, treatments).double()
        cost = torch.zeros(0, treatments, 2).double()
        random = AllocationProblem(empty, cost, torch.ones(2), capacity=torch.ones(treatments))
    found = SOLVER.solve(random)
    assert is_feasible(random, found.choice)
    assert found.gap >= 0
