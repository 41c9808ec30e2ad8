import numpy as np
import pytest
import torch
from hypothesis import given

from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual
from dfl.solvers.sparse.highs import Highs
from dfl.solvers.sparse.relaxation import ScaledProgram, relax
from dfl.solvers.sparse.sparse_model import Floats, sparse_model
from tests.solvers.instances import FEATURES, constrained, magnitude, masked_problems

HIGHS = Highs(tolerance=1e-9, time_limit=None)


@given(problem=masked_problems())
def test_the_bound_is_that_of_greedy_dual_at_any_magnitude(problem: AllocationProblem) -> None:
    expected = float(GreedyDual().solve(problem).upper_bound)
    bound = relax(sparse_model(problem), HIGHS).bound
    assert bound == pytest.approx(expected, abs=1e-9 * magnitude(problem) + 1e-300)


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_feasible_and_earn_the_bound(seed: int) -> None:
    model = sparse_model(constrained(seed, rows=80, treatments=4, features=FEATURES))
    found = relax(model, HIGHS)
    assert model.use @ found.weight == pytest.approx(
        np.minimum(model.left, model.use @ found.weight)
    )
    assert np.add.reduceat(found.weight, model.first) == pytest.approx(1.0)
    assert float(model.revenue @ found.weight) == pytest.approx(found.bound, rel=1e-9)
    between = (found.weight > 1e-9) & (found.weight < 1 - 1e-9)
    assert np.unique(model.person[between]).size <= model.left.size


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_the_engine_sees_numbers_near_1(unit: float) -> None:
    random = constrained(3, rows=50, treatments=4, features=FEATURES)
    seen: list[ScaledProgram] = []

    def engine(program: ScaledProgram) -> tuple[Floats, Floats]:
        seen.append(program)
        return HIGHS(program)

    scaled = AllocationProblem(
        unit * random.revenue,
        unit * random.cost,
        unit * random.budgets,
        capacity=random.capacity,
        min_return=random.min_return,
    )
    relax(sparse_model(scaled), engine)
    assert np.abs(seen[0].loss).max() <= 1
    assert seen[0].left.max() <= 1000
    assert seen[0].use.data.max() <= 1000


def test_a_wrong_price_still_gives_a_bound() -> None:
    random = constrained(3, rows=50, treatments=4, features=FEATURES)
    model = sparse_model(random)

    def sloppy(program: ScaledProgram) -> tuple[Floats, Floats]:
        solution, slopes = HIGHS(program)
        return solution, 1.3 * slopes + 1e-3

    exact, rough = relax(model, HIGHS), relax(model, sloppy)
    assert rough.bound > exact.bound
    assert bool((rough.prices >= 0).all())


def test_money_that_has_run_out_has_the_price_of_the_first_step() -> None:
    revenue, cost = torch.tensor([[0.0, 7.0], [0.0, 3.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    found = relax(sparse_model(AllocationProblem(revenue, cost, 0.0)), HIGHS)
    assert found.prices.tolist() == [7.0]
    assert found.bound == 0.0
    assert found.weight.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_a_budget_short_by_rounding_is_met() -> None:
    # 1e6 + 1.9241 rounds down, so that what is left is less than the step by 1e-10; of the second
    # budget, which alone would spare the step, there is nothing.
    money = torch.tensor([[1e6, 1e6], [1.9241, 0.0]], dtype=torch.float64)
    other = torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    budget = torch.stack([money[:, 0].sum(), torch.zeros(()).double()])
    pinned = torch.tensor([0, -1])
    forced = AllocationProblem(money, torch.stack([money, other], 2), budget, pinned=pinned)
    model = sparse_model(forced)
    assert model.left[0] < 1.9241
    assert relax(model, HIGHS).weight.tolist() == pytest.approx([1.0, 1.0, 0.0])


def test_a_step_far_too_dear_does_not_spoil_the_bound() -> None:
    # Its price, 1e-12, is below every tolerance; at price 0 the bound would be 2.
    revenue = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).double()
    cost = torch.tensor([[0.0, 1e12], [1.0, 0.0]]).double()
    found = relax(sparse_model(AllocationProblem(revenue, cost, 1.0)), HIGHS)
    assert found.bound == pytest.approx(1.0, rel=1e-9)
    assert found.prices.tolist() == pytest.approx([1e-12])
