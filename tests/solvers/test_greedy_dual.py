import pytest
import torch
from torch import Tensor

from dfl.errors import UnsupportedProblemError
from dfl.problem import AllocationProblem, ObservedCost
from dfl.solvers import GreedyDual, decide
from tests.solvers.instances import KINDS, largest_step, linear_program, problem

# Golden case G1 of the specification: three people, three treatments.
COST = torch.tensor([[0.0, 1.0, 2.0]]).expand(3, 3).double()
REVENUE = torch.tensor([[0.0, 1.0, 1.4], [0.0, 0.6, 1.1], [0.0, 0.9, 1.0]]).double()
SIGN = torch.tensor([1.0, -1.0]).double()  # the dearer treatment less the cheaper one


def total(amount: Tensor, choice: Tensor) -> float:
    return float(amount.gather(1, choice[:, None]).sum())


def dual(problem: AllocationProblem, multiplier: float) -> float:
    """``multiplier * budget + sum_i max_j (revenue_ij - multiplier * cost_ij)``."""
    best = (problem.revenue - multiplier * problem.cost).amax(1).sum()
    return multiplier * float(problem.budgets[0]) + float(best)


@pytest.mark.parametrize(
    ("multiplier", "choice", "cost", "revenue"),
    [
        (0.30, [2, 2, 1], 5, 3.4),
        (0.45, [1, 2, 1], 4, 3.0),
        (0.55, [1, 1, 1], 3, 2.5),
        (0.70, [1, 0, 1], 2, 1.9),
        (0.95, [1, 0, 0], 1, 1.0),
    ],
)
def test_golden_decisions(
    multiplier: float, choice: list[int], cost: float, revenue: float
) -> None:
    decided = decide(REVENUE, COST, multiplier)
    assert decided.tolist() == choice
    assert total(COST, decided) == pytest.approx(cost, abs=1e-6)
    assert total(REVENUE, decided) == pytest.approx(revenue, abs=1e-6)


@pytest.mark.parametrize(
    ("budget", "revenue", "low", "high"),
    [(2, 1.9, 0.6, 0.9), (3, 2.5, 0.5, 0.6), (4, 3.0, 0.4, 0.5)],
)
def test_golden_budgets(budget: float, revenue: float, low: float, high: float) -> None:
    golden = AllocationProblem(REVENUE, COST, budget)
    found = GreedyDual().solve(golden)
    assert float(found.revenue) == pytest.approx(revenue, abs=1e-6)
    assert float(found.upper_bound) == pytest.approx(revenue, abs=1e-6)
    assert low - 1e-6 <= float(found.multiplier) <= high + 1e-6
    assert found.split is None


@pytest.mark.parametrize(("multiplier", "value"), [(0.7, 2.6), (0.45, 2.55), (0.3, 2.8)])
def test_golden_dual_values_bound_the_optimum(multiplier: float, value: float) -> None:
    golden = AllocationProblem(REVENUE, COST, 3.0)
    assert dual(golden, multiplier) == pytest.approx(value, abs=1e-6)
    assert float(GreedyDual().solve(golden).upper_bound) <= value


@pytest.mark.parametrize("seed", range(200))
def test_optimum_equals_highs(seed: int) -> None:
    rows = (1, 2, 3, 300)[seed] if seed < 4 else 1 + (seed * 37) % 120
    random = problem(seed, rows=rows, treatments=2 + seed % 8, kind=KINDS[seed % len(KINDS)])
    found = GreedyDual().solve(random)
    optimum = linear_program(random)
    assert float(found.upper_bound) == pytest.approx(optimum, rel=1e-9, abs=1e-9)
    assert dual(random, float(found.multiplier)) == pytest.approx(optimum, rel=1e-9, abs=1e-9)
    assert float(found.cost) <= random.budget * (1 + 1e-12)
    assert float(found.upper_bound - found.revenue) <= largest_step(random)


@pytest.mark.parametrize("seed", range(70))
def test_split_is_the_fractional_person(seed: int) -> None:
    random = problem(seed, rows=1 + seed % 30, treatments=4, kind=KINDS[seed % len(KINDS)])
    found = GreedyDual().solve(random)
    if found.split is None:  # then the optimum is whole
        assert found.gap <= 1e-12
        return
    row, pair = found.split.row, [found.split.high, found.split.low]
    gain, price = (float(amount[row, pair] @ SIGN) for amount in (random.revenue, random.cost))
    assert 0 < found.split.share < 1
    assert gain / price == pytest.approx(float(found.multiplier), rel=1e-9)
    # Below the split lies a choice that leaves share * price of the budget.
    path = GreedyDual().path(random)
    spare = random.budget - found.split.share * price
    below = int((path.costs - spare).abs().argmin())
    assert float(path.costs[below]) == pytest.approx(spare, rel=1e-9)
    optimum = float(path.revenues[below]) + found.split.share * gain
    assert float(found.upper_bound) == pytest.approx(optimum, rel=1e-9)


def test_a_slack_budget_has_no_price_and_no_split() -> None:
    found = GreedyDual().solve(AllocationProblem(REVENUE, COST, 100.0))
    assert found.choice.tolist() == [2, 2, 2]
    assert float(found.multiplier) == 0.0
    assert found.split is None
    assert found.gap == 0.0


def test_the_lowest_budget_buys_the_free_gains() -> None:
    revenue = torch.tensor([[1.0, 2.0, 9.0], [0.0, 3.0, 4.0]])
    cost = torch.tensor([[1.0, 1.0, 2.0], [0.5, 1.0, 3.0]])
    found = GreedyDual().solve(AllocationProblem(revenue, cost, 1.5))
    assert found.choice.tolist() == [1, 0]
    assert float(found.cost) == 1.5
    assert float(found.multiplier) == 7.0


def test_fill_spends_what_the_critical_step_leaves() -> None:
    # Best first: person 0 (slope 3), person 1 (slope 2, too dear), person 2 (slope 1, fits).
    revenue = torch.tensor([[0.0, 3.0], [0.0, 8.0], [0.0, 1.0]])
    cost = torch.tensor([[0.0, 1.0], [0.0, 4.0], [0.0, 1.0]])
    found = GreedyDual().solve(AllocationProblem(revenue, cost, 3.0))
    assert found.choice.tolist() == [1, 0, 1]
    assert float(found.revenue) == 4.0
    assert float(found.cost) == 2.0
    assert float(found.upper_bound) == 7.0


def test_fill_passes_over_a_persons_later_steps_too() -> None:
    # Person 0's second step would fit, but not without the first.
    revenue, cost = torch.tensor([[0.0, 8.0, 9.0]]), torch.tensor([[0.0, 4.0, 5.0]])
    found = GreedyDual().solve(AllocationProblem(revenue, cost, 2.0))
    assert found.choice.tolist() == [0]
    assert float(found.revenue) == 0.0


def test_the_path_bends_where_the_optimum_bends() -> None:
    path = GreedyDual().path(AllocationProblem(REVENUE, COST, 0.0))
    expected = [1.0, 0.9, 0.6, 0.5, 0.4, 0.1, 0.0]
    torch.testing.assert_close(path.multipliers, torch.tensor(expected).double(), atol=1e-6, rtol=0)
    assert path.costs.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert float(path.revenues[-1]) == pytest.approx(3.5, abs=1e-6)


def test_float32_inputs_are_added_up_in_float64(generator: torch.Generator) -> None:
    revenue, cost = torch.rand(2, 50_000, 3, generator=generator)
    found = GreedyDual().solve(AllocationProblem(revenue, cost, 30_000.0))
    assert float(found.cost) == pytest.approx(total(cost.double(), found.choice), rel=1e-12)
    assert float(found.revenue) == pytest.approx(total(revenue.double(), found.choice), rel=1e-12)


def test_several_budgets_and_observed_costs_are_refused() -> None:
    several = AllocationProblem(REVENUE, torch.stack([COST, COST], 2), torch.tensor([3.0, 3.0]))
    with pytest.raises(
        UnsupportedProblemError, match=r"one budget and cost \(N, M\), got 2 budget"
    ):
        GreedyDual().solve(several)
    ones = torch.ones(3, dtype=torch.float64)
    logs = ObservedCost(torch.zeros(3, dtype=torch.int64), ones, ones)
    with pytest.raises(UnsupportedProblemError, match="observed costs; use dual-bisection"):
        GreedyDual().path(AllocationProblem(REVENUE, COST, 3.0, logs))
