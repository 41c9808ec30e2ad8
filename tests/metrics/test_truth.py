from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfl.budget import Budget
from dfl.data.uplift_data import PotentialOutcomes
from dfl.errors import DTypeError, InfeasibleBudgetError, InvalidValueError, ShapeError
from dfl.metrics.eom import expected_outcome
from dfl.metrics.truth import TrueScale, check_not_above_oracle, true_policy_value
from dfl.problem import AllocationProblem
from dfl.solvers.greedy_dual import GreedyDual
from dfl.stats.bootstrap import Bootstrap

BUDGETS = [Budget(share=0.1), Budget(share=0.4), Budget(share=0.9)]


def test_value_and_cost_of_a_choice(simulate) -> None:
    truth = simulate(50).truth
    choice = torch.arange(50) % 3
    result = true_policy_value(truth, choice)
    assert result.value == pytest.approx(
        sum(float(truth.revenue[i, i % 3]) for i in range(50)) / 50
    )
    assert result.cost == pytest.approx(sum(float(truth.cost[i, i % 3]) for i in range(50)) / 50)


def test_predictions_that_are_the_truth_earn_all_of_the_gain(simulate) -> None:
    truth = simulate(400, 4).truth
    for outcome in TrueScale.of(truth, BUDGETS).measure(truth.revenue, truth.cost):
        assert outcome.cost == pytest.approx(outcome.budget)
        assert outcome.share_of_gain == pytest.approx(1)
        assert outcome.regret == pytest.approx(0, abs=1e-12)
        assert outcome.random < outcome.constant_mix < outcome.oracle


def test_predictions_without_information_earn_the_mix(simulate) -> None:
    truth = simulate(400, 3).truth
    flat = [amount.mean(dim=0).expand(400, 3) for amount in (truth.revenue, truth.cost)]
    for outcome in TrueScale.of(truth, BUDGETS).measure(*flat):
        assert outcome.value == pytest.approx(outcome.constant_mix)
        assert outcome.share_of_gain == pytest.approx(0, abs=1e-9)


def test_the_oracle_is_the_optimum_on_the_truth(simulate) -> None:
    truth = simulate(60).truth
    scale = TrueScale.of(truth, [Budget(total=12.0)])
    solved = GreedyDual().solve(AllocationProblem(truth.revenue, truth.cost, 12.0))
    assert scale.oracle[0] == pytest.approx(float(solved.upper_bound) / 60)
    choice = true_policy_value(truth, solved.choice)
    assert choice.value <= scale.oracle[0]
    assert choice.cost <= scale.budgets[0] + 1e-12


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1), inverted=st.booleans())
def test_no_model_is_above_the_oracle_or_over_the_budget(
    simulate, predict, seed: int, share: float, inverted: bool
) -> None:
    data = simulate(60, 4, seed=seed)
    revenue, cost = predict(data, noise=2, seed=seed)
    cost = cost.flip(1) if inverted else cost
    (outcome,) = TrueScale.of(data.truth, [Budget(share=share)]).measure(revenue, cost)
    assert outcome.regret >= -1e-9
    assert outcome.cost <= outcome.budget + 1e-9


def test_a_model_with_inverted_costs_is_not_rewarded(simulate, predict) -> None:
    # The trap: revenue alone is learnt, no multiplier meets the budget, and an evaluation
    # that reports the over-budget policy puts it above the oracle.
    data = simulate(20_000, 4, noise=0.1)
    revenue, cost = predict(data, noise=0.1)
    inverted = cost.max() - cost
    budget = [Budget(share=0.2)]
    (sane,) = TrueScale.of(data.truth, budget).measure(revenue, cost)
    (truly,) = TrueScale.of(data.truth, budget).measure(revenue, inverted)
    (logged,) = expected_outcome(data, revenue, inverted, budget, bootstrap=Bootstrap(draws=20))
    overspent = true_policy_value(data.truth, revenue.argmax(dim=1))
    assert overspent.value > 1.05 * truly.oracle
    assert truly.mixed_with_cheapest > 0.5
    assert logged.mixed_with_cheapest > 0.5
    assert truly.value < sane.value < truly.oracle
    assert abs(logged.value - truly.value) < 4 * logged.standard_error


def test_logs_estimate_the_truth(simulate, predict) -> None:
    data = simulate(40_000, 3)
    predictions = predict(data)
    truly = TrueScale.of(data.truth, BUDGETS).measure(*predictions)
    budgets = [Budget(per_head=outcome.budget) for outcome in truly]
    logged = expected_outcome(data, *predictions, budgets, bootstrap=Bootstrap(draws=60))
    for estimate, outcome in zip(logged, truly, strict=True):
        assert abs(estimate.value - outcome.value) < 3 * estimate.standard_error


def test_currency_scales_amounts_and_nothing_else(simulate, predict) -> None:
    data = simulate(100)
    revenue, cost = predict(data)
    (euro,) = TrueScale.of(data.truth, [Budget(share=0.3)]).measure(revenue, cost)
    cents = PotentialOutcomes(100 * data.truth.revenue, 100 * data.truth.cost)
    (cent,) = TrueScale.of(cents, [Budget(share=0.3)]).measure(100 * revenue, 100 * cost)
    assert cent.value == pytest.approx(100 * euro.value)
    assert cent.share_of_gain == pytest.approx(euro.share_of_gain)


def test_inputs_may_lie_on_any_device(simulate, predict, device) -> None:
    data = simulate(100)
    predictions = predict(data)
    here = TrueScale.of(data.truth, BUDGETS).measure(*predictions)
    moved = data.to(device)
    there = TrueScale.of(moved.truth, BUDGETS).measure(*(x.to(device) for x in predictions))
    assert there == here
    choice = torch.arange(100) % 3
    assert true_policy_value(moved.truth, choice.to(device)) == true_policy_value(
        data.truth, choice
    )


def test_nothing_to_gain_has_no_share(simulate) -> None:
    truth = simulate(50).truth
    (outcome,) = TrueScale.of(truth, [Budget(share=0)]).measure(truth.revenue, truth.cost)
    with pytest.raises(InvalidValueError, match="share of the oracle's gain is undefined"):
        outcome.share_of_gain  # noqa: B018


@pytest.mark.parametrize("value", [2.1, float("nan")])
def test_a_value_above_the_oracle_is_refused(value: float) -> None:
    check_not_above_oracle(2.0, 2.0, scale=3.0)
    with pytest.raises(InvalidValueError, match="is above the oracle's 2: the policy overspends"):
        check_not_above_oracle(value, 2.0, scale=3.0)


def test_bad_choices(simulate) -> None:
    truth = simulate(50).truth
    with pytest.raises(ShapeError, match=r"choice must be \(50,\), one per person, got \(49,\)"):
        true_policy_value(truth, torch.zeros(49, dtype=torch.int64))
    with pytest.raises(DTypeError, match=r"choice must be int64, got torch\.float32"):
        true_policy_value(truth, torch.zeros(50))
    with pytest.raises(InvalidValueError, match=r"choice must lie in 0 \.\. 2, got 3 \.\. 3"):
        true_policy_value(truth, torch.full((50,), 3))
    with pytest.raises(DTypeError, match=r"choice must be a tensor, got list"):
        true_policy_value(truth, [0] * 50)


def test_nobody_has_no_truth() -> None:
    nobody = PotentialOutcomes(torch.zeros(0, 2), torch.zeros(0, 2))
    with pytest.raises(InvalidValueError, match="truth must hold at least one person, got none"):
        true_policy_value(nobody, torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InvalidValueError, match="truth must hold at least one person, got none"):
        TrueScale.of(nobody, [Budget(total=1.0)])


def test_the_truth_is_taken_with_its_graph(simulate, predict) -> None:
    data = simulate(50)
    truth = data.truth
    graph = PotentialOutcomes(truth.revenue.clone().requires_grad_(), truth.cost.clone())
    choice = torch.ones(50, dtype=torch.int64)
    assert true_policy_value(graph, choice) == true_policy_value(truth, choice)
    found, same = (TrueScale.of(one, BUDGETS).measure(*predict(data)) for one in (graph, truth))
    assert found == same


def test_bad_input(simulate, predict) -> None:
    data = simulate(50)
    revenue, cost = predict(data)
    with pytest.raises(InvalidValueError, match="at least one Budget"):
        TrueScale.of(data.truth, [])
    dearer = replace(data.truth, cost=data.truth.cost + 1)
    with pytest.raises(InfeasibleBudgetError, match="cheapest treatment costs"):
        TrueScale.of(dearer, [Budget(per_head=0.5)])
    scale = TrueScale.of(data.truth, BUDGETS)
    with pytest.raises(ShapeError, match="predicted revenue must be"):
        scale.measure(revenue[:, :2], cost)
    with pytest.raises(InvalidValueError, match="is above the oracle's"):
        replace(scale, oracle=(0.0, 0.0, 0.0)).measure(revenue, cost)
