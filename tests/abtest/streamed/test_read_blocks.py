import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from dfl.abtest import (
    ESTIMATORS,
    AaResult,
    AbstractEstimator,
    Aipw,
    CrossFit,
    Cuped,
    DifferenceInMeans,
    Experiment,
    LeakWarning,
    ReadOut,
    SampleRatioError,
    read_out,
)
from dfl.abtest.checks.assignment import find_leaks
from dfl.abtest.streamed import Block, read_blocks
from dfl.abtest.streamed.past import Past
from dfl.errors import InvalidValueError
from dfl.scale import Chunks

past_module = sys.modules[Past.__module__]

DRAW = np.random.default_rng(0)
ROWS = 40_000
ARM = DRAW.integers(0, 3, ROWS)
PAST = DRAW.gamma(2.0, size=(ROWS, 2))
ORDERS = DRAW.poisson(2.0, ROWS).astype(float)
MONEY = ORDERS * (1 + 0.1 * ARM + PAST[:, 0]) + ORDERS * DRAW.normal(size=ROWS)
METRICS = {"money": (MONEY, None), "money/orders": (MONEY, ORDERS)}


def blocks(
    covariates: Any = PAST,
    metrics: Any = METRICS,
    arm: Any = ARM,
    clusters: Any = None,
    segments: Any = None,
) -> Iterator[Block]:
    for part in np.array_split(np.arange(len(arm)), 7):
        cut = {
            name: (above[part], None if below is None else below[part])
            for name, (above, below) in metrics.items()
        }
        labels, codes = np.unique(arm[part], return_inverse=True)
        number = None if clusters is None else clusters[part]
        groups = None
        if segments is not None:
            known, places = np.unique(segments[part], return_inverse=True)
            groups = [*map(str, known)], places
        yield Block([*map(str, labels)], codes, cut, covariates[part], number, groups)


def loaded(*names: str) -> dict[str, AbstractEstimator]:
    return {name: ESTIMATORS.load(name)() for name in names}


@pytest.mark.parametrize("covariates", [PAST, PAST[:, :1]])
def test_effects_are_those_of_all_rows_in_memory(covariates: Any) -> None:
    found = read_blocks(blocks(covariates), loaded("difference-in-means", "cuped"))
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


USER = DRAW.integers(0, 4_000, ROWS)
OF_USER = DRAW.integers(0, 3, 4_000)[USER]
BY_USER = MONEY + DRAW.gamma(1.0, size=4_000)[USER]
CITY = DRAW.choice(6, ROWS, p=[0.4, 0.5, 0.08, 0.01, 0.0095, 0.0005])  # the last a handful
OLD = PAST + DRAW.normal(size=(4_000, 2))[USER]


def close(one: ReadOut, other: ReadOut, rel: float = 1e-9) -> None:
    """Compare everything that two read-outs say."""
    assert len(one.readings) == len(other.readings)
    for first, second in zip(one.readings, other.readings, strict=True):
        where = (first.metric, first.segment, first.estimator, first.effect.arm)
        other_where = (second.metric, second.segment, second.estimator, second.effect.arm)
        assert where == other_where
        for name in ("estimate", "standard_error", "low", "high", "p_value", "control_value"):
            got, wanted = (getattr(x.effect, name) for x in (first, second))
            assert got == pytest.approx(wanted, rel=rel, abs=1e-13), (where, name)
        assert first.adjusted_p_value == pytest.approx(second.adjusted_p_value, rel=1e-8, abs=1e-13)
        assert (first.effect.degrees is None) == (second.effect.degrees is None)
        assert (first.effect.degrees or 0) == pytest.approx(second.effect.degrees or 0, rel=rel)
        assert first.effect.verdict == second.effect.verdict
        assert first.effect.diagnostics == pytest.approx(second.effect.diagnostics, rel=1e-7)
    assert one.sample_ratio == other.sample_ratio
    assert [*map(str, one.refusals)] == [*map(str, other.refusals)]
    assert one.splits.keys() == other.splits.keys()
    for metric, by_name in one.splits.items():
        for name, done in by_name.items():
            there = other.splits[metric][name]
            assert isinstance(done, AaResult)
            assert isinstance(there, AaResult)
            assert done.verdict == there.verdict
            assert done.error_ratio == pytest.approx(there.error_ratio, rel=1e-9), (metric, name)


@pytest.mark.parametrize("arms", [2, 3])
@pytest.mark.parametrize("clusters", [None, USER])
@pytest.mark.parametrize("covariates", [PAST[:, :0], OLD])
@pytest.mark.parametrize("split", [None, CITY])
def test_what_is_kept_on_disk_is_read_as_in_memory(
    arms: int, clusters: Any, covariates: Any, split: Any
) -> None:
    arm = (ARM if clusters is None else OF_USER) % arms
    rows = slice(None) if clusters is None else slice(0, 20_000)
    number = None if clusters is None else np.unique(clusters[rows], return_inverse=True)[1]
    metrics = {"money": (BY_USER[rows], None), "money/orders": (MONEY[rows], ORDERS[rows])}
    arm, covariates = arm[rows], covariates[rows]
    segments = None if split is None else split[rows]
    plain = ("difference-in-means", "winsorised", "huber", "state")
    cross_fit = CrossFit(regressor=LinearRegression())
    estimators = loaded(*plain)
    if covariates.shape[1]:
        estimators = {**loaded(*ESTIMATORS.names()), "aipw": Aipw(cross_fit=cross_fit)}
    found = read_blocks(
        blocks(covariates, metrics, arm, number, segments),
        estimators,
        shares={"0": 2.0, "1": 1.0} if arms == 2 else None,
        cross_fit=cross_fit,
        splits=3,
        seed=2,
    )
    experiments = {
        name: Experiment(
            treatment=arm,
            metric=above,
            denominator=below,
            covariates=covariates if covariates.shape[1] else None,
            clusters=number,
            segments=segments,
            shares={0: 2.0, 1: 1.0} if arms == 2 else None,
        )
        for name, (above, below) in metrics.items()
    }
    close(found, read_out(experiments, estimators, cross_fit=cross_fit, splits=3, seed=2))


def test_estimators_with_options_of_their_own_are_read_by_them() -> None:
    estimators = {"pooled": DifferenceInMeans(linearisation="pooled"), "one": Cuped(columns=(1,))}
    experiments = {
        name: Experiment(treatment=ARM, metric=above, denominator=below, covariates=PAST)
        for name, (above, below) in METRICS.items()
    }
    close(read_blocks(blocks(), estimators), read_out(experiments, estimators))
    with pytest.raises(InvalidValueError, match="there must be an estimator, got none"):
        read_blocks(blocks(), {})


def test_a_segment_without_an_arm_is_a_refusal() -> None:
    city = np.where(ARM == 0, CITY % 2, 0)  # nobody of the second one was treated
    with pytest.warns(LeakWarning, match="segments"):
        found = read_blocks(blocks(PAST[:, :0], segments=city), loaded("difference-in-means"))
    assert {one.segment for one in found.readings} == {None, "0"}
    said = {str(one) for one in found.refusals if one.segment == "1"}
    assert said == {
        f"{metric} in 1, every estimator: not read, there must be rows of the control, 0, and of "
        "another arm, got ['0']."
        for metric in METRICS
    }


def test_what_one_arm_cannot_tell_is_a_refusal() -> None:
    copy = {"copy": (0.3 * PAST[:, 0] + 1_000, None), "money": (MONEY, None)}
    found = read_blocks(blocks(PAST[:, :1], copy), loaded("cuped"))
    assert {one.metric for one in found.readings} == {"money"}
    assert all("may be a copy of the metric" in one.reason for one in found.refusals)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (dict(covariates=PAST[:, :0]), {}, "cuped needs covariates"),
        (dict(covariates=0 * PAST), {}, "covariates must vary"),
        (dict(arm=ARM + 5), {}, "must be a control, 0 or False or control, and another arm"),
        (dict(arm=ARM[:9_000]), {}, r"more than 5,000 rows to be read in parts, got \{'0': "),
        (dict(metrics={"r/d": (MONEY, -ORDERS)}), {}, "denominator must be >= 0, got"),
        (dict(metrics={"r/d": (MONEY, 0 * ORDERS)}), {}, "must be > 0 where the metric is not 0"),
        (dict(metrics={"r/d": (0 * MONEY, 0 * ORDERS)}), {}, "must sum to more than 0 in every"),
        ({}, {"shares": dict.fromkeys("0129", 1.0)}, r"planned arm must have rows, \['9'\] are"),
        ({}, {"splits": 1}, "splits must be >= 2, got 1"),
        ({}, {"seed": -1}, "seed must be >= 0, got -1"),
        (dict(metrics={}), {}, "there must be rows and a metric"),
        ({}, {"shares": {"0": 1.0, "1": 1.0}}, r"shares must be > 0 and finite for every arm, got"),
        ({}, {"shares": {"0": 1, "1": 1, "2": "a"}}, r"every arm, got none for \['2'\]"),
    ],
)
def test_mistakes_are_refused(given: Any, options: Any, message: str) -> None:
    given = {"covariates": PAST, **given}
    if "arm" in given:
        rows = len(given["arm"])
        given["covariates"] = PAST[:rows]
        given["metrics"] = {"money": (MONEY[:rows], None)}
    with pytest.raises(InvalidValueError, match=message):
        read_blocks(blocks(**given), loaded("cuped"), **options)


def test_sizes_that_contradict_the_plan_are_refused() -> None:
    with pytest.raises(SampleRatioError, match=r"sample ratio mismatch .* by shares"):
        read_blocks(blocks(), loaded("cuped"), shares={"0": 2.0, "1": 1.0, "2": 1.0})


@pytest.mark.parametrize("kept", [200_000, 3_000])
@pytest.mark.parametrize("heavy", [0.0, 1e6])
def test_leaks_are_those_of_all_rows_in_memory(
    kept: int, heavy: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_module, "_KEPT", kept)
    light = np.random.default_rng(1).normal(size=ROWS) + 0.15 * (ARM == 2)  # its mean tells
    stretched = PAST[:, 1] * np.where(ARM == 1, 1.3, 1.0)
    stretched[7] += heavy  # one row rules its mean
    given = np.stack([light, stretched, PAST[:, 0]], axis=1)
    with pytest.warns(LeakWarning, match=r"differ between the arms .*light \(2: \+0.1. sd, p = "):
        found = read_blocks(
            blocks(given), loaded("cuped"), names=("light", "stretched", "age")
        ).leaks
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


@pytest.mark.parametrize("clusters", [None, USER])
@pytest.mark.parametrize("covariates", [PAST[:, :0], PAST])
@pytest.mark.parametrize("rare", [False, True])
def test_leaks_of_segments_are_those_of_all_rows_in_memory(
    clusters: Any, covariates: Any, rare: bool
) -> None:
    arm = ARM if clusters is None else OF_USER
    unit = np.arange(ROWS) if clusters is None else clusters
    moved = np.random.default_rng(2).random(ROWS)[unit] < 0.3 + 0.1 * (arm == 1)
    handful = np.isin(unit, np.unique(unit[arm == 2])[:10])
    segments = np.where(handful, "few", "many") if rare else np.where(moved, "10", "9")
    given = {"treatment": arm, "metric": MONEY, "clusters": clusters, "segments": segments}
    leaks = find_leaks(Experiment(**given, covariates=covariates if covariates.shape[1] else None))
    assert (leaks[0].column, leaks[0].arm) == ("segments", "all")
    with pytest.warns(LeakWarning, match="differ between the arms .* segments"):
        found = read_blocks(
            blocks(covariates, {"money": (MONEY, None)}, arm, clusters, segments),
            loaded("difference-in-means"),
        ).leaks
    assert found[0].p_value == pytest.approx(leaks[0].p_value, rel=1e-9)
    assert [(one.column, one.arm) for one in found] == [(one.column, one.arm) for one in leaks]


def test_sound_covariates_raise_no_alarm_and_memory_is_bounded() -> None:
    past = Past(1)
    for start in range(0, 1_000_003, 999):
        past.add(np.arange(start, min(start + 999, 1_000_003), dtype=float)[:, None])
    assert past.kept[:, 0].tolist() == list(range(0, 1_000_003, past.step))
    assert past.step == 8
    assert past.ends[:, 0].tolist() == [0, 1_000_002]
    assert read_blocks(blocks(), loaded("cuped")).leaks == ()


@pytest.mark.parametrize("clusters", [True, False])
def test_memory_does_not_grow_with_the_rows(
    clusters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = sys.modules["dfl.abtest.regression.cross_fit"]
    monkeypatch.setattr(learnt, "_LEARNT", 1_000)
    for module in (learnt, sys.modules["dfl.abtest.checks.aa"]):
        monkeypatch.setattr(module, "_DEALT", Chunks(5_000))
    for name in ("dfl.abtest.state", "dfl.abtest.robust.student_t"):
        monkeypatch.setattr(sys.modules[name], "_SAMPLE", 1_000)
    monkeypatch.setattr(past_module, "_KEPT", 1_000)
    cross_fit = CrossFit(regressor=LinearRegression())
    estimators = {**loaded(*ESTIMATORS.names()), "aipw": Aipw(cross_fit=cross_fit)}

    def draw(rows: int) -> Iterator[Block]:
        random = np.random.default_rng(0)
        for _ in range(0, rows, 5_000):
            user = random.permutation(np.arange(5_000) % 900)
            past = random.gamma(2.0, size=(5_000, 2))
            money = past[:, 0] + random.standard_t(3, 5_000)
            arm = user % 3 if clusters else random.integers(0, 3, 5_000)
            metrics = {"money": (money, None), "money/orders": (money, 1 + past[:, 1])}
            groups = ["a", "b"], (past[:, 0] > 1).astype(int)
            yield Block(["0", "1", "2"], arm, metrics, past, user if clusters else None, groups)

    def peak(rows: int) -> int:
        tracemalloc.start()
        try:
            read_blocks(draw(rows), estimators, cross_fit=cross_fit, splits=2)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(20_000)  # what is imported on the way
    small, large = (peak(rows) for rows in (100_000, 200_000))
    assert large < small + 100_000  # a byte for each of them


def test_what_state_refuses_in_memory_it_refuses_here() -> None:
    rare = np.where(np.arange(ROWS) % 5 < 3, 0.0, MONEY)  # 0 in three rows of five
    far = 1e15 + MONEY  # of which float64 keeps few digits
    constant = np.ones(ROWS)
    metrics = {"money": (MONEY, None), "rare": (rare, None), "far": (far, None)}
    found = read_blocks(blocks(PAST[:, :0], metrics), loaded("state"))
    experiments = {
        name: Experiment(treatment=ARM, metric=one) for name, (one, _) in metrics.items()
    }
    whole = read_out(experiments, {"state": ESTIMATORS.load("state")()})
    assert [*map(str, found.refusals)] == [*map(str, whole.refusals)]
    assert {one.metric for one in found.refusals} == {"rare", "far"}
    with pytest.raises(InvalidValueError, match="metric must vary, got 1 in all"):
        read_blocks(blocks(PAST[:, :0], {"constant": (constant, None)}), loaded("state"))


HOLE = np.where(np.arange(ROWS) % 9_000 == 8_999, np.nan, MONEY)
MINUS = np.where(np.arange(ROWS) == 7, -1.0, ORDERS)
BROKEN = {
    "hole": (HOLE, None),
    "infinite": (MONEY, np.where(np.arange(ROWS) == 39_999, np.inf, ORDERS)),
    "minus": (MONEY, MINUS),
    "lost": (1 + MONEY, ORDERS),
    "constant": (np.ones(ROWS), None),
}


@pytest.mark.parametrize("split", [None, CITY % 2])
@pytest.mark.parametrize("names", [("difference-in-means",), ("difference-in-means", "cupac")])
def test_broken_metrics_are_refused_by_name_and_the_others_read(
    names: tuple[str, ...], split: Any
) -> None:
    nothing = {"0/0": (0 * MONEY, 0 * ORDERS)}  # its numbers are sound, but no arm has a ratio
    cross_fit = CrossFit(regressor=LinearRegression())
    found = read_blocks(
        blocks(PAST, {**BROKEN, **nothing, **METRICS}, segments=split),
        loaded(*names),
        cross_fit=cross_fit,
    )
    assert {one.metric for one in found.readings} == METRICS.keys()
    said = {one.metric: one.reason for one in found.refusals if one.estimator is None}
    for name, (above, below) in BROKEN.items():
        with pytest.raises(InvalidValueError) as refused:
            Experiment(treatment=ARM, metric=above, denominator=below)
        assert said.pop(name) == str(refused.value)
    assert not said
    experiments = {
        name: Experiment(
            treatment=ARM, metric=above, denominator=below, covariates=PAST, segments=split
        )
        for name, (above, below) in {**nothing, **METRICS}.items()
    }
    whole = read_out(experiments, loaded(*names), cross_fit=cross_fit)
    told = [str(one) for one in found.refusals if one.metric == "0/0"]
    assert told == [*map(str, whole.refusals)]
    assert len(told) >= 2 * len(names)
