from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from dfl.abtest import Contrast, Experiment
from dfl.abtest.huber import Huber
from dfl.abtest.regression.linear import huber_regression
from dfl.errors import InvalidValueError, NotConvergedError
from tests.abtest.data import G2, contrast


def test_the_fit_agrees_with_statsmodels() -> None:
    data = contrast(1000, nu=2)
    rows = np.stack([np.ones(1000), data.indicator, data.covariates[:, 0]])  # type: ignore[index]
    found = huber_regression(rows, data.outcome)
    model = sm.RLM(data.outcome, rows.T, M=sm.robust.norms.HuberT(t=1.345))
    peer = model.fit(scale_est="mad", tol=1e-12)
    assert found.coefficients == pytest.approx(peer.params, rel=1e-6)
    assert found.scale == pytest.approx(peer.scale, rel=1e-6)
    estimate = Huber().fit(data)
    assert estimate.estimate == pytest.approx(peer.params[1], rel=1e-6)
    assert estimate.standard_error == pytest.approx(peer.bse[1], rel=0.1)  # another formula


def test_outliers_count_less() -> None:
    found = Huber().fit(G2)
    assert found.estimate == pytest.approx(1.0, abs=0.3)  # least squares: 4.67
    assert found.diagnostics["downweighted"] >= 1 / 12
    assert "bulk of users" in found.caveat


def test_the_error_is_the_spread_over_samples() -> None:
    found = [Huber().fit(contrast(400, seed=seed, nu=3)) for seed in range(2000, 2300)]
    spread = float(np.std([one.estimate for one in found]))
    assert float(np.mean([one.standard_error for one in found])) == pytest.approx(spread, rel=0.1)


def test_mistakes() -> None:
    with pytest.raises(InvalidValueError, match="threshold must be > 0, got 0"):
        Huber(threshold=0)
    with pytest.raises(InvalidValueError, match="max_iter must be >= 1, got 0"):
        Huber(max_iter=0)
    with pytest.raises(NotConvergedError, match="Huber regression did not converge in 1 steps"):
        Huber(max_iter=1).fit(contrast())
    data = contrast()
    flat = np.where(np.arange(400) < 20, data.outcome, 0)
    with pytest.raises(InvalidValueError, match="the same in half of the rows: Huber's scale"):
        Huber().fit(replace(data, outcome=flat, covariates=None, prediction=None))


def test_a_scale_that_falls_and_falls_is_refused_whenever_it_gets_there() -> None:
    """With 70 % zeros it lost a seventh at each step, and was taken as it stood after 50."""
    draw = np.random.default_rng(1)
    metric = np.where(draw.random(4_000) < 0.7, 0, draw.lognormal(3, 1, 4_000))
    data = Experiment(treatment=draw.integers(0, 2, 4_000), metric=metric).contrast(1)
    with pytest.raises(InvalidValueError, match="the same in half of the rows: Huber's scale"):
        Huber().fit(data)


@pytest.mark.parametrize("offset", [1e6, 1e9, 1e10, -1e10])
def test_a_large_offset_costs_nothing(offset: float) -> None:
    data = contrast()
    first = Huber().fit(data)
    moved = Huber().fit(replace(data, outcome=data.outcome + offset))
    assert moved.estimate == pytest.approx(first.estimate, abs=1e-4)
    assert moved.standard_error == pytest.approx(first.standard_error, rel=1e-4)


def test_an_arm_without_anything_beside_one_that_varies_is_refused() -> None:
    treated = np.arange(600) % 2 == 1
    metric = np.where(treated, 0, np.random.default_rng(0).lognormal(size=600))
    with pytest.raises(InvalidValueError, match="all of one arm lie beyond its threshold"):
        Huber().fit(Contrast(treated=treated, outcome=metric))
