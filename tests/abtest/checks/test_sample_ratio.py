from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dfl.abtest import SampleRatioError, sample_ratio
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.errors import InvalidValueError
from tests.abtest.data import Stubborn, experiment

SKEWED = (np.arange(400) % 8 < 3).astype(int)  # 150 against 250


def test_a_mismatch_stops_every_estimate() -> None:
    message = r"sample ratio mismatch \(p = 5.7e-07\), 0: 250 for 200 planned, 1: 150 for 200"
    with pytest.raises(SampleRatioError, match=message):
        DifferenceInMeans().estimate(experiment(treatment=SKEWED))
    with pytest.raises(SampleRatioError, match="find out why before reading any metric"):
        Stubborn().estimate(experiment(treatment=SKEWED))


def test_the_plan_decides() -> None:
    planned = experiment(treatment=SKEWED, shares={0: 5, 1: 3})
    assert sample_ratio(planned).p_value == 1
    assert DifferenceInMeans().estimate(planned)
    with pytest.raises(SampleRatioError, match="by shares"):
        DifferenceInMeans().estimate(experiment(shares={0: 5, 1: 3}))


def test_it_is_the_chi_square_test_of_all_arms() -> None:
    arms = np.resize([0, 1, 2, 1, 0, 0], 400)
    found = sample_ratio(experiment(treatment=arms, shares={0: 0.4, 1: 0.3, 2: 0.3}))
    counts = np.bincount(arms)
    assert found.p_value == pytest.approx(
        stats.chisquare(counts, 400 * np.array([0.4, 0.3, 0.3]))[1]
    )
    assert found.observed == {"0": counts[0], "1": counts[1], "2": counts[2]}


def test_clusters_are_counted_not_rows() -> None:
    clusters = np.minimum(np.arange(400) // 4, 50)  # the last one is large
    found = sample_ratio(experiment(treatment=clusters % 2, clusters=clusters))
    assert found.observed == {"0": 26, "1": 25}


def test_false_alarms_are_rare() -> None:
    draw = np.random.default_rng(0)
    alarms = [
        sample_ratio(experiment(treatment=draw.integers(0, 2, 400))).p_value < 5e-4
        for _ in range(300)
    ]
    assert sum(alarms) <= 2


def test_a_small_arm_is_counted_exactly() -> None:
    """6 units where 1 was planned: 5e-4 by chance, not the 5e-7 of chi-square."""
    treatment = (np.arange(100) < 6).astype(int)
    found = sample_ratio(experiment(100, treatment=treatment, shares={0: 99, 1: 1}))
    assert found.p_value == pytest.approx(stats.binomtest(6, 100, 0.01).pvalue)


@pytest.mark.parametrize("share", [1e308, Decimal("0.1"), Fraction(1, 3), 5e-324])
def test_shares_are_on_any_scale_and_numbers_of_any_kind(share: Any) -> None:
    found = sample_ratio(experiment(shares={0: share, 1: share}))
    assert found.expected == {"0": 200, "1": 200}


@pytest.mark.parametrize("share", [Fraction(10**400), Decimal("sNaN"), "half"])
def test_shares_that_are_no_numbers_are_refused(share: Any) -> None:
    with pytest.raises(InvalidValueError, match="shares must be positive and finite, got"):
        experiment(shares={0: 1, 1: share})
