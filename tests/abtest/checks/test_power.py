import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower

from dfl.abtest import PowerPlan
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.state import State
from dfl.errors import InvalidValueError
from tests.abtest.data import contrast, experiment


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_it_agrees_with_statsmodels(share: float) -> None:
    plan = PowerPlan(deviation=2.0, share=share)
    peer = NormalIndPower()
    ratio = (1 - share) / share
    assert plan.power(0.3, 1000) == pytest.approx(
        float(peer.power(0.15, 1000 * share, 0.05, ratio=ratio))
    )
    treated = float(peer.solve_power(0.15, power=0.9, alpha=0.05, ratio=ratio))
    assert plan.units(0.3, power=0.9) == pytest.approx(treated / share, abs=2)


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
        (lambda: PowerPlan(deviation=1).power(1, 0), "units must be > 0, got 0"),
        (lambda: PowerPlan(deviation=1).units(1, power=0.01), r"power must be in \(0.05, 1\)"),
    ],
)
def test_mistakes(call, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        call()
