from dataclasses import replace

import numpy as np
import pytest

from dfl.abtest import AbstractEstimator, Experiment
from dfl.abtest.cupac import Cupac
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.huber import Huber
from dfl.abtest.state import State
from dfl.abtest.winsorised import Winsorised
from dfl.errors import InvalidValueError
from tests.abtest.data import contrast


def test_one_cap_for_both_arms() -> None:
    data = contrast(1000)
    found = Winsorised(upper=0.9).fit(data)
    cap = float(np.quantile(data.outcome, 0.9))
    assert found.diagnostics["cap"] == pytest.approx(cap)
    capped = replace(data, outcome=np.minimum(data.outcome, cap))
    assert found.estimate == pytest.approx(Cupac().fit(capped).estimate)
    shares = found.diagnostics["capped_treated"] + found.diagnostics["capped_control"]
    assert shares / 2 == pytest.approx(0.1, abs=0.002)
    assert found.caveat == "Effects above the cap are not seen."


def test_without_prediction_the_capped_means_are_compared() -> None:
    data = replace(contrast(1000), covariates=None, prediction=None)
    low, high = np.quantile(data.outcome, [0.05, 0.95])
    clipped = replace(data, outcome=np.clip(data.outcome, low, high))
    found = Winsorised(lower=0.05, upper=0.95).fit(data)
    plain = DifferenceInMeans().fit(clipped)
    assert found.estimate == pytest.approx(plain.estimate)
    assert found.standard_error == pytest.approx(plain.standard_error)


def test_mistakes() -> None:
    with pytest.raises(InvalidValueError, match="0 <= lower < upper <= 1 must hold"):
        Winsorised(lower=0.5, upper=0.5)
    with pytest.raises(InvalidValueError, match="upper must be a number, got 'a'"):
        Winsorised(upper="a")  # type: ignore[arg-type]
    data = contrast()
    mostly_zero = np.where(np.arange(400) < 2, 5.0, 0.0)
    with pytest.raises(InvalidValueError, match="upper must leave values that differ"):
        Winsorised(upper=0.99).fit(replace(data, outcome=mostly_zero))


@pytest.mark.parametrize("estimator", [Winsorised(upper=1.0), Huber(), State()])
@pytest.mark.parametrize("factor", [0.5, 1.5, 2, 3])
def test_a_ratio_is_right_though_the_treatment_moves_its_denominator(
    estimator: AbstractEstimator, factor: float
) -> None:
    draw = np.random.default_rng(0)
    treated = np.arange(8000) % 2
    orders = (1.0 + draw.poisson(1, 8000)) * np.where(treated, factor, 1)
    money = orders * np.where(treated, 22, 20) + draw.normal(size=8000)
    data = Experiment(treatment=treated, metric=money, denominator=orders)
    (effect,) = estimator.effects(data)
    assert effect.estimate == pytest.approx(2, abs=0.1)
