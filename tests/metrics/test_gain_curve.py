import math
from dataclasses import replace

import pytest
import torch

from dfl.budget import Budget
from dfl.errors import InvalidValueError
from dfl.metrics.constant_mix import best_constant_mix
from dfl.metrics.eom import expected_outcome
from dfl.metrics.gain_curve import budget_needed, gain_curve, integrated_difference
from dfl.metrics.rows.randomised_rows import RandomisedRows
from dfl.metrics.rows.redrawn import redrawn
from dfl.metrics.spend_curve import true_curve
from dfl.stats.bootstrap import Bootstrap
from dfl.stats.paired import paired_difference

FEW = Bootstrap(draws=30)


def test_gains_are_paired_differences_to_the_references(simulate, predict) -> None:
    data = simulate(2000)
    predictions = predict(data)
    curve = gain_curve(data, *predictions, points=5, bootstrap=FEW)
    assert list(curve.budgets) == sorted(curve.budgets)
    assert curve.over_cheapest[0].value == curve.over_mix[0].value == 0
    budget = [Budget(share=0.5)]
    (model,) = expected_outcome(data, *predictions, budget, bootstrap=FEW)
    (mix,) = best_constant_mix(data, budget, bootstrap=FEW)
    (nobody,) = best_constant_mix(data, [Budget(share=0)], bootstrap=FEW)
    for found, other in ((curve.over_mix[2], mix), (curve.over_cheapest[2], nobody)):
        pair = paired_difference(model.estimate, other.estimate).estimate
        assert (found.value, found.low) == pytest.approx((pair.value, pair.low))
    assert curve.factor >= 1.9599
    assert curve.mix_factor >= 1.9599


def test_the_cheapest_treatment_stays_the_same_where_costs_vary(simulate, predict) -> None:
    data = simulate(300)
    data = replace(
        data, cost=data.cost + 0.5 + torch.linspace(0, 3, 300, dtype=torch.float64).sin()
    )
    curve = gain_curve(data, *predict(data), points=3, bootstrap=FEW)
    rows = RandomisedRows.of(data)
    alone = [rows.arm_means(counts)[1][0] for counts in redrawn(data, FEW)]
    for gain, outcome in zip(curve.over_cheapest, curve.outcomes, strict=True):
        assert (gain.draws + torch.tensor(alone)).tolist() == pytest.approx(
            outcome.estimate.draws.tolist()
        )


def test_the_band_holds_the_true_curve(simulate, predict) -> None:
    inside = 0
    for seed in range(40):
        data = simulate(1000, seed=seed)
        revenue, cost = predict(data, seed=seed)
        plan = Bootstrap(draws=60, seed=seed)
        curve = gain_curve(data, revenue, cost, points=9, bootstrap=plan)
        truth = true_curve(data.truth, revenue, cost)
        start = float(data.truth.revenue[:, 0].mean())
        inside += all(
            abs(one.value - (truth.at(budget).value - start))
            <= curve.factor * one.standard_error + 1e-9
            for one, budget in zip(curve.over_cheapest, curve.budgets, strict=True)
        )
    assert inside >= 34


def test_two_models_over_all_budgets(simulate, predict) -> None:
    data = simulate(4000)
    good, bad = (
        gain_curve(data, *predict(data, noise=noise), points=11, bootstrap=FEW)
        for noise in (0.1, 20)
    )
    better = integrated_difference(good, bad)
    assert better.p_value < 0.001
    budgets, width = good.budgets, good.budgets[-1]
    gaps = [a.value - b.value for a, b in zip(good.outcomes, bad.outcomes, strict=True)]
    area = sum(
        (gaps[k] + gaps[k + 1]) / 2 * (budgets[k + 1] - budgets[k]) / width for k in range(10)
    )
    assert better.estimate.value == pytest.approx(area)
    assert integrated_difference(good, good).p_value == 1
    fewer = gain_curve(data, *predict(data), points=5, bootstrap=FEW)
    with pytest.raises(InvalidValueError, match="on the same points, got 11 and 5"):
        integrated_difference(good, fewer)


def test_equal_costs_leave_one_budget(simulate, predict) -> None:
    data = replace(simulate(400), cost=torch.ones(400).double())
    curve = gain_curve(data, *predict(data), points=3, bootstrap=FEW)
    assert set(curve.budgets) == {1.0}
    assert integrated_difference(curve, curve).estimate.value == 0


def test_the_budget_that_a_target_needs(simulate, predict) -> None:
    data = simulate(4000)
    curve = gain_curve(data, *predict(data, noise=0.1), points=21, bootstrap=FEW)
    target = curve.over_cheapest[8].value
    needed, low, high = budget_needed(curve, target)
    assert needed == pytest.approx(curve.budgets[8])
    assert low < needed < high
    between = (curve.over_cheapest[3].value + curve.over_cheapest[4].value) / 2
    middle = (curve.budgets[3] + curve.budgets[4]) / 2
    assert budget_needed(curve, between)[0] == pytest.approx(middle)
    assert budget_needed(curve, 0.0)[0] == curve.budgets[0]
    assert budget_needed(curve, 1e9) == (math.inf, math.inf, math.inf)
    with pytest.raises(InvalidValueError, match="target must be a number, got nan"):
        budget_needed(curve, math.nan)
