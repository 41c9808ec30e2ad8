from typing import Any

import numpy as np
import pytest

from dfl.abtest import Contrast, linearise
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.rows.contrast import linearise_arms
from dfl.errors import InvalidValueError

# The golden ratio metric: treated, then control.
Y = np.array([5.0, 0, 3, 8, 2, 6, 4, 1, 2, 6, 3, 2])
Z = np.array([4.0, 1, 2, 6, 3, 4, 4, 2, 2, 5, 4, 3])
T = np.repeat([True, False], 6)


def difference(kind: Any) -> tuple[float, float]:
    found = DifferenceInMeans().fit(Contrast(treated=T, outcome=linearise_arms(Y, Z, T, kind)))
    return found.estimate, found.standard_error**2


def test_golden_delta_method() -> None:
    estimate, variance = difference("delta")
    assert estimate == pytest.approx(0.3, abs=1e-12)
    assert variance == pytest.approx(0.03126, abs=5e-6)
    assert variance**0.5 == pytest.approx(0.1768050, abs=1e-6)


def test_golden_delta_method_is_the_textbook_formula() -> None:
    variance = 0.0
    for arm in (T, ~T):
        covariance, ratio = np.cov(Y[arm], Z[arm]), Y[arm].mean() / Z[arm].mean()
        inner = covariance[0, 0] - 2 * ratio * covariance[0, 1] + ratio**2 * covariance[1, 1]
        variance += inner / (6 * Z[arm].mean() ** 2)
    assert difference("delta")[1] == pytest.approx(variance)


def test_golden_linearisation_around_the_control() -> None:
    estimate, variance = difference("control")
    assert estimate == pytest.approx(0.3, abs=1e-12)
    assert variance == pytest.approx(0.04548, abs=5e-6)
    budylin = Y - 0.9 * Z
    assert (budylin[T].mean(), budylin[~T].mean()) == pytest.approx((1.0, 0.0))
    spread = budylin[T].var(ddof=1) / 6 + budylin[~T].var(ddof=1) / 6
    assert spread == pytest.approx(0.5053333, abs=1e-7)


def test_golden_pooled_linearisation() -> None:
    assert difference("pooled") == pytest.approx((0.3, 0.03477), abs=5e-6)
    assert linearise(Y, Z, ratio=1.05, mean=10 / 3) == pytest.approx(
        linearise_arms(Y, Z, T, "pooled")
    )


def test_mistakes() -> None:
    with pytest.raises(InvalidValueError, match="mean of the denominator must be > 0, got 0"):
        linearise(Y, Z, ratio=1, mean=0)
    wrong: Any = "pool"
    with pytest.raises(
        InvalidValueError,
        match="linearisation must be one of 'delta', 'pooled', 'control', got 'pool'",
    ):
        linearise_arms(Y, Z, T, wrong)
    with pytest.raises(InvalidValueError, match="must sum to more than 0 in every arm, got 0"):
        linearise_arms(Y, np.where(T, 0, Z), T, "delta")
