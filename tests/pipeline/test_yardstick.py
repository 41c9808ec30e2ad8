import json

import pytest
import torch
from torch.testing import assert_close

from dfl.budget import Budget
from dfl.data import CouponSimulator, CriteoLikeSimulator, UpliftData
from dfl.errors import InfeasibleBudgetError, InvalidValueError
from dfl.methods import Prediction
from dfl.metrics import Bootstrap, aucc, expected_outcome, roi_score
from dfl.pipeline.yardstick import Yardstick, treatment_names
from dfl.solvers import GreedyDual

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
    direct = aucc(data, roi_score(*columns(data)), bootstrap=BOOTSTRAP)
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
