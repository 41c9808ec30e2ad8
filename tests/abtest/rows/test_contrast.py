from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dfl.abtest import Contrast
from dfl.errors import InvalidValueError, ShapeError
from tests.abtest.data import contrast


def test_the_difference_in_means_has_the_textbook_error() -> None:
    data = contrast(101)
    estimate, influence = data.mean_difference(data.outcome)
    one, two = data.outcome[data.treated], data.outcome[~data.treated]
    assert estimate == pytest.approx(one.mean() - two.mean())
    textbook = one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two)
    assert data.variance(influence) == pytest.approx(textbook)


def test_clusters_count_once() -> None:
    data = contrast(100)
    rows = np.repeat(np.arange(100), 5)
    repeated = Contrast(treated=data.treated[rows], outcome=data.outcome[rows], clusters=rows)
    estimate, influence = repeated.mean_difference(repeated.outcome)
    single, its_influence = data.mean_difference(data.outcome)
    assert estimate == pytest.approx(single)
    assert repeated.variance(influence) == pytest.approx(data.variance(its_influence), rel=0.02)
    assert (repeated.treated_units, repeated.control_units) == (50, 50)


def test_mistakes() -> None:
    data = contrast()
    with pytest.raises(ShapeError, match="prediction must have 400 rows, got 3"):
        replace(data, prediction=np.ones(3))
    with pytest.raises(
        InvalidValueError, match="the treated arm must have at least 2 units, got 1"
    ):
        replace(data, treated=np.arange(400) == 0)
    with pytest.raises(
        InvalidValueError, match="the control arm must have at least 2 units, got 1"
    ):
        replace(data, clusters=np.where(data.treated, np.arange(400), 0))
    with pytest.raises(InvalidValueError, match="metric must vary, got 1 in all 400 rows"):
        replace(data, outcome=np.ones(400))
    with pytest.raises(InvalidValueError, match="its difference has a standard error of 0"):
        data.standard_error(np.zeros(400))


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_a_unit_whose_squares_are_no_numbers(unit: float) -> None:
    outcome = unit * np.arange(8.0)
    with pytest.raises(InvalidValueError, match=r"metric must vary by 1e-70 to 1e\+70"):
        Contrast(treated=np.arange(8) % 2 == 1, outcome=outcome)


def test_a_metric_that_float64_rounds_away() -> None:
    outcome = np.random.default_rng(0).normal(size=40)
    treated = np.arange(40) % 2 == 1
    with pytest.raises(InvalidValueError, match=r"lies near 1e\+15 .* float64 rounds it by 0.12"):
        Contrast(treated=treated, outcome=outcome + 1e15)
    assert Contrast(treated=treated, outcome=outcome + 1e12).rows == 40


@pytest.mark.parametrize(
    ("clusters", "got"),
    [
        (np.arange(400) + 10**15, r"1000000000000000 \(int64\)"),
        (np.arange(400) - 5, r"-5 \(int64\)"),
        (np.arange(400) / 1, r"0.0 \(float64\)"),
        (np.arange(400).astype(str), "0 "),
    ],
)
def test_clusters_that_are_ids_are_refused(clusters: Any, got: str) -> None:
    message = f"clusters must be whole numbers from 0 to below the 400 rows, got {got}"
    with pytest.raises(InvalidValueError, match=message):
        replace(contrast(), clusters=clusters)


def test_clusters_in_both_arms_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="clusters must lie in one arm each, 1 do not"):
        replace(contrast(), clusters=np.where(np.arange(400) < 390, np.arange(400), 390))
