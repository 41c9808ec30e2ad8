from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from dfl.abtest import CrossFit
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.mlrate import Mlrate
from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.stats.arrays import label_values
from tests.abtest.data import experiment

THREE = np.resize(["a", "b", "control"], 400)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (
            {"treatment": np.zeros(400)},
            InvalidValueError,
            "at least two arms, got only 0.0; an arm",
        ),
        ({"treatment": np.ones(400)}, InvalidValueError, "control must be one of the arms, no row"),
        ({"control": "x"}, InvalidValueError, "control must be one of the arms, no row is in 'x'"),
        (
            {"shares": {0: 1, 1: 1, 2: 1}},
            InvalidValueError,
            r"every planned arm must have rows, \[2",
        ),
        ({"shares": {0: 1}}, InvalidValueError, r"shares must name every arm, \[1\] are missing"),
        ({"shares": {0: 1, 1: 0}}, InvalidValueError, "shares must be positive and finite, got"),
        ({"shares": {0: "a", 1: 1}}, InvalidValueError, "shares must be positive and finite, got"),
        ({"metric": np.ones(400)}, InvalidValueError, "metric must vary, got 1 in all 400 rows"),
        ({"metric": np.full(400, np.nan)}, InvalidValueError, "metric must be finite, got 400 NaN"),
        ({"metric": np.full(400, "a")}, DTypeError, "metric must hold numbers, got <U1"),
        ({"metric": np.ones((400, 2))}, ShapeError, r"metric must be \(n,\), got \(400, 2\)"),
        ({"prediction": np.ones(3)}, ShapeError, r"prediction must be \(400,\), got \(3,\)"),
        ({"covariates": np.ones((3, 1))}, ShapeError, r"covariates must be \(400, p\) with p >= 1"),
        ({"covariates": np.full(400, np.inf)}, InvalidValueError, "covariates must be finite, got"),
        ({"names": ("a", "b")}, ShapeError, "names must name the 1 covariates, got 2"),
        ({"treatment": np.ones(3)}, ShapeError, r"treatment must be \(400,\), got \(3,\)"),
        (
            {"treatment": np.where(np.arange(400) < 2, np.nan, 1)},
            InvalidValueError,
            "treatment must be known in every row, it is missing in 2 of 400",
        ),
        (
            {"segments": np.array([None] + ["x"] * 399, dtype=object)},
            InvalidValueError,
            "segments must be known in every row, it is missing in 1 of 400",
        ),
        (
            {"denominator": np.arange(400.0) - 2},
            InvalidValueError,
            "denominator must be >= 0, got 2 negative of 400, the smallest -2",
        ),
        (
            {"denominator": np.arange(400.0)},
            InvalidValueError,
            "denominator must be > 0 where the metric is not 0, got 0 in 1 such rows",
        ),
        (
            {"clusters": np.arange(400) // 2, "treatment": np.arange(400) % 2},
            InvalidValueError,
            "clusters must lie in one arm each, 200 rows are in another arm",
        ),
    ],
)
def test_bad_input(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        experiment(**changed)


def test_a_denominator_of_zero_in_a_whole_arm() -> None:
    base = experiment()
    treated = base.treatment == 1
    given = {"metric": np.where(treated, 0, base.metric), "denominator": 1.0 - treated}
    with pytest.raises(InvalidValueError, match="denominator must sum to more than 0 in every arm"):
        experiment(**given).contrast(1)


def test_users_without_any_event_stay_in_a_ratio() -> None:
    base = experiment()
    none = np.arange(400) % 4 == 0
    ratio = experiment(metric=np.where(none, 0, base.metric), denominator=np.where(none, 0, 2.0))
    rows = (base.treatment == 1) & ~none
    assert ratio.value_of(1) == pytest.approx(base.metric[rows].mean() / 2)


def test_columns_of_pandas_and_lists_are_read() -> None:
    base = experiment()
    table = pd.DataFrame({"t": np.where(base.treatment == 1, "new", "control"), "y": base.metric})
    by_name = experiment(treatment=table["t"], metric=table["y"].tolist())
    assert by_name.arms == ("control", "new")
    assert by_name.control_arm == "control"
    (named,) = DifferenceInMeans().estimate(by_name)
    (plain,) = DifferenceInMeans().estimate(base)
    assert named.estimate == plain.estimate
    assert (named.arm, named.control) == ("new", "control")


def test_booleans_and_other_controls() -> None:
    base = experiment()
    assert experiment(treatment=base.treatment == 1).control_arm is False
    assert experiment(treatment=(base.treatment == 1).astype(str)).control_arm == "False"
    (flipped,) = DifferenceInMeans().estimate(replace(base, control=1))
    (plain,) = DifferenceInMeans().estimate(base)
    assert flipped.estimate == pytest.approx(-plain.estimate)


def test_every_arm_is_compared_with_the_control_alone() -> None:
    three = experiment(treatment=THREE)
    effects = DifferenceInMeans().estimate(three)
    assert [effect.arm for effect in effects] == ["a", "b"]
    for effect in effects:
        gap = three.metric[effect.arm == THREE].mean() - three.metric[THREE == "control"].mean()
        assert effect.estimate == pytest.approx(gap)
        assert effect.treated_rows + effect.control_rows == sum(
            THREE != "a" if effect.arm == "b" else THREE != "b"
        )
        assert effect.control_value == pytest.approx(three.metric[THREE == "control"].mean())
        assert effect.relative == pytest.approx(effect.estimate / effect.control_value)
    with pytest.raises(InvalidValueError, match=r"arm must be one of \['a', 'b'\], got 'control'"):
        three.contrast("control")


def test_one_prediction_serves_all() -> None:
    three = experiment(treatment=THREE)
    cross_fit = CrossFit(regressor=LinearRegression())
    predicted = three.with_prediction(cross_fit)
    assert predicted.prediction is not None
    assert np.corrcoef(predicted.prediction, three.metric)[0, 1] > 0.6
    assert all(effect.standard_error < 0.2 for effect in Mlrate().estimate(predicted))
    with pytest.raises(InvalidValueError, match="covariates must be given to make a prediction"):
        replace(three, covariates=None).with_prediction()


def test_segments_are_read_apart() -> None:
    base = experiment(segments=np.resize(["x", "x", "x", "y"], 400), shares={0: 1, 1: 1})
    parts = dict(base.by_segment())
    assert {name: len(part) for name, part in parts.items()} == {"x": 300, "y": 100}
    (effect,) = DifferenceInMeans().effects(parts["y"])
    rows = base.segments == "y"
    gap = base.metric[rows & (base.treatment == 1)].mean()
    gap -= base.metric[rows & (base.treatment == 0)].mean()
    assert effect.estimate == pytest.approx(gap)
    with pytest.raises(InvalidValueError, match="segments must be given to read them apart"):
        list(experiment().by_segment())


def test_clusters_are_the_units() -> None:
    clusters = np.array([f"user {number // 4}" for number in range(400)])
    treatment = np.arange(400) // 4 % 2
    data = experiment(treatment=treatment, clusters=clusters)
    assert data.unit_counts == {0: 50, 1: 50}
    assert data.contrast(1).treated_units == 50


def test_missing_dates_are_missing() -> None:
    days = np.array(["2026-01-01", "NaT"], dtype="datetime64[D]")[np.arange(400) % 2]
    with pytest.raises(InvalidValueError, match="segments must be known in every row"):
        experiment(segments=days)


def test_a_ratio_without_any_event_has_no_prediction() -> None:
    nothing = experiment(metric=np.zeros(400), denominator=np.zeros(400))
    with pytest.raises(InvalidValueError, match="denominator must sum to more than 0 in every arm"):
        nothing.with_prediction()


@pytest.mark.parametrize("name", ["treatment", "clusters", "segments"])
def test_labels_of_several_kinds_are_refused(name: str) -> None:
    mixed = np.array([0, "a"] * 200, dtype=object)
    with pytest.raises(InvalidValueError, match=f"{name} must hold labels of one kind, .* int and"):
        experiment(**{name: mixed})


@pytest.mark.parametrize("unit", ["D", "s", "us", "ns"])
def test_arms_and_segments_are_dates_of_any_unit(unit: str) -> None:
    day = np.array(["2026-01-01", "2026-01-02"], dtype=f"datetime64[{unit}]")
    base = experiment()
    dated = experiment(
        treatment=day[base.treatment],  # type: ignore[index]
        control=day[0],
        shares=dict.fromkeys(label_values(day), 1),
        segments=day[np.arange(400) % 2],
    )
    (effect,) = DifferenceInMeans().estimate(dated)
    (plain,) = DifferenceInMeans().estimate(base)
    assert effect.estimate == plain.estimate
    assert effect.arm.startswith("2026-01-02")
    parts = [part for _, part in dated.by_segment()]
    assert [len(one) for one in parts] == [200, 200]
    assert dated.only(np.arange(400) < 300).shares == dated.shares
