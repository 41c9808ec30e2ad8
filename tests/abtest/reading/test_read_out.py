import json
import math

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from dfl.abtest import CrossFit, ReadOut, SampleRatioError, adjust_p_values, read_out
from dfl.abtest.cuped import Cuped
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.mlrate import Mlrate
from dfl.abtest.reading.forest import forest_plot
from dfl.abtest.state import State
from dfl.errors import InvalidValueError
from tests.abtest.data import experiment

SEGMENTS = np.resize(["x", "x", "y"], 600)
ESTIMATORS = {"difference-in-means": DifferenceInMeans(), "mlrate": Mlrate()}
LINEAR = CrossFit(regressor=LinearRegression())


def metrics() -> dict:
    base = experiment(600)
    other = np.random.default_rng(1).standard_normal(600)
    return {
        "money": experiment(600, segments=SEGMENTS, metric=base.metric + base.treatment),
        "visits": experiment(600, metric=other, segments=SEGMENTS, denominator=2 + base.treatment),
    }


def found() -> ReadOut:
    return read_out(metrics(), ESTIMATORS, cross_fit=LINEAR)


def test_every_metric_segment_and_estimator_is_read() -> None:
    places = [(one.metric, one.segment, one.estimator) for one in found().readings]
    assert len(set(places)) == len(places) == 2 * 3 * 2
    assert {place[1] for place in places} == {None, "x", "y"}


def test_p_values_are_adjusted_over_what_one_estimator_reads() -> None:
    own = [one for one in found().readings if one.estimator == "mlrate"]
    plain = [one.effect.p_value for one in own]
    assert [one.adjusted_p_value for one in own] == pytest.approx(
        adjust_p_values(plain, correction="holm")
    )
    assert any(one.significant for one in own)
    assert not all(one.significant for one in own)


def test_the_content_is_plain_json() -> None:
    content = found().content()
    assert json.loads(json.dumps(content, allow_nan=False)) == json.loads(json.dumps(content))
    effect = content["readings"][0]["effect"]
    assert effect["relative"] == pytest.approx(effect["estimate"] / effect["control_value"])
    assert math.isclose(content["sample_ratio"]["p_value"], 1)


def test_a_refusal_is_noted_with_its_reason() -> None:
    zeros = experiment(600, metric=np.where(np.arange(600) % 4, 0, experiment(600).metric))
    done = read_out(
        {"m": zeros}, {"state": State(), "plain": DifferenceInMeans()}, cross_fit=LINEAR
    )
    assert [one.estimator for one in done.readings] == ["plain"]
    (refusal,) = done.refusals
    assert (refusal.estimator, refusal.segment) == ("state", None)
    assert "more than half of the rows" in refusal.reason
    with pytest.raises(InvalidValueError, match="more than half of the rows"):
        read_out({"m": zeros}, {"state": State()}, cross_fit=LINEAR)


def test_without_covariates() -> None:
    bare = {"m": experiment(covariates=None)}
    done = read_out(bare, {"cuped": Cuped(), "plain": DifferenceInMeans()}, correction="none")
    assert "cuped needs covariates" in done.refusals[0].reason
    assert done.readings[0].adjusted_p_value == done.readings[0].effect.p_value


def test_the_assignment_is_checked_first() -> None:
    skewed = experiment(treatment=(np.arange(400) % 8 < 3).astype(int))
    with pytest.raises(SampleRatioError, match="sample ratio mismatch"):
        read_out({"m": skewed}, ESTIMATORS)
    with pytest.raises(InvalidValueError, match="at least one metric and one estimator"):
        read_out({}, ESTIMATORS)


def test_the_forest_is_a_picture() -> None:
    picture = forest_plot(found())
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 5_000


CONVERTED = (np.random.default_rng(1).random(600) < 0.3).astype(float)


@pytest.mark.parametrize(
    ("segment", "metric", "reason"),
    [
        (np.where(np.arange(600) == 0, "IS", SEGMENTS), CONVERTED, "at least two arms, got only"),
        (np.where(np.arange(600) < 3, "IS", SEGMENTS), CONVERTED, "at least 2 units"),
        (SEGMENTS, CONVERTED * (SEGMENTS != "y"), "metric must vary, got 0 in all 200 rows"),
    ],
)
def test_a_bad_segment_leaves_the_others_readable(
    segment: np.ndarray, metric: np.ndarray, reason: str
) -> None:
    data = experiment(600, metric=metric, segments=segment, covariates=None)
    done = read_out({"conv": data}, {"plain": DifferenceInMeans()})
    (refusal,) = done.refusals
    assert reason in refusal.reason
    assert refusal.segment in {"IS", "y"}
    good = {None, "x", "y"} - {refusal.segment}
    assert {one.segment for one in done.readings} == good
    rows = done.readings[0].effect
    treated = data.treatment == 1
    assert rows.estimate == pytest.approx(metric[treated].mean() - metric[~treated].mean())


def test_a_constant_arm_leaves_the_others_readable() -> None:
    arm = np.resize([0, 1, 2], 600)
    data = experiment(600, treatment=arm, metric=CONVERTED * (arm == 2), covariates=None)
    done = read_out({"conv": data}, {"plain": DifferenceInMeans()})
    assert [one.effect.arm for one in done.readings] == ["2"]
    (refusal,) = done.refusals
    assert str(refusal).startswith("conv arm 1, plain: not read, metric must vary, got 0 in all")
    json.dumps(done.content(), allow_nan=False)


def test_a_metric_that_cannot_be_predicted_is_read_without_prediction() -> None:
    """Two users: nothing to cross-fit from."""
    tiny = experiment(4)
    done = read_out(
        {"m": tiny}, {"plain": DifferenceInMeans(), "mlrate": Mlrate()}, cross_fit=CrossFit(folds=4)
    )
    assert {one.estimator for one in done.readings} == {"plain"}
    assert done.refusals[0].estimator == "mlrate"


def test_splits_are_made_or_refused_one_by_one() -> None:
    zeros = experiment(600, metric=np.where(np.arange(600) % 4, 0, experiment(600).metric))
    done = read_out(
        {"m": zeros},
        {"state": State(), "plain": DifferenceInMeans()},
        cross_fit=LINEAR,
        splits=5,
    )
    aa = done.content()["aa"]["m"]
    assert "more than half" in aa["state"]["refused"]
    assert aa["plain"]["runs"] == 5


def test_an_unknown_correction_is_refused_before_anything_is_looked_at() -> None:
    lopsided = experiment(treatment=(np.arange(400) < 50).astype(int))
    with pytest.raises(InvalidValueError, match="correction must be one of 'holm', 'bonferroni'"):
        read_out({"money": lopsided}, ESTIMATORS, correction="sidak")  # type: ignore[arg-type]
