from dataclasses import replace

import numpy as np
import pytest

from dfl.abtest.cupac import Cupac
from dfl.abtest.cuped import Cuped, cuped_adjust
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.errors import InvalidValueError
from tests.abtest.data import contrast


def test_golden_identity() -> None:
    x, y = np.arange(1.0, 9), np.array([2.0, 1, 4, 3, 7, 5, 8, 6])
    adjusted, theta = cuped_adjust(y, x[:, None])
    assert theta == pytest.approx([0.8333333], abs=1e-7)
    assert adjusted.var() / y.var() == pytest.approx(0.3055556, abs=1e-7)
    assert adjusted.var() / y.var() == pytest.approx(1 - np.corrcoef(x, y)[0, 1] ** 2)
    assert adjusted.mean() == pytest.approx(4.5)


def test_the_variance_falls_by_what_is_explained() -> None:
    data = contrast(2000)
    plain, adjusted = DifferenceInMeans().fit(data), Cuped().fit(data)
    explained = adjusted.diagnostics["explained_variance"]
    assert explained > 0.4
    assert adjusted.standard_error == pytest.approx(
        plain.standard_error * (1 - explained) ** 0.5, rel=0.02
    )
    assert adjusted.diagnostics["theta"] == pytest.approx(2, abs=0.2)


def test_columns_are_chosen_and_repeated_ones_do_no_harm() -> None:
    data = contrast()
    noise = np.random.default_rng(1).standard_normal((400, 1))
    wide = replace(data, covariates=np.hstack([noise, data.covariates, data.covariates]))  # type: ignore[list-item]
    assert Cuped(columns=(1,)).fit(wide).estimate == pytest.approx(Cuped().fit(data).estimate)
    assert Cuped(columns=(1, 2)).fit(wide).estimate == pytest.approx(Cuped().fit(data).estimate)


def test_cupac_is_cuped_on_the_prediction() -> None:
    data = contrast()
    assert Cupac().fit(replace(data, covariates=None)).estimate == pytest.approx(
        Cuped().fit(data).estimate
    )


def test_mistakes() -> None:
    data = contrast()
    with pytest.raises(InvalidValueError, match="cuped needs covariates"):
        Cuped().fit(replace(data, covariates=None))
    with pytest.raises(InvalidValueError, match=r"columns must be positions below 1, got \(1,\)"):
        Cuped(columns=(1,)).fit(data)
    with pytest.raises(InvalidValueError, match="covariates must vary"):
        Cuped().fit(replace(data, covariates=np.ones((400, 2))))
    with pytest.raises(InvalidValueError, match="cupac needs covariates, or a prediction"):
        Cupac().fit(replace(data, covariates=None, prediction=None))
    with pytest.raises(InvalidValueError, match="prediction must vary, got 2 for every row"):
        Cupac().fit(replace(data, prediction=np.full(400, 2.0)))
