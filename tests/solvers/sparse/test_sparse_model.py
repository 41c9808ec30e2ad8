import numpy as np
import pytest
import torch

from dfl.errors import InfeasibleProblemError
from dfl.problem import BUDGET_SLACK, AllocationProblem
from dfl.solvers import AbstractSolver, CuttingPlanes, LinearProgram, MixedInteger
from dfl.solvers.sparse.sparse_model import sparse_model, written_out
from tests.solvers.instances import FEATURES, brute_force, constrained

REVENUE = torch.tensor([[1.0, 5.0, 2.0], [0.0, 3.0, 4.0]])
COST = torch.tensor([[1.0, 2.0, 4.0], [0.5, 1.0, 3.0]])
ALLOWED = torch.tensor([[True, True, True], [True, False, True]])


def test_banned_treatments_have_no_column() -> None:
    model = sparse_model(AllocationProblem(REVENUE, COST, 9.0, allowed=ALLOWED))
    assert model.person.tolist() == [0, 0, 0, 1, 1]
    assert model.treatment.tolist() == [0, 1, 2, 0, 2]
    assert model.first.tolist() == [0, 3]
    assert model.revenue.tolist() == [1, 5, 2, 0, 4]


def test_resources_count_from_everyones_least_use() -> None:
    full = AllocationProblem(
        REVENUE,
        COST,
        9.0,
        allowed=ALLOWED,
        capacity=torch.tensor([1.0, 1.7, torch.inf]),
        min_return=0.5,
    )
    model = sparse_model(full)
    assert model.use.shape == (4, 5)  # the budget, the return, two capacities
    assert model.use_of(0).tolist() == [0, 1, 3, 0, 2.5]
    assert model.use_of(1) == pytest.approx([3.5, 0, 4, 2.75, 0], abs=1e-9)
    assert model.use_of(2).tolist() == [1, 0, 0, 1, 0]
    assert model.use_of(3).tolist() == [0, 1, 0, 0, 0]
    assert model.left == pytest.approx([7.5, 6.5, 1.0, 1.0])
    assert model.limit == pytest.approx([7.5 + 9.0 * BUDGET_SLACK / 2, 6.5, 1.0, 1.0], rel=1e-10)
    assert model.used(np.array([1, 4])).tolist() == pytest.approx([3.5, 0, 0, 1], abs=1e-9)


def test_columns_that_break_a_limit_alone_are_closed() -> None:
    model = sparse_model(AllocationProblem(REVENUE, COST, 3.0))
    assert model.closed.tolist() == [False, False, True, False, False, True]
    assert model.only(~model.closed).treatment.tolist() == [0, 1, 0, 1]
    with pytest.raises(InfeasibleProblemError, match="leave someone no treatment"):
        model.only(model.person == 0)


@pytest.mark.parametrize("seed", range(10))
def test_any_prices_bound_every_allocation(seed: int) -> None:
    random = constrained(seed, rows=5, treatments=3, features=FEATURES)
    model, best = sparse_model(random), brute_force(random)
    draw = np.random.default_rng(seed)
    for _ in range(20):
        assert model.dual_value(draw.gamma(0.3, size=model.left.shape)) >= best - 1e-9


def test_an_allocation_has_one_price_and_cost_per_budget() -> None:
    several = AllocationProblem(REVENUE, torch.stack([COST, 2 * COST], 2), torch.tensor([9.0, 9.0]))
    found = written_out(
        several, sparse_model(several), np.array([1, 3]), np.array([0.5, 0.25]), 6.0
    )
    assert found.choice.tolist() == [1, 0]
    assert found.multiplier.tolist() == [0.5, 0.25]
    assert found.cost.tolist() == [2.5, 5.0]
    assert (float(found.revenue), float(found.upper_bound)) == (5.0, 6.0)


def test_a_full_treatment_has_no_column() -> None:
    full = AllocationProblem(REVENUE, COST, 9.0, capacity=torch.tensor([2.0, 0.5, 2.0]))
    assert sparse_model(full).treatment.tolist() == [0, 2, 0, 2]
    nowhere = AllocationProblem(
        REVENUE, COST, 9.0, allowed=ALLOWED, capacity=torch.tensor([0.0, 2.0, 0.0])
    )
    with pytest.raises(InfeasibleProblemError, match="a capacity of 0 leaves someone no treatm"):
        sparse_model(nowhere)


@pytest.mark.parametrize("room", [0.0, 0.5])
@pytest.mark.parametrize("solver", [LinearProgram(), MixedInteger(), CuttingPlanes()])
def test_a_budget_that_only_full_treatments_would_meet_is_refused(
    solver: AbstractSolver, room: float
) -> None:
    cost = torch.tensor([[0.0, 1.0, 2.0]]).double().expand(20, 3)
    full = torch.tensor([room, 20.0, 20.0])
    with pytest.raises(InfeasibleProblemError):
        solver.solve(AllocationProblem(cost, cost, 5.0, capacity=full))
    exact = AllocationProblem(cost, cost, 20.0, capacity=full)
    assert float(solver.solve(exact).cost) == 20.0


def test_which_budget_full_treatments_break_is_said() -> None:
    two = torch.stack([COST, COST + 1], dim=2)
    full = torch.tensor([0.0, 2.0, 2.0])
    least = float(two[:, 1:, 1].amin(dim=1).sum())
    with pytest.raises(
        InfeasibleProblemError,
        match=rf"have no place, and the cheapest of the others costs {least:g} for everyone, the "
        rf"budget is {least - 1:g}",
    ):
        sparse_model(
            AllocationProblem(REVENUE, two, torch.tensor([99.0, least - 1]), capacity=full)
        )
