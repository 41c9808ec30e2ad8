import numpy as np
import pytest
from statsmodels.stats.power import TTestIndPower

from dfl.abtest import Experiment, PowerPlan
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.state import State
from dfl.errors import InvalidValueError
from tests.abtest.data import contrast, experiment


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_it_agrees_with_statsmodels(share: float) -> None:
    plan = PowerPlan(deviation=2.0, share=share)
    peer = TTestIndPower()
    ratio = (1 - share) / share
    assert plan.power(0.3, 1000) == pytest.approx(
        float(peer.power(0.15, 1000 * share, 0.05, ratio=ratio))
    )
    assert plan.power(2.0, 20) == pytest.approx(
        float(peer.power(1.0, 20 * share, 0.05, ratio=ratio))
    )
    treated = float(peer.solve_power(0.15, power=0.9, alpha=0.05, ratio=ratio))
    assert plan.units(0.3, power=0.9) == pytest.approx(treated / share, abs=1)


def test_units_and_detectable_effect_are_inverse() -> None:
    plan = PowerPlan(deviation=7.0, level=0.9)
    units = plan.units(-0.4, power=0.8)
    assert plan.detectable(units, power=0.8) == pytest.approx(0.4, rel=1e-3)
    assert plan.power(0.4, units) == pytest.approx(0.8, abs=1e-3)
    assert plan.power(0, units) == pytest.approx(0.1)


def test_the_power_is_that_of_experiments() -> None:
    plan = PowerPlan(deviation=float(np.hypot(2, 5**0.5 / 3**0.5)))  # 2 g, and t with 5
    shown = []
    for seed in range(300):
        data = contrast(200, effect=0.9, seed=seed, nu=5)
        found = DifferenceInMeans().fit(data)
        shown.append(abs(found.estimate) > 1.96 * found.standard_error)
    assert float(np.mean(shown)) == pytest.approx(plan.power(0.9, 200), abs=0.08)


def test_clusters_count_by_their_design_effect() -> None:
    alone, alike = (PowerPlan(deviation=1.0, cluster_rows=25, correlation=c) for c in (0.0, 1.0))
    # Rows that are all alike in a cluster are one row each.
    assert alike.power(0.3, 25 * 400) == pytest.approx(PowerPlan(deviation=1.0).power(0.3, 400))
    assert alike.units(0.1) > 20 * alone.units(0.1)
    few = PowerPlan(deviation=1.0, cluster_rows=100)
    assert few.detectable(1000) > 1.1 * PowerPlan(deviation=1.0).detectable(1000)  # 8 degrees


def test_the_power_is_that_of_clustered_experiments() -> None:
    plan = PowerPlan(deviation=2**0.5, cluster_rows=10, correlation=0.5)
    draw, unit, shown = np.random.default_rng(0), np.repeat(np.arange(16), 10), []
    for _ in range(400):
        metric = draw.normal(size=16)[unit] + draw.normal(size=160) + 1.5 * (unit % 2)
        data = Experiment(treatment=unit % 2, metric=metric, clusters=unit)
        (effect,) = DifferenceInMeans().effects(data)
        shown.append(effect.p_value < 0.05)
    assert float(np.mean(shown)) == pytest.approx(plan.power(1.5, 160), abs=0.06)
    again = PowerPlan.of(effect)
    assert 10 <= again.cluster_rows < 20  # Satterthwaite counts carefully
    assert again.deviation == pytest.approx(2**0.5 * 5.5**0.5, rel=0.5)


def test_a_better_estimator_needs_fewer_units_by_the_ratio_of_variances() -> None:
    data = experiment(2000)
    (plain,), (state,) = DifferenceInMeans().estimate(data), State().estimate(data)
    ratio = PowerPlan.of(state).units(0.1) / PowerPlan.of(plain).units(0.1)
    assert ratio == pytest.approx((state.standard_error / plain.standard_error) ** 2, rel=0.01)
    assert PowerPlan.of(plain).share == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PowerPlan(deviation=0), "deviation must be > 0, got 0"),
        (lambda: PowerPlan(deviation=1, share=1), r"share must be in \(0, 1\), got 1"),
        (lambda: PowerPlan(deviation=1, level=1), r"level must be in \(0, 1\), got 1"),
        (lambda: PowerPlan(deviation=1).units(0), "effect must be > 0, got 0"),
        (lambda: PowerPlan(deviation=1).power(float("nan"), 9), "effect must be a number, got nan"),
        (lambda: PowerPlan(deviation=1).units("a"), "effect must be a number, got 'a'"),
        (lambda: PowerPlan(deviation=1).power(1, 0), "units must be >= 3, got 0"),
        (
            lambda: PowerPlan(deviation=1, cluster_rows=50).detectable(100),
            "must be >= 150, got 100",
        ),
        (lambda: PowerPlan(deviation=1).units(1e-160), "effect must show in 1e.15 rows or less"),
        (lambda: PowerPlan(deviation=1, cluster_rows=0.5), "cluster_rows must be >= 1, got 0.5"),
        (lambda: PowerPlan(deviation=1, correlation=2), r"correlation must be in \[0, 1\], got 2"),
        (lambda: PowerPlan(deviation=1).units(1, power=0.01), r"power must be in \(0.05, 1\)"),
    ],
)
def test_mistakes(call, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        call()


@pytest.mark.parametrize("units", [3, 10, 1000, 10**6])
def test_an_effect_of_any_size_shows(units: int) -> None:
    plan = PowerPlan(deviation=1.0)
    assert plan.power(1e150, units) == pytest.approx(1)
    assert plan.power(plan.detectable(units), units) == pytest.approx(0.8, abs=1e-6)
