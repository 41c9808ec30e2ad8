import math

import pytest
import torch
from torch import Tensor

from dfl.errors import InfeasibleBudgetError, InvalidValueError, UnsupportedProblemError
from dfl.problem import AllocationProblem, ObservedCost
from dfl.solvers import DualBisection, GreedyDual, cheapest, decide, match_intervals
from tests.solvers.instances import (
    KINDS,
    ipw_spend,
    largest_step,
    linear_program,
    observed_problem,
    problem,
)


def total(amount: Tensor, choice: Tensor) -> float:
    return float(amount.gather(1, choice[:, None]).sum())


@pytest.mark.parametrize("seed", range(70))
def test_predicted_costs_end_below_the_critical_multiplier(seed: int) -> None:
    random = problem(seed, rows=1 + seed % 40, treatments=2 + seed % 6, kind=KINDS[seed % 7])
    found, best = DualBisection().solve(random), GreedyDual().solve(random)
    assert float(found.multiplier) == float(best.multiplier)
    assert float(found.upper_bound) == pytest.approx(float(best.upper_bound), rel=1e-9)
    assert float(found.cost) <= random.budget * (1 + 1e-12)
    assert float(found.revenue) <= float(best.revenue) + 1e-9
    assert float(found.cost) == pytest.approx(total(random.cost, found.choice), rel=1e-12)
    if found.multiplier > 0:  # a little less, and the budget is not met
        looser = decide(random.revenue, random.cost, float(found.multiplier) * (1 - 1e-6))
        assert total(random.cost, looser) > random.budget


def test_without_ties_at_most_one_step_is_left_out() -> None:
    random = problem(6, rows=80, treatments=5)
    found = DualBisection().solve(random)
    assert float(found.upper_bound) == pytest.approx(linear_program(random), rel=1e-9)
    assert float(found.upper_bound - found.revenue) <= largest_step(random)


def test_bracket_reaches_above_the_papers() -> None:
    # max revenue / cost is 0.91, where everyone still takes the dearer treatment.
    revenue, cost = torch.tensor([[0.0, 1.0]]).double(), torch.tensor([[1.0, 1.1]]).double()
    found = DualBisection().solve(AllocationProblem(revenue, cost, 1.05))
    assert found.choice.tolist() == [0]
    assert float(found.multiplier) == pytest.approx(10.0)


def logs(treatment: list[int], cost: list[float], weight: float = 2.0) -> ObservedCost:
    columns = torch.tensor(cost).double(), torch.full((len(cost),), weight).double()
    return ObservedCost(torch.tensor(treatment, dtype=torch.int64), *columns)


TWO_ARMS = torch.tensor([[0.0, 4.0], [0.0, 3.0], [0.0, 2.0], [0.0, 1.0]]).double()
UNIT_COST = torch.tensor([[0.0, 1.0]]).double().expand(4, 2)


@pytest.mark.parametrize(
    ("budget", "multiplier", "spend"),
    [(8.0, 0.0, 8.0), (7.9, 1.0, 6.0), (6.0, 1.0, 6.0), (5.0, 2.0, 4.0), (0.0, 4.0, 0.0)],
)
def test_observed_spend_meets_the_budget(budget: float, multiplier: float, spend: float) -> None:
    observed = logs([1, 1, 1, 1], [1.0, 1.0, 1.0, 1.0])
    found = DualBisection().solve(AllocationProblem(TWO_ARMS, UNIT_COST, budget, observed))
    assert float(found.multiplier) == multiplier
    assert float(found.cost) == spend
    assert float(found.upper_bound) == math.inf
    assert found.choice.tolist() == decide(TWO_ARMS, UNIT_COST, multiplier).tolist()
    assert float(found.revenue) == total(TWO_ARMS, found.choice)


def spend_curve(problem: AllocationProblem, multipliers: Tensor) -> Tensor:
    """Observed spend at each multiplier, by an argmax per step."""
    assert problem.observed is not None
    choices = [decide(problem.revenue, problem.cost, one) for one in multipliers]
    return torch.stack([ipw_spend(problem.observed, choice) for choice in choices])


@pytest.mark.parametrize("seed", range(40))
def test_observed_invariant_on_noisy_logs(seed: int) -> None:
    noisy = observed_problem(seed, rows=1 + 5 * seed)
    assert noisy.observed is not None
    found = DualBisection().solve(noisy)
    assert float(found.cost) <= float(noisy.budget)
    assert float(found.cost) == pytest.approx(float(ipw_spend(noisy.observed, found.choice)))
    ends = torch.cat(match_intervals(noisy.revenue, noisy.cost, noisy.observed.treatment))
    before = torch.cat(
        [ends[(ends < found.multiplier) & (ends > 0)], torch.zeros(1).double()]
    ).max()
    if found.multiplier > 0:  # on the plateau before, the spend is above the budget
        assert float(spend_curve(noisy, before[None])) > float(noisy.budget)


@pytest.mark.parametrize("price", [0.3, 0.7])
def test_rounding_ties_never_add_spend(price: float) -> None:
    # Everything is tied but for rounding: choices alone would match more than was counted.
    rows, draw = 400, torch.Generator().manual_seed(1)
    cost = torch.rand(rows, 4, generator=draw, dtype=torch.float64).sort(1).values
    treatment = torch.randint(4, (rows,), generator=draw)
    observed = ObservedCost(
        treatment, cost.gather(1, treatment[:, None])[:, 0], 4 * cost[:, 0] ** 0
    )
    low, high = match_intervals(price * cost, cost, treatment)
    matched = (low <= price) & (price < high)
    assert bool(((decide(price * cost, cost, price) == treatment) & ~matched).any())
    lowest = float(ipw_spend(observed, torch.zeros_like(treatment)))
    for budget in (lowest + 15 * step for step in range(20)):
        found = DualBisection().solve(AllocationProblem(price * cost, cost, budget, observed))
        assert float(found.cost) <= budget * (1 + 1e-12)
        spend = float(ipw_spend(observed, found.choice))
        assert spend == pytest.approx(float(found.cost), rel=1e-12)


COSTLY = logs([1, 1, 0, 0], [5.0, 5.0, 3.0, 3.0])


def test_an_observed_budget_below_the_cheapest_is_refused() -> None:
    poor = AllocationProblem(TWO_ARMS, UNIT_COST, 5.0, COSTLY)
    with pytest.raises(
        InfeasibleBudgetError, match=r"on these logs at 12, or .* multiplier, got 5;"
    ):
        DualBisection().solve(poor)


@pytest.mark.parametrize("on_infeasible", ["raise", "least-spend"])
def test_a_top_of_the_bracket_that_overspends_by_chance_rules_out_no_other_multiplier(
    on_infeasible: str,
) -> None:
    cheap_is_dear = logs([0, 1], [3.0, 1.0])
    problem = AllocationProblem(TWO_ARMS[:2], UNIT_COST[:2], 3.0, cheap_is_dear)
    found = DualBisection(on_infeasible=on_infeasible).solve(problem)  # type: ignore[arg-type]
    assert (float(found.multiplier), float(found.cost)) == (0.0, 2.0)
    assert found.choice.tolist() == [1, 1]


def test_least_spend_returns_the_top_of_the_bracket() -> None:
    poor = AllocationProblem(TWO_ARMS, UNIT_COST, 5.0, COSTLY)
    found = DualBisection(on_infeasible="least-spend").solve(poor)
    assert found.choice.equal(cheapest(TWO_ARMS, UNIT_COST))
    assert float(found.cost) == 12.0
    assert float(found.multiplier) == 4.0
    assert decide(TWO_ARMS, UNIT_COST, found.multiplier).equal(found.choice)


def test_least_spend_changes_nothing_where_the_budget_can_be_met() -> None:
    random = observed_problem(3, rows=50)
    strict, lenient = DualBisection(), DualBisection(on_infeasible="least-spend")
    assert strict.solve(random).choice.equal(lenient.solve(random).choice)


@pytest.mark.parametrize("on_infeasible", ["raise", "least-spend"])
def test_nobody_spends_nothing(on_infeasible: str) -> None:
    empty = AllocationProblem(TWO_ARMS[:0], UNIT_COST[:0], 0.0, logs([], []))
    solver = DualBisection(on_infeasible=on_infeasible)  # type: ignore[arg-type]
    assert float(solver.solve(empty).cost) == 0.0
    assert solver.solve(empty).choice.shape == (0,)


def test_nobody_with_a_negative_budget_is_at_the_top_of_an_empty_bracket() -> None:
    empty = AllocationProblem(TWO_ARMS[:0], UNIT_COST[:0], -1.0, logs([], []))
    with pytest.raises(InfeasibleBudgetError, match="at 0, or of another multiplier, got -1"):
        DualBisection().solve(empty)
    assert float(DualBisection(on_infeasible="least-spend").solve(empty).multiplier) == 0.0


def test_float32_logs_are_priced_in_float64() -> None:
    random = observed_problem(2, rows=300)
    assert random.observed is not None
    single = ObservedCost(
        random.observed.treatment, random.observed.cost.float(), random.observed.weight.float()
    )
    found = DualBisection().solve(
        AllocationProblem(random.revenue.float(), random.cost.float(), random.budget, single)
    )
    assert found.cost.dtype == found.multiplier.dtype == torch.float64
    assert float(found.cost) == pytest.approx(float(DualBisection().solve(random).cost), rel=1e-2)


def test_wrong_options_and_several_budgets_are_refused() -> None:
    with pytest.raises(
        InvalidValueError, match="on_infeasible must be one of 'raise', 'least-spend', got 'ignore'"
    ):
        DualBisection(on_infeasible="ignore")  # type: ignore[arg-type]
    several = torch.stack([UNIT_COST, UNIT_COST], 2)
    with pytest.raises(UnsupportedProblemError, match="dual-bisection takes one budget"):
        DualBisection().solve(AllocationProblem(TWO_ARMS, several, torch.tensor([3.0, 3.0])))
