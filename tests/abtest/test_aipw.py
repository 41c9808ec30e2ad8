from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from dfl.abtest import Contrast, CrossFit
from dfl.abtest.aipw import Aipw
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.mlrate import Mlrate
from dfl.errors import InvalidValueError
from tests.abtest.data import contrast

LINEAR = Aipw(cross_fit=CrossFit(regressor=LinearRegression()))


def test_linear_models_come_near_to_mlrate() -> None:
    data = contrast(2000)
    found, peer = LINEAR.fit(data), Mlrate().fit(data)
    assert found.estimate == pytest.approx(peer.estimate, abs=0.2 * peer.standard_error)
    assert found.standard_error == pytest.approx(peer.standard_error, rel=0.02)
    assert LINEAR.fit(replace(data, covariates=None)).estimate == pytest.approx(found.estimate)


def test_it_stays_right_where_the_models_are_useless_and_arms_unequal() -> None:
    draw = np.random.default_rng(0)
    treated = draw.random(4000) < 0.2
    noise = draw.standard_normal((4000, 2))
    outcome = 1.5 * treated + draw.exponential(size=4000)
    data = Contrast(treated=treated, outcome=outcome, covariates=noise)
    found, plain = LINEAR.fit(data), DifferenceInMeans().fit(data)
    assert found.estimate == pytest.approx(1.5, abs=4 * found.standard_error)
    assert found.standard_error == pytest.approx(plain.standard_error, rel=0.02)


def test_nonlinear_models_of_each_arm_are_more_precise() -> None:
    draw = np.random.default_rng(0)
    treated = draw.random(1500) < 0.5
    x = draw.uniform(-2, 2, (1500, 1))
    outcome = 4 * x[:, 0] ** 2 * np.where(treated, 1.2, 1) + draw.standard_normal(1500)
    data = Contrast(treated=treated, outcome=outcome, covariates=x)
    assert Aipw().fit(data).standard_error < 0.5 * LINEAR.fit(data).standard_error


def test_it_needs_something_to_learn_from() -> None:
    with pytest.raises(InvalidValueError, match="aipw needs covariates, or a prediction"):
        Aipw().fit(replace(contrast(), covariates=None, prediction=None))
