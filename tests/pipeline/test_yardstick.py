import json
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from dfl.budget import Budget
from dfl.data import CouponSimulator, CriteoLikeSimulator, PotentialOutcomes, UpliftData
from dfl.errors import InfeasibleBudgetError, InvalidValueError
from dfl.methods import Prediction
from dfl.metrics import (
    Bootstrap,
    UnsafeEstimatorWarning,
    aucc,
    best_constant_mix,
    expected_outcome,
    paired_difference,
    roi_score,
)
from dfl.metrics.rows.randomised_rows import PolicyEstimator
from dfl.pipeline.today import Today
from dfl.pipeline.yardstick import Yardstick, treatment_names
from dfl.solvers import GreedyDual
from dfl.stats import interval_factor

BUDGETS = (Budget(share=0.3), Budget(per_head=0.5))
BOOTSTRAP = Bootstrap(draws=5)


def coupon(rows: int = 400) -> UpliftData:
    return CouponSimulator().draw(rows, generator=torch.Generator().manual_seed(3))


def truth(data: UpliftData) -> Prediction:
    assert data.truth is not None
    return Prediction(data.truth.revenue, data.truth.cost)


def test_estimates_are_those_of_the_metrics() -> None:
    data = coupon()
    yardstick = Yardstick.of(data, BUDGETS, BOOTSTRAP)
    found = yardstick.measure(truth(data), GreedyDual())
    direct = expected_outcome(data, *columns(data), BUDGETS, bootstrap=BOOTSTRAP)
    assert [one.value for one in found.expected] == [one.value for one in direct]
    assert_close(found.expected[0].estimate.draws, direct[0].estimate.draws, rtol=0, atol=0)


@pytest.mark.parametrize("estimator", ["self-normalised", "horvitz-thompson"])
def test_another_estimator_serves_all_values_and_is_said(estimator: PolicyEstimator) -> None:
    data = binary(4_000)
    yardstick = Yardstick.of(data, (Budget(share=0.5),), BOOTSTRAP, estimator=estimator)
    found = yardstick.measure(truth(data), GreedyDual())
    how = {"estimator": estimator, "bootstrap": BOOTSTRAP}
    direct = expected_outcome(data, *columns(data), (Budget(share=0.5),), **how)  # type: ignore[arg-type]
    assert found.expected[0].value == direct[0].value
    mix = best_constant_mix(data, (Budget(share=0.5),), **how)  # type: ignore[arg-type]
    assert yardstick.constant_mix[0].estimate.value == mix[0].estimate.value
    assert found.metrics["notes"][-1] == f"Values are {estimator} estimates."  # type: ignore[index]


def columns(data: UpliftData) -> tuple[torch.Tensor, torch.Tensor]:
    predicted = truth(data)
    return predicted.revenue, predicted.cost


def test_the_truth_earns_the_whole_gain_of_the_oracle() -> None:
    data = coupon()
    found = Yardstick.of(data, BUDGETS, BOOTSTRAP).measure(truth(data), GreedyDual())
    assert found.true is not None
    assert [one.share_of_gain for one in found.true] == pytest.approx([1.0, 1.0], abs=1e-6)


def test_metrics_are_json_and_hold_one_entry_per_budget() -> None:
    data = coupon()
    yardstick = Yardstick.of(data, BUDGETS, BOOTSTRAP)
    metrics = json.loads(json.dumps(yardstick.measure(truth(data), GreedyDual()).metrics))
    assert [one["given"] for one in metrics["budgets"]] == ["share=0.3", "per_head=0.5"]
    assert metrics["budgets"][1]["per_head"] == 0.5
    assert set(metrics["budgets"][0]) >= {"eom", "constant_mix", "random", "true", "cost"}
    assert sum(arm["rows"] for arm in metrics["arms"].values()) == len(data)
    budgets = [point["budget"] for point in metrics["curve"]]
    assert budgets == sorted(budgets)
    assert len(budgets) == 21
    for point in metrics["mix"]:
        assert sum(point["shares"]) == pytest.approx(1)
    assert metrics["mix"][0]["shares"][0] == 1
    assert "aucc" not in metrics


def test_no_curve_unless_wanted() -> None:
    data = coupon()
    yardstick = Yardstick.of(data, BUDGETS, BOOTSTRAP, curve=False)
    metrics = yardstick.measure(truth(data), GreedyDual()).metrics
    assert "curve" not in metrics
    assert "mix" not in metrics
    assert yardstick.points == BUDGETS


def test_the_share_of_the_gain_is_null_where_there_is_none() -> None:
    data = coupon()
    yardstick = Yardstick.of(data, (Budget(share=0.0),), BOOTSTRAP, curve=False)
    metrics = json.loads(json.dumps(yardstick.measure(truth(data), GreedyDual()).metrics))
    assert metrics["budgets"][0]["true"]["share_of_gain"] is None
    assert metrics["budgets"][0]["true"]["regret"] == pytest.approx(0, abs=1e-6)


def binary(rows: int) -> UpliftData:
    return CriteoLikeSimulator(noise=0.0).draw(rows, generator=torch.Generator().manual_seed(5))


def test_two_treatments_have_an_area_under_the_cost_curve() -> None:
    data = binary(4000)
    yardstick = Yardstick.of(data, (Budget(share=0.5),), BOOTSTRAP, curve=False)
    found = yardstick.measure(truth(data), GreedyDual())
    assert found.aucc is not None
    score = roi_score(*columns(data))
    direct = aucc(data, score, estimator="doubly-robust", bootstrap=BOOTSTRAP)
    assert found.aucc.value == direct.value
    area = json.loads(json.dumps(found.metrics))["aucc"]
    assert area["value"] == direct.value


def test_an_area_that_is_undefined_says_why() -> None:
    data = binary(4000)
    yardstick = Yardstick.of(data, (Budget(share=0.5),), BOOTSTRAP, curve=False)
    revenue, cost = columns(data)
    found = yardstick.measure(Prediction(revenue, torch.ones_like(cost)), GreedyDual())
    assert found.aucc is None
    assert "cost uplift" in json.dumps(found.metrics["aucc"])


def test_a_budget_below_the_cheapest_treatment() -> None:
    data = coupon()
    costs = data.cost + 1
    dearer = UpliftData(data.features, data.treatment, data.revenue, costs, 5, "rct")
    with pytest.raises(InfeasibleBudgetError, match="below the 1 per head"):
        Yardstick.of(dearer, (Budget(per_head=0.5),), BOOTSTRAP)


def test_rows_that_cannot_be_evaluated_on() -> None:
    obs = CouponSimulator().draw(400, generator=torch.Generator().manual_seed(3), source="obs")
    with pytest.raises(InvalidValueError, match="must be randomised"):
        Yardstick.of(obs, BUDGETS, BOOTSTRAP)


def test_treatments_without_names() -> None:
    data = coupon()
    nameless = UpliftData(data.features, data.treatment, data.revenue, data.cost, 5, "rct")
    assert treatment_names(nameless)[:2] == ("treatment 0", "treatment 1")
    assert treatment_names(data)[0] == "none"


def test_a_model_is_told_what_it_earns_more_than_the_best_constant_mix() -> None:
    data = coupon(4000)
    yardstick = Yardstick.of(data, BUDGETS, BOOTSTRAP, curve=False)
    good = truth(data)
    bad = Prediction(-good.revenue, good.cost)
    for predicted, sign in ((good, 1), (bad, -1)):
        found = yardstick.measure(predicted, GreedyDual())
        against = json.loads(json.dumps(found.metrics))["against_best_mix"]
        assert list(against) == ["share=0.3", "per_head=0.5"]
        pair = paired_difference(
            found.expected[0].estimate, yardstick.constant_mix[0].estimate, level=BOOTSTRAP.level
        )
        first = against["share=0.3"]
        assert first["value"] == pair.estimate.value
        assert first["low"] < first["value"] < first["high"]
        assert sign * first["value"] > 0
        assert first["p_value"] == pair.p_value


def test_two_arms_with_several_propensities_lose_the_area_alone() -> None:
    data = binary(4000)
    tilt = torch.rand(4000, 1, generator=torch.Generator().manual_seed(1)) / 2 + 0.25
    data = replace(data, propensity=torch.cat([1 - tilt, tilt], dim=1))
    yardstick = Yardstick.of(data, (Budget(share=0.5),), BOOTSTRAP, curve=False)
    found = yardstick.measure(truth(data), GreedyDual())
    assert found.aucc is None
    assert "same propensity" in json.dumps(found.metrics["aucc"])
    assert found.expected[0].standard_error > 0


@pytest.mark.parametrize("price", [0.1, 0.0, 7.0])
def test_equal_costs_of_all_treatments_are_measured_and_said(price: float) -> None:
    data = replace(coupon(), cost=torch.full((400,), price), truth=None)
    yardstick = Yardstick.of(data, (Budget(share=0.5), Budget(per_head=price)), BOOTSTRAP)
    found = yardstick.measure(
        Prediction(data.features[:, :5], torch.full((400, 5), price)), GreedyDual()
    )
    (note,) = found.metrics["notes"]  # type: ignore[misc]
    assert f"cost the same, {price:g} per head: the budget plays no part" in note
    assert found.expected[0].value == found.expected[1].value
    assert "notes" in yardstick.measure(truth(coupon()), GreedyDual()).metrics


def test_an_arm_whose_outcome_never_varies_is_measured() -> None:
    data = coupon()
    data = replace(data, revenue=torch.where(data.treatment == 0, 0, data.revenue))
    found = Yardstick.of(data, BUDGETS, BOOTSTRAP).measure(truth(data), GreedyDual())
    assert found.metrics["notes"] == []
    assert found.expected[0].standard_error > 0


def test_true_values_that_do_not_exist_leave_the_estimates() -> None:
    data = coupon()
    assert data.truth is not None
    dearer = PotentialOutcomes(data.truth.revenue, data.truth.cost + 1)
    yardstick = Yardstick.of(replace(data, truth=dearer), BUDGETS, BOOTSTRAP)
    found = yardstick.measure(truth(data), GreedyDual())
    assert found.true is None
    assert "No true values: budget per_head=0.5 is 0.5 per head" in json.dumps(yardstick.notes)
    assert found.expected[0].standard_error > 0


def test_a_treatment_of_few_rows_is_measured_and_said() -> None:
    data = coupon()
    few = torch.cat(
        [(data.treatment == arm).nonzero()[: 3 if arm == 4 else 60, 0] for arm in range(5)]
    )
    found = Yardstick.of(data.subset(few), BUDGETS, BOOTSTRAP).measure(
        truth(data.subset(few)), GreedyDual()
    )
    (note,) = found.metrics["notes"]  # type: ignore[misc]
    assert "Treatment '20%' has 3 test rows, fewer than 30: intervals" in note


def test_a_treatment_that_some_could_not_receive_is_said() -> None:
    data = coupon(200)
    chance = torch.full((200, data.treatments), 1 / data.treatments)
    chance[int((data.treatment != 4).nonzero()[0])] = torch.tensor([0.25, 0.25, 0.25, 0.25, 0])
    known = replace(data, propensity=chance)
    with pytest.warns(UnsafeEstimatorWarning, match="propensity 0 in 1 of 200 rows"):
        notes = Yardstick.of(known, BUDGETS, BOOTSTRAP, curve=False).notes
    assert any("Treatment 4 has propensity 0 in 1 of 200 rows" in note for note in notes)


def test_the_band_of_the_difference_holds_at_all_points_together() -> None:
    data = coupon(1000)
    bootstrap = Bootstrap(draws=50)
    yardstick = Yardstick.of(data, BUDGETS, bootstrap)
    found = yardstick.measure(truth(data), GreedyDual())
    ours = expected_outcome(data, *columns(data), yardstick.points, bootstrap=bootstrap)
    single = interval_factor(bootstrap.level)
    curve = json.loads(json.dumps(found.metrics))["curve"]
    factors = []
    for k, point in enumerate(curve, start=len(BUDGETS)):
        pair = paired_difference(ours[k].estimate, yardstick.constant_mix[k].estimate).estimate
        band = point["against_mix"]
        assert band["value"] == pair.value
        if pair.standard_error:
            factors.append((band["high"] - band["value"]) / pair.standard_error)
    assert factors == pytest.approx([factors[0]] * len(factors))
    assert factors[0] > single


def test_a_tenth_more_and_less_and_what_the_budget_buys() -> None:
    data = coupon(1000)
    found = Yardstick.of(data, BUDGETS, BOOTSTRAP).measure(truth(data), GreedyDual())
    near = json.loads(json.dumps(found.metrics))["nearby"]
    assert list(near) == ["share=0.3", "per_head=0.5"]
    assert near["per_head=0.5"]["less"]["budget"] == pytest.approx(0.45)
    assert near["per_head=0.5"]["more"]["budget"] == pytest.approx(0.55)
    budgets = (Budget(per_head=0.55), Budget(per_head=0.5), Budget(share=0.0))
    more, here, least = expected_outcome(data, *columns(data), budgets, bootstrap=BOOTSTRAP)
    change = near["per_head=0.5"]["more"]
    assert change["value"] == pytest.approx(more.value - here.value)
    pair = paired_difference(here.estimate, least.estimate)
    assert near["per_head=0.5"]["buys"]["value"] == pytest.approx(pair.estimate.value)
    assert near["per_head=0.5"]["buys"]["low"] == pytest.approx(pair.estimate.low)


def test_today_is_compared_at_what_it_costs() -> None:
    data = coupon(1000)
    today = Today(500, 0.4, 3.0, 0.2)
    found = Yardstick.of(data, BUDGETS, BOOTSTRAP, today=today).measure(truth(data), GreedyDual())
    told = json.loads(json.dumps(found.metrics))["as_today"]
    (ours,) = expected_outcome(data, *columns(data), (Budget(per_head=0.4),), bootstrap=BOOTSTRAP)
    assert told["budget"] == 0.4
    assert told["difference"]["value"] == pytest.approx(ours.value - 3.0)
    without = Yardstick.of(data, BUDGETS, BOOTSTRAP, curve=False, today=today)
    assert "as_today" not in without.measure(truth(data), GreedyDual()).metrics


def test_today_below_the_cheapest_treatment_is_met_at_it() -> None:
    data = coupon(1000)
    dearer = replace(data, cost=data.cost + 1, truth=None)
    today = Today(500, 0.4, 3.0, 0.2)
    yardstick = Yardstick.of(dearer, (Budget(share=0.3),), BOOTSTRAP, today=today)
    found = yardstick.measure(truth(data), GreedyDual())
    assert json.loads(json.dumps(found.metrics))["as_today"]["budget"] == pytest.approx(1.0)


def test_a_constant_on_all_revenue_does_not_touch_the_reported_area() -> None:
    data = binary(4000)
    areas = []
    for constant in (0.0, 1000.0):
        moved = replace(data, revenue=data.revenue + constant)
        yardstick = Yardstick.of(moved, (Budget(share=0.5),), BOOTSTRAP, curve=False)
        found = yardstick.measure(truth(data), GreedyDual())
        assert found.aucc is not None
        areas.append(found.aucc.value)
    assert areas[1] == pytest.approx(areas[0], abs=0.01)
