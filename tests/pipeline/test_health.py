import json
from dataclasses import replace

import pytest
import torch

from dfl.data import CouponSimulator, HybridData, PartSizes, UpliftData
from dfl.models import Prediction
from dfl.pipeline.health import health, served_drift

SIZES = PartSizes(rct=400, obs=600, validation=400, test=1000)


def hybrid() -> HybridData:
    return CouponSimulator(sizes=SIZES).hybrid(seed=0)


def truth(rows: UpliftData) -> Prediction:
    assert rows.truth is not None
    return Prediction(rows.truth.revenue, rows.truth.cost)


def names(data: HybridData) -> tuple[str, ...]:
    return tuple(f"f{k}" for k in range(data.test.features.shape[1]))


def check(data: HybridData, predicted: Prediction | None = None) -> dict:  # type: ignore[type-arg]
    test = data.test
    choice = torch.zeros(len(test), dtype=torch.int64)
    found = health(data, predicted or truth(test), choice, 0.95, names(data))
    json.dumps(found, allow_nan=False)
    return found


def test_the_truth_is_calibrated() -> None:
    data = hybrid()
    for what in ("revenue", "cost"):
        one = check(data)["calibration"][what]
        assert abs(one["slope"] - 1) < 3 * one["slope_error"] + 1e-6
        assert sum(group["rows"] for group in one["groups"]) == 1000
        assert [group["predicted"] for group in one["groups"]] == sorted(
            group["predicted"] for group in one["groups"]
        )


def test_predictions_twice_too_steep_are_seen() -> None:
    data = hybrid()
    right = truth(data.test)
    one = check(data, Prediction(2 * right.revenue, right.cost))["calibration"]["revenue"]
    usual = check(data)["calibration"]["revenue"]
    assert one["slope"] == pytest.approx(usual["slope"] / 2, rel=1e-4)
    assert one["slope_error"] == pytest.approx(usual["slope_error"] / 2, rel=1e-4)
    assert one["predicted"] == pytest.approx(2 * usual["predicted"], rel=1e-5)


def test_a_constant_prediction_has_no_slope() -> None:
    data = hybrid()
    flat = Prediction(torch.ones(1000, 5), torch.ones(1000, 5))
    one = check(data, flat)["calibration"]["revenue"]
    assert (one["slope"], one["slope_error"]) == (None, None)


def test_rows_predicted_alike_are_held_against_what_they_bring_together() -> None:
    data = hybrid()
    flat = torch.tensor([1.0, 1, 1, 2, 2]).expand(1000, 5)
    falling = data.test.revenue.argsort(descending=True)
    found = check(replace(data, test=data.test.subset(falling)), Prediction(flat, flat))
    dear = data.test.treatment >= 3
    for group, own in zip(found["calibration"]["revenue"]["groups"], (~dear, dear), strict=True):
        assert group["rows"] == int(own.sum())
        assert group["observed"]["value"] == pytest.approx(
            float(data.test.revenue[own].double().mean())
        )


def test_rows_that_got_what_they_are_given() -> None:
    data = hybrid()
    matched = check(data)["matched"]
    assert matched["rows"] == int((data.test.treatment == 0).sum())
    assert 0 < matched["effective"] <= matched["rows"] + 1e-6


def planned(part: UpliftData, shares: list[float]) -> UpliftData:
    return replace(part, propensity=torch.tensor(shares).expand(len(part), 5))


def test_arms_are_held_against_their_plan() -> None:
    data = hybrid()
    parts = {name: getattr(data, name) for name in ("rct", "validation", "test")}
    counts = sum(part.arm_counts for part in parts.values())
    even = replace(data, **{k: planned(v, [0.2] * 5) for k, v in parts.items()})
    ratio = check(even)["sample_ratio"]
    assert ratio["counts"] == counts.tolist()
    assert ratio["planned"] == pytest.approx([0.2] * 5)
    assert ratio["p_value"] > 0.001
    off = replace(data, **{k: planned(v, [0.4, 0.15, 0.15, 0.15, 0.15]) for k, v in parts.items()})
    assert check(off)["sample_ratio"]["p_value"] < 1e-6
    unknown = replace(data, **{k: replace(v, propensity=None) for k, v in parts.items()})
    assert check(unknown)["sample_ratio"]["p_value"] is None


def test_arms_that_differ_in_a_feature_are_seen() -> None:
    data = hybrid()
    parts = {
        name: replace(getattr(data, name), propensity=None)
        for name in ("rct", "validation", "test")
    }
    sound = replace(data, **parts)
    assert check(sound)["balance"]["p_value"] > 0.001

    def moved(part: UpliftData) -> UpliftData:
        features = part.features.clone()
        features[:, 3] += part.treatment
        return replace(part, features=features)

    found = check(replace(data, **{k: moved(v) for k, v in parts.items()}))["balance"]
    assert found["feature"] == "f3"
    assert found["p_value"] < 1e-6
    alike = {k: replace(v, features=torch.ones_like(v.features)) for k, v in parts.items()}
    assert check(replace(data, **alike))["balance"] is None


def test_chances_that_differ_by_person_are_not_tested_for_balance() -> None:
    data = hybrid()
    tilt = torch.rand(1000, 1, generator=torch.Generator().manual_seed(0)) / 10
    chances = torch.cat([0.2 + tilt, (0.8 - tilt).expand(1000, 4) / 4], dim=1)
    test = replace(data.test, propensity=chances)
    assert check(replace(data, test=test))["balance"] is None


def test_a_treatment_that_the_logs_hardly_hold_is_seen() -> None:
    data = hybrid()
    assert data.obs is not None
    known = planned(data.obs, [0.96, 0.01, 0.01, 0.01, 0.01])
    assert check(replace(data, obs=known))["overlap"] == pytest.approx([0.96] + [0.01] * 4)
    learned = check(replace(data, obs=replace(data.obs, propensity=None)))["overlap"]
    assert len(learned) == 5
    assert all(0 <= chance < 1 for chance in learned)
    assert check(replace(data, obs=None))["overlap"] is None


def test_a_feature_that_moved_comes_first() -> None:
    data = hybrid()
    features = data.test.features.clone()
    features[:, 2] += 1
    found = check(replace(data, test=replace(data.test, features=features)))["drift"]
    assert found[0]["feature"] == "f2"
    assert found[0]["shift"] == pytest.approx(1, abs=0.2)
    assert found[0]["error"] == pytest.approx((1 / 1000 + 1 / 1000) ** 0.5)
    still = torch.ones_like(features)
    parts = {
        k: replace(getattr(data, k), features=still[: len(getattr(data, k))])
        for k in ("rct", "obs")
    }
    new = check(replace(data, **parts, test=replace(data.test, features=2 * still)))["drift"]
    assert new[0]["shift"] == 1


def test_people_served_are_held_against_the_training_rows() -> None:
    trained = {"features": ["a", "b", "c"], "rows": 900, "mean": [1.0, 0, 5], "spread": [2.0, 1, 0]}
    mean = torch.tensor([0.5, 0.15, 6.0])
    few, many = (served_drift({"trained": trained}, mean, people) for people in (100, 100_000))
    assert few == []  # within three standard errors; c never varied
    assert many == [("a", -0.25), ("b", pytest.approx(0.15))]
    assert served_drift({}, mean, 10) == []  # a run of an earlier version


def test_features_of_groups_move_by_chance_as_groups_do() -> None:
    data = hybrid()
    cities = torch.randn(120, 1, generator=torch.Generator().manual_seed(0))

    def of_cities(part: UpliftData, first: int) -> UpliftData:
        city = torch.arange(len(part)) % 40 + first
        features = torch.cat([cities[city], part.features[:, 1:]], dim=1)
        return replace(part, features=features, groups=city)

    parts = {"rct": of_cities(data.rct, 0), "test": of_cities(data.test, 40)}  # type: ignore[arg-type]
    found = check(replace(data, obs=None, **parts))
    drift = {one["feature"]: one["error"] for one in found["drift"]}
    assert drift["f0"] == pytest.approx((1 / 40 + 1 / 40) ** 0.5)  # and not of 400 and 1,000 rows
    units = found["trained"]["units"]
    assert units[0] == pytest.approx(40)
    assert all(40 < unit <= 400 for unit in units[1:])
    trained = {"features": ["a"], "rows": 400, "units": [40], "mean": [0.0], "spread": [1.0]}
    assert served_drift({"trained": trained}, torch.tensor([0.4]), 10_000) == []
    assert served_drift({"trained": trained | {"units": [400]}}, torch.tensor([0.4]), 10_000)


def test_rows_of_a_group_count_once() -> None:
    data = hybrid()
    twice = torch.arange(400).repeat(2)
    rct = planned(data.rct.subset(twice), [0.2] * 5)  # type: ignore[union-attr]
    doubled = replace(rct, groups=twice)
    alone = {k: planned(getattr(data, k), [0.2] * 5) for k in ("validation", "test")}
    plain = replace(data, rct=planned(data.rct, [0.2] * 5), **alone)  # type: ignore[arg-type]
    found, usual = check(replace(data, rct=doubled, **alone)), check(plain)
    assert sum(found["sample_ratio"]["counts"]) == sum(usual["sample_ratio"]["counts"]) + 400
    assert found["sample_ratio"]["p_value"] == pytest.approx(usual["sample_ratio"]["p_value"])
    assert found["balance"] == usual["balance"]
    pairs = torch.arange(1000).repeat(2)
    test = replace(data.test.subset(pairs), groups=pairs)
    right = truth(test)
    choice = torch.zeros(2000, dtype=torch.int64)
    known = health(replace(data, test=test), right, choice, 0.95, names(data))["calibration"]
    once = usual["calibration"]["revenue"]["observed"]
    assert known["revenue"]["observed"] == pytest.approx(once, rel=1e-6)
    assert known["revenue"]["slope_error"] == pytest.approx(
        usual["calibration"]["revenue"]["slope_error"], rel=1e-6
    )
