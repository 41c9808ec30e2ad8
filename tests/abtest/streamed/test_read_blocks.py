import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dfl.abtest import (
    Cuped,
    DifferenceInMeans,
    Experiment,
    LeakWarning,
    SampleRatioError,
    read_out,
)
from dfl.abtest.checks.assignment import find_leaks
from dfl.abtest.streamed.read_blocks import Block, read_blocks
from dfl.errors import InvalidValueError

read_blocks_module = sys.modules[read_blocks.__module__]

DRAW = np.random.default_rng(0)
ROWS = 40_000
ARM = DRAW.integers(0, 3, ROWS)
PAST = DRAW.gamma(2.0, size=(ROWS, 2))
ORDERS = DRAW.poisson(2.0, ROWS).astype(float)
MONEY = ORDERS * (1 + 0.1 * ARM + PAST[:, 0]) + ORDERS * DRAW.normal(size=ROWS)
METRICS = {"money": (MONEY, None), "money/orders": (MONEY, ORDERS)}


def blocks(covariates: Any = PAST, metrics: Any = METRICS, arm: Any = ARM) -> Iterator[Block]:
    for part in np.array_split(np.arange(len(arm)), 7):
        cut = {
            name: (above[part], None if below is None else below[part])
            for name, (above, below) in metrics.items()
        }
        labels, codes = np.unique(arm[part], return_inverse=True)
        yield Block([str(one) for one in labels], codes, cut, covariates[part])


@pytest.mark.parametrize("covariates", [PAST, PAST[:, :1]])
def test_effects_are_those_of_all_rows_in_memory(covariates: Any) -> None:
    found = read_blocks(blocks(covariates), ["difference-in-means", "cuped"])
    experiments = {
        name: Experiment(treatment=ARM, metric=above, denominator=below, covariates=covariates)
        for name, (above, below) in METRICS.items()
    }
    estimators = {"difference-in-means": DifferenceInMeans(), "cuped": Cuped()}
    whole = read_out(experiments, estimators)
    assert len(found.readings) == len(whole.readings) == 8
    for one, other in zip(found.readings, whole.readings, strict=True):
        where = (one.metric, one.estimator, one.effect.arm)
        assert where == (other.metric, other.estimator, other.effect.arm)
        for name in ("estimate", "standard_error", "low", "high", "p_value", "control_value"):
            got, wanted = (getattr(x.effect, name) for x in (one, other))
            assert got == pytest.approx(wanted, rel=1e-9, abs=1e-13), (where, name)
        assert one.adjusted_p_value == pytest.approx(other.adjusted_p_value, rel=1e-8, abs=1e-13)
        assert one.effect.verdict == other.effect.verdict
        assert one.effect.diagnostics == pytest.approx(other.effect.diagnostics, rel=1e-9)
    assert found.sample_ratio == whole.sample_ratio


def test_estimators_that_need_rows_are_refused_with_a_line() -> None:
    found = read_blocks(blocks(), ["state", "difference-in-means"])
    assert [one.estimator for one in found.readings] == ["difference-in-means"] * 4
    (said,) = map(str, found.refusals)
    assert said.startswith("all metrics, state: not read, it needs all rows in memory")
    with pytest.raises(InvalidValueError, match="huber: not read, it needs all rows in memory"):
        read_blocks(blocks(), ["huber"])
    with pytest.raises(InvalidValueError, match="there must be an estimator"):
        read_blocks(blocks(), [])


def test_what_one_arm_cannot_tell_is_a_refusal() -> None:
    copy = {"copy": (PAST[:, 0], None), "money": (MONEY, None)}
    found = read_blocks(blocks(PAST[:, :1], copy), ["cuped"])
    assert {one.metric for one in found.readings} == {"money"}
    assert all("may be a copy of the metric" in one.reason for one in found.refusals)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (dict(covariates=PAST[:, :0]), {}, "cuped needs covariates"),
        (dict(covariates=0 * PAST), {}, "covariates must vary"),
        (dict(arm=ARM + 5), {}, "must be a control, 0 or False or control, and another arm"),
        (dict(arm=ARM[:9_000]), {}, r"more than 5,000 rows to be read by sums, got \{'0': "),
        (dict(metrics={"r/d": (MONEY, -ORDERS)}), {}, "denominator of r/d must be >= 0, got"),
        (dict(metrics={"r/d": (MONEY, 0 * ORDERS)}), {}, "must sum to more than 0 in every arm"),
        (dict(metrics={}), {}, "there must be rows and a metric"),
        ({}, {"shares": {"0": 1.0, "1": 1.0}}, r"shares must be > 0 for every arm, got none for"),
    ],
)
def test_mistakes_are_refused(given: Any, options: Any, message: str) -> None:
    given = {"covariates": PAST, **given}
    if "arm" in given:
        rows = len(given["arm"])
        given["covariates"] = PAST[:rows]
        given["metrics"] = {"money": (MONEY[:rows], None)}
    with pytest.raises(InvalidValueError, match=message):
        read_blocks(blocks(**given), ["cuped"], **options)


def test_sizes_that_contradict_the_plan_are_refused() -> None:
    with pytest.raises(SampleRatioError, match=r"sample ratio mismatch .* by shares"):
        read_blocks(blocks(), ["cuped"], shares={"0": 2.0, "1": 1.0, "2": 1.0})


@pytest.mark.parametrize("kept", [200_000, 3_000])
@pytest.mark.parametrize("heavy", [0.0, 1e6])
def test_leaks_are_those_of_all_rows_in_memory(
    kept: int, heavy: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_blocks_module, "_KEPT", kept)
    light = np.random.default_rng(1).normal(size=ROWS) + 0.15 * (ARM == 2)  # its mean tells
    stretched = PAST[:, 1] * np.where(ARM == 1, 1.3, 1.0)
    stretched[7] += heavy  # one row rules its mean
    given = np.stack([light, stretched, PAST[:, 0]], axis=1)
    with pytest.warns(LeakWarning, match=r"differ between the arms .*light \(2: \+0.1. sd, p = "):
        found = read_blocks(blocks(given), ["cuped"], names=("light", "stretched", "age")).leaks
    names = ("light", "stretched", "age")
    experiment = Experiment(treatment=ARM, metric=MONEY, covariates=given, names=names)
    by_place = {(one.arm, one.column): one for one in find_leaks(experiment)}
    assert by_place.keys() == {("2", "light"), ("1", "stretched")}
    for one in found:
        other = by_place.pop((one.arm, one.column))
        assert one.difference == pytest.approx(other.difference, rel=1e-9)
        if kept > ROWS or one.column == "light":
            assert one.p_value == pytest.approx(other.p_value, rel=1e-6)
    assert not by_place


def test_sound_covariates_raise_no_alarm_and_memory_is_bounded() -> None:
    past = read_blocks_module._Past(1)
    for start in range(0, 1_000_003, 999):
        past.add(np.arange(start, min(start + 999, 1_000_003), dtype=float)[:, None])
    assert past.kept[:, 0].tolist() == list(range(0, 1_000_003, past.step))
    assert past.step == 8
    assert past.ends[:, 0].tolist() == [0, 1_000_002]
    assert read_blocks(blocks(), ["cuped"]).leaks == ()
