import numpy as np
import pytest

from dfl.abtest import Contrast, SameEffectCheck, TParameters, same_effect_check
from dfl.abtest.robust.verdict import WeightSummary, bulk_verdict, summarise_weights
from dfl.abtest.simulators import AbstractDesign, HeavyTailedCount, SparseEffect
from dfl.abtest.state import State
from dfl.errors import InvalidValueError
from tests.abtest.data import contrast

PLAIN = WeightSummary(hardly_counted=0.01, mean_treated=1, mean_control=1, z=0.5)


def test_what_both_share_cancels() -> None:
    data = contrast(1000)
    draw = np.random.default_rng(0)
    shared, own = draw.standard_normal(1000) * 100, draw.standard_normal(1000)
    found = same_effect_check(data, (1.2, shared + own), (1.0, shared))
    assert found.difference == pytest.approx(0.2)
    assert found.standard_error == pytest.approx(float(np.sqrt(own @ own)) / 1000, rel=0.002)
    assert found.detectable == pytest.approx(2.8016 * found.standard_error, rel=1e-4)


def test_nothing_to_compare() -> None:
    with pytest.raises(InvalidValueError, match="the two estimates are the same in every row"):
        same_effect_check(contrast(), (1.0, np.ones(400)), (1.0, np.ones(400)))


def test_rows_of_a_weight_below_a_tenth_hardly_count() -> None:
    """Of 10 degrees of freedom: 11 / (10 + r^2) is .1 at r = 10."""
    residual = np.array([0, 9.9, -9.9, 10.1, -10.1, 30, 0, 0, 0, 0])
    data = Contrast(treated=np.arange(10) % 2 == 1, outcome=residual)
    rows = np.stack([np.ones(10), data.indicator])
    found = summarise_weights(data, rows, residual, TParameters(np.zeros(2), 1.0, 10.0))
    assert found.hardly_counted == pytest.approx(0.3)
    weight = 11 / (10 + residual**2)
    means = weight[data.treated].mean(), weight[~data.treated].mean()
    assert (found.mean_treated, found.mean_control) == pytest.approx(means)


@pytest.mark.parametrize(
    ("design", "low", "high"), [(HeavyTailedCount(), 0, 0.12), (SparseEffect(), 0.9, 1)]
)
def test_it_rejects_where_it_should(design: AbstractDesign, low: float, high: float) -> None:
    draw = np.random.default_rng(0)
    population = design.draw(100_000, generator=draw)
    rejected = []
    for _ in range(50):
        seen = population.experiment(20_000, generator=draw, prediction=population.oracle)
        rejected.append(State().fit(seen.contrast(1)).diagnostics["check_p_value"] < 0.05)
    assert low <= float(np.mean(rejected)) <= high


def test_clusters_and_few_units_seldom_have_unlike_tails_by_chance() -> None:
    """Ten of 20 clusters treated, each with a variance of its own, and no effect."""
    draw, alarms, rejected = np.random.default_rng(0), 0, 0
    for _ in range(40):
        cluster = np.repeat(np.arange(20), 20)
        treated = (draw.permutation(20) < 10)[cluster]
        metric = draw.standard_normal(400) * np.exp(0.7 * draw.standard_normal(20))[cluster]
        data = Contrast(treated=treated, outcome=metric, clusters=cluster)
        found = State().fit(data).diagnostics
        alarms += abs(found["mean_weight_z"]) > 3
        rejected += found["check_p_value"] < 0.05
    assert alarms <= 1  # 13 with rows taken as independent
    assert rejected <= 8


@pytest.mark.parametrize(
    ("p_value", "detectable", "said"),
    [
        (0.01, 0.1, "It is NOT the mean effect: the mean effect by least squares is 0.8"),
        (0.5, 0.1, "No sign that it differs from the mean effect"),
        (0.5, 0.9, "Whether it is also the mean effect cannot be told"),
    ],
)
def test_three_verdicts(p_value: float, detectable: float, said: str) -> None:
    check = SameEffectCheck(
        difference=0.2, standard_error=0.1, p_value=p_value, detectable=detectable
    )
    assert said in bulk_verdict(1.0, check, PLAIN)
    assert "1.00% of the rows hardly count" in bulk_verdict(1.0, check, PLAIN)


def test_unlike_tails_are_said() -> None:
    check = SameEffectCheck(difference=0.2, standard_error=0.1, p_value=0.5, detectable=0.3)
    fewer = WeightSummary(hardly_counted=0.01, mean_treated=1.1, mean_control=0.9, z=4)
    assert "fewer outliers than the control" in bulk_verdict(1.0, check, fewer)
    assert "outliers" not in bulk_verdict(1.0, check, PLAIN)
