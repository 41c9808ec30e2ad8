"""Scenarios: golden values, brute force, nested budgets, bounds, errors."""

from dataclasses import replace
from itertools import product
from typing import Any, Literal

import pytest
import torch

from dfl.errors import (
    DTypeError,
    InfeasibleBudgetError,
    InvalidValueError,
    NotConvergedError,
    ShapeError,
)
from dfl.problem import AllocationProblem, ScenarioProblem
from dfl.solvers import GreedyDual, Stochastic
from dfl.solvers.scenarios import (
    FORMULATIONS,
    AbstractFormulation,
    ChanceConstraint,
    ExpectedValue,
    MeanRisk,
    SimpleRecourse,
    WorstCase,
)

ALL: tuple[AbstractFormulation, ...] = (
    ExpectedValue(),
    ChanceConstraint(risk=0.25),
    SimpleRecourse(penalty=1.5),
    MeanRisk(aversion=0.6, tail=0.3),
    WorstCase(),
)
NAMES = [type(one).__name__ for one in ALL]


def golden(budget: float) -> ScenarioProblem:
    """Three clusters of 50, 30 and 20 people under four equally likely scenarios."""
    people = torch.tensor([50.0, 30, 20], dtype=torch.float64)[:, None]
    double = torch.float64
    revenue = torch.tensor([[1, 1.10, 1.15], [0.6, 0.9, 1.05], [0.2, 0.3, 0.7]], dtype=double)
    cost = torch.tensor([[0, 0.08, 0.20], [0, 0.10, 0.26], [0, 0.05, 0.22]], dtype=double)
    factors = torch.tensor([[0.8, 0.9, 1.1, 1.2], [0.7, 1.3, 0.9, 1.1]], dtype=double)
    of_revenue, of_cost = factors
    return ScenarioProblem(
        of_revenue[:, None, None] * people * revenue,
        of_cost[:, None, None] * people * cost,
        budget,
    )


@pytest.mark.parametrize(
    ("formulation", "budget", "choice", "value"),
    [
        (ExpectedValue(), 0, "000", 72),
        (ExpectedValue(), 2, "001", 74),
        (ExpectedValue(), 4, "011", 83),
        (ExpectedValue(), 8, "012", 91),
        (ExpectedValue(), 10, "012", 91),
        (ExpectedValue(), 20, "122", 100.5),
        (ChanceConstraint(risk=0.25), 0, "000", 72),
        (ChanceConstraint(risk=0.25), 2, "001", 74),
        (ChanceConstraint(risk=0.25), 4, "010", 81),
        (ChanceConstraint(risk=0.25), 10, "012", 91),
        (ChanceConstraint(risk=0.25), 20, "122", 100.5),
        (WorstCase(), 0, "000", 72),
        (WorstCase(), 2, "001", 74),
        (WorstCase(), 4, "010", 81),
        (WorstCase(), 10, "012", 91),
        (WorstCase(), 20, "112", 96),
        (SimpleRecourse(penalty=2), 8, "012", 90.12),
    ],
)
def test_the_golden_case(
    formulation: AbstractFormulation, budget: float, choice: str, value: float
) -> None:
    found = Stochastic(formulation=formulation).solve_scenarios(golden(budget))
    assert "".join(map(str, found.choice.tolist())) == choice
    assert found.objective == pytest.approx(value)
    assert found.upper_bound == pytest.approx(value)


def test_the_golden_case_with_recourse_costs_what_it_should() -> None:
    found = Stochastic(formulation=SimpleRecourse(penalty=2)).solve_scenarios(golden(8))
    assert found.cost.tolist() == pytest.approx([5.18, 9.62, 6.66, 8.14])
    assert found.violation == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("budget", "choice", "value"),
    [(0, "000", 72), (2, "000", 72), (4, "010", 81), (10, "012", 91), (20, "122", 100.5)],
)
def test_the_lagrange_rule_of_the_golden_case(budget: float, choice: str, value: float) -> None:
    problem = golden(budget)
    path = GreedyDual().path(AllocationProblem(problem.mean_revenue, problem.mean_cost, 100.0))
    point = int((path.costs <= budget + 1e-9).sum()) - 1
    assert "".join(map(str, path.choice_at(point).tolist())) == choice
    assert float(path.revenues[point]) == pytest.approx(value)


def test_the_relaxation_of_the_golden_case() -> None:
    found = Stochastic(engine="greedy-dual").solve_scenarios(golden(8))
    assert found.upper_bound == pytest.approx(91.75)
    assert found.objective == pytest.approx(91)


def drawn(
    seed: int, *, segments: int = 4, treatments: int = 3, scenarios: int = 7
) -> ScenarioProblem:
    generator = torch.Generator().manual_seed(seed)
    shape = (scenarios, segments, treatments)
    noise = torch.randn(2, *shape, generator=generator, dtype=torch.float64).mul(0.4).exp()
    size = torch.rand(2, segments, treatments, generator=generator, dtype=torch.float64).cumsum(2)
    weight = torch.rand(scenarios, generator=generator, dtype=torch.float64) + 0.1
    cost = size[0] * noise[0] * (torch.arange(treatments) > 0)
    budget = float(torch.rand((), generator=generator)) * float(cost.mean(0).amax(1).sum())
    return ScenarioProblem(size[1] * noise[1], cost, budget, weight / weight.sum())


def brute_force(problem: ScenarioProblem, formulation: AbstractFormulation) -> float:
    segments, treatments = problem.revenue.shape[1:]
    every = torch.tensor(list(product(range(treatments), repeat=segments)))
    revenue, cost = problem.totals(every)
    value = formulation.value(revenue, cost, problem)
    return float(value[formulation.allows(cost, problem)].max())


@pytest.mark.parametrize("formulation", ALL, ids=NAMES)
@pytest.mark.parametrize("seed", range(12))
def test_the_exact_engine_finds_the_best_choice(
    formulation: AbstractFormulation, seed: int
) -> None:
    problem = drawn(seed)
    best = brute_force(problem, formulation)
    exact = Stochastic(formulation=formulation).solve_scenarios(problem)
    greedy = Stochastic(formulation=formulation, engine="greedy-dual").solve_scenarios(problem)
    assert exact.objective == pytest.approx(best, rel=1e-9)
    assert exact.upper_bound == pytest.approx(best, rel=1e-6)
    assert greedy.objective <= best * (1 + 1e-9)
    assert greedy.upper_bound >= best * (1 - 1e-9)
    for found in (exact, greedy):
        assert bool(formulation.allows(found.cost, problem))
        value = formulation.value(found.revenue, found.cost, problem)
        assert found.objective == pytest.approx(float(value))
        over = (found.cost > problem.budget * (1 + 1e-9)).double() @ problem.weight
        assert found.violation == pytest.approx(float(over))


@pytest.mark.parametrize("engine", ["exact", "greedy-dual"])
@pytest.mark.parametrize("formulation", ALL, ids=NAMES)
def test_nested_choices_never_get_cheaper(
    formulation: AbstractFormulation, engine: Literal["exact", "greedy-dual"]
) -> None:
    problem = drawn(3)
    budgets = [0.2, 0.5, 0.9, 1.5, 2.5]
    solver = Stochastic(formulation=formulation, engine=engine)
    free = solver.solve_budgets(problem, budgets)
    nested = solver.solve_budgets(problem, budgets, nested=True)
    segment = torch.arange(4)
    cost = torch.stack([problem.mean_cost[segment, one.choice] for one in nested])
    assert bool((cost.diff(dim=0) >= -1e-12).all())
    if engine == "exact":
        assert sum(one.objective for one in nested) <= sum(one.objective for one in free) + 1e-9
        best = [brute_force(replace(problem, budget=one), formulation) for one in budgets]
        assert [one.objective for one in free] == pytest.approx(best)


def test_nested_choices_are_the_best_of_their_kind() -> None:
    problem = drawn(5, segments=2, scenarios=3)
    budgets = [0.3, 0.8]
    nested = Stochastic().solve_budgets(problem, budgets, nested=True)
    every = torch.tensor(list(product(range(3), repeat=2)))
    cost = problem.mean_cost[torch.arange(2), every]
    value, total = problem.mean_revenue[torch.arange(2), every].sum(1), cost.sum(1)
    best = max(
        float(value[a] + value[b])
        for a in range(9)
        for b in range(9)
        if bool((cost[a] <= cost[b]).all()) and total[a] <= 0.3 and total[b] <= 0.8
    )
    assert sum(one.objective for one in nested) == pytest.approx(best)


def test_what_a_formulation_promises_holds() -> None:
    problem = drawn(1, segments=8, scenarios=40)
    violation = {
        type(one).__name__: Stochastic(formulation=one).solve_scenarios(problem).violation
        for one in ALL
    }
    assert violation["ChanceConstraint"] <= 0.25
    assert violation["WorstCase"] == 0


def test_inputs_stay_and_float32_is_near() -> None:
    problem = drawn(2)
    single = ScenarioProblem(problem.revenue.float(), problem.cost.float(), problem.budget)
    before = single.revenue.clone(), single.cost.clone()
    found = Stochastic().solve_scenarios(single)
    assert single.revenue.equal(before[0])
    assert single.cost.equal(before[1])
    double = replace(problem, probability=None)
    assert found.objective == pytest.approx(Stochastic().solve_scenarios(double).objective)


def test_the_currency_does_not_matter() -> None:
    problem = drawn(4)
    for formulation in ALL:
        found = Stochastic(formulation=formulation).solve_scenarios(problem)
        for factor in (2.0**-30, 1e-3, 1e9):
            other = Stochastic(formulation=formulation).solve_scenarios(
                ScenarioProblem(
                    factor * problem.revenue,
                    factor * problem.cost,
                    factor * problem.budget,
                    problem.probability,
                )
            )
            assert other.choice.equal(found.choice)
            assert other.objective == pytest.approx(factor * found.objective)


def test_a_choice_over_the_budget_by_a_tolerance_is_not_taken() -> None:
    revenue = torch.tensor([[[0.0, 1.0]] * 3]).double()
    cost = torch.tensor([[[0.0, 1.0]] * 3]).double()
    problem = ScenarioProblem(revenue, cost, 3 - 2e-9 * 3)
    for one in (ExpectedValue(), ChanceConstraint(risk=0.0), WorstCase()):
        assert Stochastic(formulation=one).solve_scenarios(problem).objective == 2


def test_out_of_time_the_greedy_choice_is_kept() -> None:
    problem = drawn(1, segments=60, treatments=6, scenarios=60)
    solver = Stochastic(formulation=ChanceConstraint(risk=0.1), time_limit=1e-6)
    found = solver.solve_scenarios(problem)
    assert found.violation <= 0.1
    assert found.upper_bound >= found.objective


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"revenue": torch.zeros(3, 2)}, ShapeError, r"revenue must be \(S, N, M\)"),
        ({"cost": torch.zeros(1, 1, 1).double()}, ShapeError, "cost must be .* as revenue is"),
        ({"cost": torch.zeros(7, 4, 3)}, DTypeError, "must share dtype and device"),
        ({"cost": 3}, DTypeError, "cost must be a tensor, got int"),
        ({"cost": torch.full((7, 4, 3), -1.0).double()}, InvalidValueError, "cost must be >= 0"),
        (
            {"revenue": torch.full((7, 4, 3), torch.nan).double()},
            InvalidValueError,
            "revenue must be finite",
        ),
        ({"budget": -1.0}, InvalidValueError, "budget must be >= 0"),
        ({"probability": [1.0]}, DTypeError, "probability must be a tensor, got list"),
        ({"probability": torch.ones(2)}, ShapeError, r"probability must be \(7,\)"),
        ({"probability": torch.ones(7)}, InvalidValueError, "sum to 1"),
    ],
)
def test_wrong_scenarios_are_refused(
    changes: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        replace(drawn(0), **changes)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="engine must be one of"):
        Stochastic(engine="magic")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="time_limit must be > 0"):
        Stochastic(time_limit=0)
    with pytest.raises(InvalidValueError, match="risk must be in"):
        ChanceConstraint(risk=1)
    with pytest.raises(InvalidValueError, match="penalty must be >= 0"):
        SimpleRecourse(penalty=-1)
    with pytest.raises(InvalidValueError, match="aversion must be in"):
        MeanRisk(aversion=2)
    with pytest.raises(InvalidValueError, match="tail must be in"):
        MeanRisk(tail=0)
    with pytest.raises(InvalidValueError, match="budgets must rise"):
        Stochastic().solve_budgets(drawn(0), [1.0, 1.0])


@pytest.mark.parametrize("engine", ["exact", "greedy-dual"])
def test_a_budget_below_the_cheapest_choice_is_named(
    engine: Literal["exact", "greedy-dual"],
) -> None:
    problem = ScenarioProblem(torch.ones(2, 2, 2), torch.ones(2, 2, 2), 1.0)
    with pytest.raises(InfeasibleBudgetError, match="raise"):
        Stochastic(engine=engine).solve_scenarios(problem)
    with pytest.raises(NotConvergedError, match="no choice yet"):
        Stochastic(time_limit=1e-9).solve_scenarios(hard_and_tight())


def hard_and_tight() -> ScenarioProblem:
    """Return a problem that the greedy engine cannot meet, and HiGHS not in no time."""
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(40, 60, 5, generator=generator, dtype=torch.float64) + 0.5
    return ScenarioProblem(cost.sqrt(), cost, float(cost.amin(2).sum(1).max()))


def test_every_formulation_has_a_name() -> None:
    assert {FORMULATIONS.load(name) for name in FORMULATIONS} == {type(one) for one in ALL}


def test_a_greedy_path_along_tails_of_cost_is_nested_in_mean_cost() -> None:
    revenue = torch.tensor([[[5.0, 6.0]], [[5.0, 6.0]]]).double()
    cost = torch.tensor([[[0.0, 1.0]], [[10.0, 1.0]]]).double()  # of mean 5 and 1
    problem = ScenarioProblem(revenue, cost, 1.0)
    chance = ChanceConstraint(risk=0.5)
    for engine in ("greedy-dual", "exact"):
        solver = Stochastic(formulation=chance, engine=engine)  # type: ignore[arg-type]
        found = solver.solve_budgets(problem, [0.5, 1.0], nested=True)
        assert [each.choice.tolist() for each in found] == [[0], [0]]


def test_one_treatment_is_nested_in_itself() -> None:
    problem = ScenarioProblem(torch.ones(1, 2, 1), torch.ones(1, 2, 1), 3.0)
    found = Stochastic().solve_budgets(problem, [2.0, 3.0], nested=True)
    assert [each.choice.tolist() for each in found] == [[0, 0], [0, 0]]
