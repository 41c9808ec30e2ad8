import numpy as np
import pytest
import statsmodels.api as sm

from dfl.abtest import Contrast
from dfl.abtest.regression.linear import least_squares
from dfl.errors import InvalidValueError
from tests.abtest.data import G2, G5, contrast


def rows_of(data: Contrast) -> np.ndarray:
    assert data.prediction is not None
    return np.stack([np.ones(data.rows), data.indicator, data.prediction])


def test_golden_cases() -> None:
    found = least_squares(rows_of(G2), G2.outcome)
    assert found.coefficients == pytest.approx([-4.443333, 4.666667, 2.56], abs=1e-6)
    assert found.variance == pytest.approx(26.47339, abs=1e-5)
    ancova = least_squares(rows_of(G5), G5.outcome)
    assert ancova.coefficients == pytest.approx([0.8166667, 1.1761905, 1.0571429], abs=1e-7)


def test_it_agrees_with_statsmodels() -> None:
    data = contrast(20_000)  # more than one part
    rows = rows_of(data)
    found = least_squares(rows, data.outcome)
    peer = sm.OLS(data.outcome, rows.T).fit(cov_type="HC0")
    assert found.coefficients == pytest.approx(peer.params, rel=1e-10)
    assert found.variance == pytest.approx(float(peer.ssr) / 20_000, rel=1e-10)
    for index, error in enumerate(peer.bse):
        influence = found.influence(rows, data.outcome, index)
        assert np.sqrt(data.variance(influence)) == pytest.approx(error, rel=1e-8)


def test_clustered_errors_agree_with_statsmodels() -> None:
    data = contrast(600)
    clusters = np.arange(600) // 6
    data = Contrast(
        treated=clusters % 2 == 1,
        outcome=data.outcome + np.random.default_rng(0).standard_normal(100)[clusters],
        prediction=data.prediction,
        clusters=clusters,
    )
    rows = rows_of(data)
    peer = sm.OLS(data.outcome, rows.T).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}
    )
    influence = least_squares(rows, data.outcome).influence(rows, data.outcome, 1)
    ours = np.sqrt(data.variance(influence) * 99 / 100)
    assert ours == pytest.approx(peer.bse[1], rel=1e-8)


def test_dependent_regressors_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="regressors must not depend on each other"):
        least_squares(np.ones((2, 5)), np.arange(5.0))
    with pytest.raises(InvalidValueError, match="the prediction may be constant"):
        least_squares(np.stack([np.ones(5), np.zeros(5)]), np.arange(5.0))
