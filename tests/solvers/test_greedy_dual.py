import pytest
import torch
from torch import Tensor

from dfl.errors import UnsupportedProblemError
from dfl.problem import Allocation, AllocationProblem, ObservedCost
from dfl.solvers import GreedyDual, decide
from tests.solvers.instances import KINDS, largest_step, linear_program, magnitude, problem

# Golden case G1 of the specification: three people, three treatments.
COST = torch.tensor([[0.0, 1.0, 2.0]]).expand(3, 3).double()
REVENUE = torch.tensor([[0.0, 1.0, 1.4], [0.0, 0.6, 1.1], [0.0, 0.9, 1.0]]).double()


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
    ("budget", "revenue", "low", "high"), [(2, 1.9, 0.6, 0.9), (3, 2.5, 0.5, 0.6), (4, 3.0, 0.4, 0.5)]
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
    assert_split_is_the_optimum(random, found)


def assert_split_is_the_optimum(random: AllocationProblem, found: Allocation) -> None:
    """The choice below the critical multiplier, with the split, earns and costs the optimum."""
    multiplier = float(found.multiplier)
    if found.split is None:
        assert found.gap <= 1e-12 or tied_at(random, multiplier)
        return
    row, low, high, share = (
        found.split.row,
        found.split.low,
        found.split.high,
        found.split.share,
    )
    slope = (random.revenue[row, high] - random.revenue[row, low]) / (
        random.cost[row, high] - random.cost[row, low]
    )
    assert 0 < share < 1
    assert float(slope) == pytest.approx(multiplier, rel=1e-9)
