from dataclasses import replace

import numpy as np
import pytest
import torch

from dfl.budget import Budget
from dfl.data.uplift_data import UpliftData
from dfl.errors import InfeasibleBudgetError, InvalidValueError, ShapeError
from dfl.metrics.constant_mix import best_constant_mix
from dfl.metrics.eom import eom_curve, expected_outcome
from dfl.metrics.rows.randomised_rows import UnsafeEstimatorWarning
from dfl.metrics.spend_curve import observed_curve
from dfl.problem import AllocationProblem
from dfl.solvers.dual_bisection import DualBisection
from dfl.solvers.passes.decide import decide
from dfl.stats.bootstrap import Bootstrap
from dfl.stats.paired import paired_difference, paired_ratio

FEW = Bootstrap(draws=20)
PLENTY = [Budget(per_head=1e6)]


def always(data: UpliftData, arm: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions of a model that gives one treatment to everyone."""
    revenue = torch.zeros(len(data), data.treatments, dtype=torch.float64)
    revenue[:, arm] = 1
    return revenue, torch.zeros_like(revenue)


def test_point_estimates_are_those_of_the_spend_curve(simulate, predict) -> None:
    data = simulate()
    predictions = predict(data)
    budgets = [Budget(per_head=0.2), Budget(total=240), Budget(per_head=50)]
    outcomes = expected_outcome(data, *predictions, budgets, bootstrap=FEW)
    curve = observed_curve(data, *predictions)
    for outcome, per_head in zip(outcomes, [0.2, 0.6, 50], strict=True):
        point = curve.at(per_head)
        assert outcome.budget == pytest.approx(per_head)
        assert outcome.value == point.value
        assert (outcome.cost, outcome.multiplier) == (point.cost, point.multiplier)
        assert outcome.mixed_with_cheapest == point.mixed_with_cheapest == 0
        assert outcome.low < outcome.value < outcome.high
        assert outcome.standard_error == pytest.approx(float(outcome.estimate.draws.std()))


def test_against_brute_force_on_a_fine_grid_of_multipliers(simulate, predict) -> None:
    data = simulate(1000)
    revenue, cost = predict(data)
    (outcome,) = expected_outcome(data, revenue, cost, [Budget(per_head=0.6)], bootstrap=FEW)
    best = None
    for multiplier in np.linspace(0, 10, 4001):
        weight = data.weight * (decide(revenue, cost, float(multiplier)) == data.treatment)
        spend, value = float((weight * data.cost).mean()), float((weight * data.revenue).mean())
        if best is None or abs(spend - 0.6) < abs(best[0] - 0.6):
            best = spend, value
    assert best is not None
    assert outcome.value == pytest.approx(best[1], abs=3 * 10 * 2 / 1000)  # a row or so


def test_a_uniformly_random_policy_earns_the_mean_of_the_arms(simulate) -> None:
    data = simulate(20_000, 4)
    drawn = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    (outcome,) = expected_outcome(data, drawn, torch.zeros_like(drawn), PLENTY)
    arms = [float(data.revenue[data.treatment == arm].mean()) for arm in range(4)]
    assert abs(outcome.value - np.mean(arms)) < 3 * outcome.standard_error
    assert outcome.standard_error < 0.05


def test_a_random_policy_at_a_budget_earns_the_mix_of_the_arms(simulate) -> None:
    data = simulate(20_000, 2)
    generator = torch.Generator().manual_seed(9)
    revenue = torch.rand(20_000, 2, generator=generator, dtype=torch.float64) + torch.arange(2)
    cost = torch.arange(2, dtype=torch.float64).expand(20_000, 2)
    (outcome,) = expected_outcome(data, revenue, cost, [Budget(share=0.3)])
    nobody, everyone = (float(data.revenue[data.treatment == arm].mean()) for arm in (0, 1))
    assert abs(outcome.value - (0.7 * nobody + 0.3 * everyone)) < 3 * outcome.standard_error


@pytest.mark.parametrize("known", [False, True])
def test_standard_error_is_the_analytic_one_of_a_constant_policy(simulate, known: bool) -> None:
    data = simulate(3000, known_propensity=known)
    plan = Bootstrap(draws=1000)
    (outcome,) = expected_outcome(
        data, *always(data, 1), PLENTY, estimator="horvitz-thompson", bootstrap=plan
    )
    matched = data.treatment == 1
    if known:
        analytic = (matched * data.weight * data.revenue).std() / len(data) ** 0.5
    else:
        analytic = data.revenue[matched].std() / matched.sum() ** 0.5
    assert outcome.standard_error == pytest.approx(float(analytic), rel=0.08)


def test_intervals_cover_the_true_value_of_a_policy_that_spends_a_budget() -> None:
    # Two kinds of people; the model treats the kind with the larger effect first. Uplift 3
    # for half of the people, cost 1: a budget of 0.3 earns 0.3 * 3 above the base of 1.
    covered, rounds = 0, 200
    for seed in range(rounds):
        generator = torch.Generator().manual_seed(seed)
        kind, treatment = torch.randint(0, 2, (2, 400), generator=generator)
        effect = 1 + 2.0 * kind
        noise = torch.randn(400, generator=generator)
        data = UpliftData(
            features=kind[:, None].float(),
            treatment=treatment,
            revenue=1 + effect * treatment + noise,
            cost=treatment * (0.5 + kind.new_empty(400).float().uniform_(generator=generator)),
            treatments=2,
            source="rct",
        )
        revenue = torch.stack([torch.zeros(400), effect], dim=1)
        cost = torch.tensor([0.0, 1.0]).expand(400, 2)
        budget, plan = [Budget(per_head=0.3)], Bootstrap(draws=60, seed=seed)
        (outcome,) = expected_outcome(data, revenue, cost, budget, bootstrap=plan)
        covered += outcome.low <= 1.9 <= outcome.high
    assert 0.90 * rounds <= covered <= 0.985 * rounds


def test_dependent_rows_of_a_group_widen_the_interval(simulate) -> None:
    data = simulate(2000, rows_per_group=20)
    # Treatment by group, as where shops are randomised: noise of a shop no longer averages out.
    by_group = (data.groups * 7 + 3) % 3
    data = replace(data, treatment=by_group)
    (clustered,) = expected_outcome(data, *always(data, 1), PLENTY)
    (by_row,) = expected_outcome(replace(data, groups=None), *always(data, 1), PLENTY)
    assert clustered.value == pytest.approx(by_row.value, abs=0.05)
    assert clustered.standard_error > 2 * by_row.standard_error


def test_share_of_the_budget_runs_from_the_cheapest_to_the_dearest_treatment(
    simulate, predict
) -> None:
    data = simulate(600)
    predictions = predict(data)
    budgets = [Budget(share=0), Budget(share=0.5), Budget(share=1)]
    outcomes = expected_outcome(data, *predictions, budgets, bootstrap=FEW)
    dearest = float(data.cost[data.treatment == 2].mean())
    assert [outcome.budget for outcome in outcomes] == pytest.approx([0, dearest / 2, dearest])
    (nobody,) = best_constant_mix(data, [Budget(share=0)], bootstrap=FEW)
    assert outcomes[0].value == pytest.approx(nobody.estimate.value)


def test_curve_is_the_outcome_at_even_budgets(simulate, predict) -> None:
    data = simulate(600)
    predictions = predict(data)
    curve = eom_curve(data, *predictions, points=3, bootstrap=FEW)
    budgets = [Budget(share=0), Budget(share=0.5), Budget(share=1)]
    expected = expected_outcome(data, *predictions, budgets, bootstrap=FEW)
    assert [point.value for point in curve] == [outcome.value for outcome in expected]
    assert [point.low for point in curve] == [outcome.low for outcome in expected]


def test_a_model_that_cannot_meet_the_budget_is_mixed_and_says_so(simulate) -> None:
    data = simulate(4000, 2, noise=0.1)
    inverted = data.truth.revenue, data.truth.cost.flip(1)
    (outcome,) = expected_outcome(data, *inverted, [Budget(share=0.25)], bootstrap=FEW)
    assert outcome.mixed_with_cheapest == pytest.approx(0.75, abs=0.02)
    assert outcome.cost == pytest.approx(outcome.budget)
    nobody, everyone = (float(data.revenue[data.treatment == arm].mean()) for arm in (0, 1))
    assert outcome.value == pytest.approx(0.75 * nobody + 0.25 * everyone, abs=0.02)


def test_currency_scales_amounts_and_nothing_else(simulate, predict) -> None:
    data = simulate(300)
    revenue, cost = predict(data)
    (euro,) = expected_outcome(data, revenue, cost, [Budget(share=0.3)], bootstrap=FEW)
    data = replace(data, revenue=100 * data.revenue, cost=100 * data.cost)
    (cent,) = expected_outcome(data, 100 * revenue, 100 * cost, [Budget(share=0.3)], bootstrap=FEW)
    assert cent.value == pytest.approx(100 * euro.value)
    assert cent.standard_error == pytest.approx(100 * euro.standard_error)
    assert (cent.multiplier, cent.budget) == pytest.approx((euro.multiplier, 100 * euro.budget))


def test_inputs_may_lie_on_any_device(simulate, predict, device) -> None:
    data = simulate(300, known_propensity=True)
    predictions = predict(data)
    budget = [Budget(share=0.3)]
    (here,) = expected_outcome(data, *predictions, budget, bootstrap=FEW)
    there = data.to(device), *(x.to(device) for x in predictions)
    (same,) = expected_outcome(*there, budget, bootstrap=FEW)
    assert (same.value, same.standard_error) == (here.value, here.standard_error)


def test_bad_input(simulate, predict) -> None:
    data = simulate(100)
    revenue, cost = predict(data)
    with pytest.raises(InvalidValueError, match="at least one Budget"):
        expected_outcome(data, revenue, cost, [])
    with pytest.raises(ShapeError, match="predicted cost must be"):
        expected_outcome(data, revenue, cost[:, :2], PLENTY)
    with pytest.raises(InvalidValueError, match="points must be >= 2, got 1"):
        eom_curve(data, revenue, cost, points=1)
    dearer = replace(data, cost=data.cost + 1)
    with pytest.raises(InfeasibleBudgetError, match="cheapest treatment costs"):
        expected_outcome(dearer, revenue, cost, [Budget(per_head=0.5)])
    with pytest.raises(InvalidValueError, match="must be randomised"):
        expected_outcome(replace(data, source="obs"), revenue, cost, PLENTY)


def test_near_equal_models_are_told_apart_better_in_pairs(simulate, predict) -> None:
    data = simulate(2000)
    revenue, cost = predict(data)
    budget = [Budget(share=0.3)]
    first, second = (
        expected_outcome(data, changed, cost, budget)[0].estimate
        for changed in (revenue, revenue + 0.05 * predict(data, seed=5)[0])
    )
    paired = paired_difference(first, second).estimate
    unpaired = (first.standard_error**2 + second.standard_error**2) ** 0.5
    assert paired.value == pytest.approx(first.value - second.value)
    assert paired.standard_error < 0.6 * unpaired


def test_a_better_model_has_a_small_p_value(simulate, predict) -> None:
    data = simulate(4000)
    budget = [Budget(share=0.3)]
    good, bad = (
        expected_outcome(data, *predict(data, noise=noise), budget)[0].estimate
        for noise in (0.1, 20)
    )
    better = paired_difference(good, bad)
    assert better.p_value < 0.001
    assert better.estimate.low > 0
    assert paired_difference(bad, good).p_value == pytest.approx(better.p_value)
    assert paired_ratio(good, bad).estimate.low > 1


def test_other_rows_or_draws_are_refused(simulate, predict) -> None:
    budget = [Budget(share=0.3)]
    first, other_rows = (
        expected_outcome(data, *predict(data), budget)[0].estimate
        for data in (simulate(100, seed=0), simulate(100, seed=1))
    )
    plan = Bootstrap(draws=50)
    data = simulate(100, seed=0)
    other_draws = expected_outcome(data, *predict(data), budget, bootstrap=plan)[0].estimate
    for second in (other_rows, other_draws):
        with pytest.raises(InvalidValueError, match="paired only on the same rows and draws"):
            paired_difference(first, second)
        with pytest.raises(InvalidValueError, match="paired only on the same rows and draws"):
            paired_ratio(first, second)


def two_arms(
    base: float, *, known: bool = False, price: tuple[float, float] = (0.0, 1.0), rows: int = 2000
) -> tuple[UpliftData, torch.Tensor, torch.Tensor]:
    """Whom to treat is known: where x is positive. Always choosing right earns base + .399."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 1, generator=generator).double()
    treatment = torch.randint(0, 2, (rows,), generator=generator)
    noise = torch.randn(rows, generator=generator).double()
    revenue = base + x[:, 0] * (1 + treatment) + noise
    half = torch.full((rows, 2), 0.5).double()
    cost = torch.tensor(price).double()[treatment]
    data = UpliftData(x, treatment, revenue, cost, 2, "rct", propensity=half if known else None)
    predicted = torch.cat([torch.zeros_like(x), x], dim=1)
    return data, predicted, torch.tensor([price]).double().expand(rows, 2)


@pytest.mark.parametrize("known", [False, True])
def test_a_constant_on_all_revenue_does_not_touch_the_error(known: bool) -> None:
    budgets = [Budget(share=1), Budget(share=0.25)]
    without, with_it = (
        expected_outcome(*two_arms(base, known=known), budgets, bootstrap=FEW)
        for base in (0.0, 1e4)
    )
    for low, high in zip(without, with_it, strict=True):
        assert high.value - 1e4 == pytest.approx(low.value, abs=1e-6)
        assert high.standard_error == pytest.approx(low.standard_error, rel=1e-4)
    assert abs(without[0].value - 0.3989) < 3 * without[0].standard_error
    assert without[0].standard_error < 0.06


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_prices_that_each_treatment_fixes_are_met_exactly(known: bool, seed: int) -> None:
    data, revenue, cost = two_arms(1000.0, known=known, price=(0.1, 0.7))
    data = data.subset(torch.randperm(2000, generator=torch.Generator().manual_seed(seed))[:301])
    revenue, cost = revenue[:301], cost[:301]
    exact = [Budget(per_head=0.1), Budget(per_head=0.7), Budget(share=0.5)]
    better = replace(data, revenue=data.revenue + 9 * data.treatment)
    mixes = best_constant_mix(better, exact, bootstrap=FEW)
    assert [mix.cost for mix in mixes] == pytest.approx([0.1, 0.7, 0.4], rel=1e-6)
    outcomes = expected_outcome(data, revenue, cost, exact, bootstrap=FEW)
    assert [one.mixed_with_cheapest for one in outcomes] == [0, 0, 0]
    curve = observed_curve(data, revenue, cost)
    chosen = [int(decide(revenue, cost, float(one)).sum()) for one in curve.multiplier]
    assert curve.cost.tolist() == pytest.approx([0.1 + 0.6 * one / 301 for one in chosen], rel=1e-6)


def test_the_published_estimator_says_where_it_is_unsafe() -> None:
    with pytest.warns(UnsafeEstimatorWarning, match="horvitz-thompson is unsafe here: the mean"):
        expected_outcome(
            *two_arms(100.0), [Budget(share=1)], estimator="horvitz-thompson", bootstrap=FEW
        )


def test_an_unknown_estimator() -> None:
    with pytest.raises(InvalidValueError, match="estimator must be one of 'doubly-robust'"):
        expected_outcome(*two_arms(0.0), PLENTY, estimator="naive")


def test_the_order_of_the_rows_does_not_matter(simulate, predict) -> None:
    data = simulate(200, rows_per_group=2)
    predictions = predict(data)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(2))
    budgets = [Budget(share=0.3), Budget(share=0.7)]
    found = expected_outcome(data, *predictions, budgets, bootstrap=FEW)
    moved = expected_outcome(
        data.subset(order), *(one[order] for one in predictions), budgets, bootstrap=FEW
    )
    for first, second in zip(found, moved, strict=True):
        assert second.value == pytest.approx(first.value)
        assert second.multiplier == pytest.approx(first.multiplier)


@pytest.mark.parametrize("seed", range(20))
def test_training_meets_a_budget_at_the_same_multiplier(simulate, predict, seed: int) -> None:
    # Few rows: the estimated spend crosses nearly every budget several times.
    data = simulate(60, seed=seed)
    data = replace(data, revenue=data.revenue - data.revenue.mean())
    revenue, cost = predict(data, seed=seed)
    curve = observed_curve(data, revenue, cost, estimator="horvitz-thompson")
    for share in (0.2, 0.5, 0.8):
        per_head = float(curve.cost[0] + share * (curve.cost[-1] - curve.cost[0]))
        problem = AllocationProblem(revenue, cost, 60 * per_head, data.observed_cost)
        trained = DualBisection().solve(problem)
        assert float(trained.multiplier) == pytest.approx(curve.at(per_head).multiplier)


@pytest.mark.parametrize("known", [False, True])
def test_self_normalised_is_the_weighted_mean_of_the_rows_that_match(
    simulate, predict, known: bool
) -> None:
    data = simulate(300, known_propensity=known)
    revenue, cost = predict(data)
    curve = observed_curve(data, revenue, cost, estimator="self-normalised")
    for place in range(0, len(curve.multiplier), 37):
        multiplier = float(curve.multiplier[place]) + 1e-9
        weight = data.weight * (decide(revenue, cost, multiplier) == data.treatment)
        for found, amount in ((curve.cost, data.cost), (curve.value, data.revenue)):
            assert float(found[place]) == pytest.approx(float(weight @ amount / weight.sum()))
    own = data.treatment == 0
    weight = data.weight[own]
    assert curve.cheapest_value == pytest.approx(float(weight @ data.revenue[own] / weight.sum()))


def test_a_constant_moves_the_self_normalised_value_by_itself_and_its_error_not_at_all(
    simulate, predict
) -> None:
    data = simulate(400, known_propensity=True)
    budget = [Budget(per_head=0.5)]
    moved = replace(data, revenue=data.revenue + 100)
    first, second = (
        expected_outcome(one, *predict(data), budget, estimator="self-normalised", bootstrap=FEW)[0]
        for one in (data, moved)
    )
    assert second.value == pytest.approx(first.value + 100)
    assert second.standard_error == pytest.approx(first.standard_error)


def test_self_normalised_needs_somebody_who_received_what_is_chosen(simulate) -> None:
    data = simulate(60)
    revenue = torch.nn.functional.one_hot((data.treatment + 1) % 3, 3).double()
    with pytest.raises(InvalidValueError, match="at some price of money there is none; use more"):
        expected_outcome(
            data,
            revenue,
            torch.zeros_like(revenue),
            PLENTY,
            estimator="self-normalised",
            bootstrap=FEW,
        )
