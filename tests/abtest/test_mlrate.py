import numpy as np
import pytest
import statsmodels.api as sm

from dfl.abtest.mlrate import Mlrate
from tests.abtest.data import G5, contrast


def test_golden_case() -> None:
    found = Mlrate().fit(G5)
    assert found.estimate == pytest.approx(1.1761905, abs=1e-7)
    assert found.standard_error == pytest.approx(0.1537992, abs=1e-7)
    diagnostics = [found.diagnostics[key] for key in ("intercept", "slope", "interaction")]
    assert diagnostics == pytest.approx([1.0466667, 0.9914286, 0.1314286], abs=1e-7)


def test_golden_error_without_that_of_the_mean() -> None:
    assert G5.prediction is not None
    centred = G5.prediction - 4
    of_the_mean = Mlrate().fit(G5).diagnostics["interaction"] * centred
    assert (0.1537992**2 - G5.variance(of_the_mean)) ** 0.5 == pytest.approx(0.1381880, abs=1e-6)


def test_it_is_the_difference_of_two_regressions_at_the_mean() -> None:
    assert G5.prediction is not None
    fits = [np.polyfit(G5.prediction[arm], G5.outcome[arm], 1) for arm in (G5.treated, ~G5.treated)]
    at_the_mean = [float(np.polyval(fit, 4)) for fit in fits]
    assert Mlrate().fit(G5).estimate == pytest.approx(at_the_mean[0] - at_the_mean[1])


def test_it_agrees_with_statsmodels() -> None:
    data = contrast(1000)
    assert data.prediction is not None
    centred = data.prediction - data.prediction.mean()
    columns = [np.ones(1000), data.indicator, data.prediction, data.indicator * centred]
    peer = sm.OLS(data.outcome, np.stack(columns, axis=1)).fit(cov_type="HC0")
    found = Mlrate().fit(data)
    assert found.estimate == pytest.approx(peer.params[1])
    error = peer.bse[1] ** 2 + peer.params[3] ** 2 * centred.var() / 1000
    assert found.standard_error == pytest.approx(error**0.5)


def test_the_asymptotic_variance() -> None:
    """``n Var = V1 / p + V0 / (1 - p) - p (1 - p) Var(g) (b1 / p + b0 / (1 - p))^2``."""
    data = contrast(5000, nu=8)
    assert data.prediction is not None
    g, total = data.prediction, 0.0
    slopes = 0.0
    for arm in (data.treated, ~data.treated):
        covariance = np.cov(data.outcome[arm], g[arm])
        total += covariance[0, 0] / 0.5
        slopes += covariance[0, 1] / covariance[1, 1] / 0.5
    expected = (total - 0.25 * g.var() * slopes**2) / 5000
    assert Mlrate().fit(data).standard_error ** 2 == pytest.approx(expected, rel=0.03)
