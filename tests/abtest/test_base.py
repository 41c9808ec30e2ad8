import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dfl.abtest import ESTIMATORS, Experiment
from dfl.abtest.base import effect_of
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.state import State
from dfl.errors import InvalidValueError
from dfl.stats.small_samples import Spread
from tests.abtest.data import experiment

PLAIN = DifferenceInMeans()


def clustered(
    few: int, many: int, draw: np.random.Generator, size: Any = 5
) -> tuple[Experiment, np.ndarray]:
    """An experiment without effect whose clusters vary, and the clusters' means."""
    clusters = np.repeat(np.arange(few + many), size)
    own = draw.normal(size=few + many)
    metric = own[clusters] + draw.normal(size=len(clusters))
    means = np.bincount(clusters, weights=metric) / np.bincount(clusters)
    treatment = (clusters < few).astype(int)
    return Experiment(treatment=treatment, metric=metric, clusters=clusters), means


@pytest.mark.parametrize(("few", "many"), [(3, 100), (5, 100), (20, 20), (10, 400)])
def test_few_treated_clusters_raise_no_more_alarms_than_promised(few: int, many: int) -> None:
    draw, alarms = np.random.default_rng(few), 0
    for _ in range(300):
        (effect,) = PLAIN.effects(clustered(few, many, draw)[0])
        alarms += not effect.low <= 0 <= effect.high
    assert alarms / 300 == pytest.approx(0.05, abs=0.035)


def test_rows_that_are_their_own_clusters_are_rows() -> None:
    data = experiment(52, treatment=(np.arange(52) < 26).astype(int))
    each = experiment(52, treatment=data.treatment, clusters=np.arange(52))
    (one,), (two,) = PLAIN.effects(data), PLAIN.effects(each)
    for name in ("estimate", "standard_error", "low", "high", "p_value", "degrees"):
        assert getattr(two, name) == pytest.approx(getattr(one, name))


def test_a_cluster_that_holds_most_of_an_arm_is_refused_in_words() -> None:
    size = np.r_[900, np.full(220, 5)]
    data, _ = clustered(21, 200, np.random.default_rng(0), size)
    with pytest.raises(InvalidValueError, match="one unit holds 90% of the treated arm; what"):
        PLAIN.effects(data)


def test_a_cluster_that_holds_much_of_an_arm_is_warned_of() -> None:
    size = np.r_[60, np.full(220, 5)]
    (effect,) = PLAIN.effects(clustered(21, 200, np.random.default_rng(0), size)[0])
    assert effect.degrees is not None
    assert effect.degrees < 10
    assert "Few units carry this: its interval has" in effect.verdict


def test_two_and_two_units_are_read_by_welchs_test() -> None:
    metric = np.array([10.0, 11.0, 12.0, 13.5])
    (effect,) = PLAIN.estimate(Experiment(treatment=[0, 0, 1, 1], metric=metric))  # type: ignore[arg-type]
    welch = stats.ttest_ind(metric[2:], metric[:2], equal_var=False)
    assert effect.p_value == pytest.approx(welch.pvalue)
    assert effect.verdict.startswith("No effect is shown")


@pytest.mark.parametrize("units", [3, 5, 10])
def test_a_handful_of_units_raises_no_more_alarms_than_promised(units: int) -> None:
    draw, alarms = np.random.default_rng(units), 0
    for values in draw.normal(size=(500, 2 * units)):
        data = Experiment(treatment=np.repeat([0, 1], units), metric=values)
        alarms += PLAIN.effects(data)[0].p_value < 0.05
    assert alarms / 500 <= 0.05 + 0.022


def test_thirty_treated_of_a_ratio_are_covered() -> None:
    draw, covered = np.random.default_rng(2), 0
    for _ in range(300):
        orders = 1.0 + draw.poisson(2, 600)
        money = orders * np.exp(draw.normal(size=600))
        data = Experiment(
            treatment=(np.arange(600) < 30).astype(int), metric=money, denominator=orders
        )
        (effect,) = PLAIN.effects(data)
        covered += effect.low <= 0 <= effect.high
    assert covered / 300 == pytest.approx(0.95, abs=0.035)


@pytest.mark.parametrize("name", ["aipw", "huber", "mlrate"])
def test_estimators_for_large_samples_say_so_in_small_ones(name: str) -> None:
    data = experiment(14, prediction=np.random.default_rng(0).normal(size=14))
    with pytest.raises(InvalidValueError, match=r"at least (2 rows|10 units)"):
        ESTIMATORS.load(name)().effects(data)


@pytest.mark.parametrize("denominator", [None, np.ones(400)])
def test_the_relative_effect_has_the_sign_of_the_effect(denominator: Any) -> None:
    base = experiment()
    data = experiment(metric=base.metric - 50 + 5 * base.treatment, denominator=denominator)
    for estimator in (PLAIN, State()):
        (effect,) = estimator.estimate(data)
        assert effect.estimate > 0
        assert effect.relative == pytest.approx(effect.estimate / abs(effect.control_value))
    (lowered,) = PLAIN.estimate(experiment(metric=-50 - base.metric - 5 * base.treatment))
    assert lowered.relative is not None
    assert lowered.relative < 0


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (0.95, "(95% interval"),
        (0.995, "(99.5% interval"),
        (0.999, "(99.9% interval"),
        (0.975, "(97.5% interval"),
        (0.001, "(0.1% interval"),
        (1 - 1e-12, "(99.9999999999% interval"),
        (1 - 2**-53, "(99.99999999999999% interval"),
    ],
)
def test_levels_are_said_as_they_are(level: float, said: str) -> None:
    (effect,) = PLAIN.estimate(experiment(), level=level)
    assert said in effect.verdict
    assert effect.low < effect.estimate < effect.high


def test_the_order_of_the_rows_plays_no_part_in_intervals() -> None:
    draw = np.random.default_rng(3)
    treatment, metric = (np.arange(90) < 12).astype(int), np.exp(draw.normal(size=90))
    order = draw.permutation(90)
    (one,) = PLAIN.effects(Experiment(treatment=treatment, metric=metric))
    (two,) = PLAIN.effects(Experiment(treatment=treatment[order], metric=metric[order]))
    assert (two.low, two.high, two.p_value) == pytest.approx((one.low, one.high, one.p_value))


@pytest.mark.parametrize(
    "name", ["aipw", "cupac", "difference-in-means", "huber", "mlrate", "state", "winsorised"]
)
def test_an_unknown_linearisation_is_refused_before_any_metric_is_read(name: str) -> None:
    made: Any = type(ESTIMATORS.load(name)())
    with pytest.raises(InvalidValueError, match="linearisation must be one of 'delta', 'pooled',"):
        made(linearisation="bogus")


@pytest.mark.parametrize("treated", [10, 12, 40, 68])
@pytest.mark.parametrize("ratio", [False, True])
def test_the_sign_of_the_metric_and_the_names_of_the_arms_play_no_part(
    treated: int, ratio: bool
) -> None:
    """Costs are read as their negatives are: some values and denominators come many times."""
    draw, rows = np.random.default_rng(treated), 80
    arm = draw.permutation((np.arange(rows) < treated).astype(int))
    orders = 1.0 + draw.poisson(1, rows) if ratio else None
    metric = np.round(np.exp(draw.normal(size=rows))) * (1 if orders is None else orders)
    one, other, swapped = (
        PLAIN.effects(Experiment(treatment=given, metric=values, denominator=orders))[0]
        for given, values in ((arm, metric), (arm, -metric), (1 - arm, metric))
    )
    assert one.low < one.high
    assert (other.p_value, other.low, other.high) == (one.p_value, -one.high, -one.low)
    wanted = (one.p_value, -one.high, -one.low)
    assert (swapped.p_value, swapped.low, swapped.high) == pytest.approx(wanted, rel=1e-9)


def test_numbers_that_are_not_finite_are_no_effect() -> None:
    with pytest.raises(InvalidValueError, match="the effect must be finite, got 1 in "):
        effect_of(
            ("1", "0"), 1.0, Spread(error=1.0, above=(math.nan,) * 5), 1.96, 0.95,
            value=1.0, rows=(9, 9), diagnostics={},
        )  # fmt: skip
