from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfl.budget import Budget
from dfl.errors import InfeasibleBudgetError, InvalidValueError
from dfl.metrics.constant_mix import best_constant_mix, best_mix_shares
from dfl.metrics.eom import expected_outcome
from dfl.metrics.random_allocation import random_allocation, random_shares
from dfl.problem import AllocationProblem
from dfl.solvers.greedy_dual import GreedyDual
from dfl.stats.bootstrap import Bootstrap

FEW = Bootstrap(draws=20)
amounts = st.integers(0, 20).map(lambda tenths: tenths / 10)


@given(arms=st.lists(st.tuples(amounts, amounts), min_size=1, max_size=6), share=st.floats(0, 1.2))
def test_the_best_mix_is_the_linear_programming_optimum(
    arms: list[tuple[float, float]], share: float
) -> None:
    cost, revenue = np.array(arms).T
    budget = float(cost.min() + share * (cost.max() - cost.min()))
    shares = best_mix_shares(cost, revenue, budget)
    one_person = [torch.from_numpy(x)[None] for x in (revenue, cost)]
    optimum = GreedyDual().solve(AllocationProblem(*one_person, budget)).upper_bound
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0).all()
    assert shares @ cost <= budget + 1e-9
    assert shares @ revenue == pytest.approx(float(optimum))


@pytest.mark.parametrize("rule", [best_mix_shares, random_shares])
def test_below_every_cost_the_cheapest_is_returned_alone(rule) -> None:
    assert rule(np.array([2.0, 1.0]), np.array([5.0, 1.0]), 0.5).tolist() == [0, 1]


def test_references_of_a_two_armed_experiment_lie_on_the_line(simulate) -> None:
    data = replace(simulate(2000, 2), features=torch.zeros(2000, 1).double())
    nobody, everyone = (float(data.revenue[data.treatment == arm].mean()) for arm in (0, 1))
    (mix,) = best_constant_mix(data, [Budget(share=0.25)])
    (draw,) = random_allocation(data, [Budget(share=0.25)])
    for outcome in (mix, draw):
        assert outcome.shares == pytest.approx((0.75, 0.25))
        assert outcome.cost == pytest.approx(outcome.budget)
        assert outcome.estimate.value == pytest.approx(0.75 * nobody + 0.25 * everyone)
        assert outcome.estimate.low < outcome.estimate.value < outcome.estimate.high
    (rich,) = random_allocation(data, [Budget(share=1)], bootstrap=FEW)
    assert rich.shares == pytest.approx((0.5, 0.5))


def test_a_model_without_information_is_worth_the_mix(simulate) -> None:
    data = simulate(20_000, 2)
    same = torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(20_000, 2)
    budget = [Budget(share=0.4)]
    (mix,) = best_constant_mix(data, budget, bootstrap=FEW)
    (model,) = expected_outcome(data, same, same, budget, bootstrap=FEW)
    assert model.value == pytest.approx(mix.estimate.value)


@pytest.mark.parametrize("reference", [best_constant_mix, random_allocation])
def test_bad_input(simulate, reference) -> None:
    data = simulate(60)
    with pytest.raises(InvalidValueError, match="at least one Budget"):
        reference(data, [])
    with pytest.raises(InvalidValueError, match="must be randomised"):
        reference(replace(data, source="obs"), [Budget(share=0.5)])
    with pytest.raises(InfeasibleBudgetError, match="below the 1 per head"):
        reference(replace(data, cost=data.cost + 1), [Budget(per_head=0.5)])
