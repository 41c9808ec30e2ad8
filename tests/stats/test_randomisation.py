import math

import numpy as np
import pytest
from scipy import stats

from dfl.stats.randomisation import (
    counts_p_value,
    location_p_value,
    shape_p_value,
    table_p_value,
)

DRAW = np.random.default_rng(0)


def test_large_samples_are_read_by_their_means() -> None:
    one, two = DRAW.standard_normal(20_000) + 0.04, DRAW.standard_normal(30_000)
    peer = stats.ttest_ind(one, two)
    assert location_p_value(one, two, 1e-3) == pytest.approx(peer.pvalue, rel=0.1)
    assert location_p_value(np.ones(9), np.ones(4), 1e-3) == 1


def test_heavy_tails_are_read_by_wilcoxons_test() -> None:
    one, two = np.exp(3 * DRAW.standard_normal(1000) + 0.4), np.exp(3 * DRAW.standard_normal(4000))
    peer = stats.mannwhitneyu(one, two, method="asymptotic", use_continuity=False)
    assert location_p_value(one, two, 1e-3) == pytest.approx(peer.pvalue, rel=1e-2)


def test_one_rare_customer_among_the_few_treated_is_no_alarm() -> None:
    """He is treated by chance in 1 of 100 experiments, not in 1 of 10^20."""
    rare = np.zeros(3000)
    rare[0] = 1
    assert location_p_value(rare[:30], rare[30:], 1e-3) == pytest.approx(0.01, rel=0.8)


@pytest.mark.parametrize("units", [(5, 5), (10, 10), (8, 300)])
def test_complete_separation_of_few_units_has_its_exact_chance(units: tuple[int, int]) -> None:
    found = location_p_value(
        np.arange(float(units[0])), units[0] + np.arange(float(units[1])), 1e-3
    )
    exact = 2 / math.comb(sum(units), units[0])
    assert exact / 30 < found < max(30 * exact, 0.02)


def test_shapes_of_few_units_are_compared_exactly() -> None:
    assert shape_p_value(np.arange(5.0), np.arange(5.0) + 9) == pytest.approx(2 / 252)


def test_a_table_with_rare_cells_keeps_its_chance() -> None:
    rare = np.array([[2, 0], [28, 2970]])
    assert table_p_value(rare, 0.001) == pytest.approx(1e-4, abs=2e-4)
    common = np.array([[300, 200], [100, 200]])
    usual = stats.chi2_contingency(common, correction=False).pvalue
    assert table_p_value(common, 0.001) == pytest.approx(usual)


def test_the_order_of_a_table_plays_no_part() -> None:
    counts = np.array([[9, 1, 0], [30, 41, 50], [2000, 1800, 2200], [0, 8, 1]])
    found = table_p_value(counts, 0.5)
    assert table_p_value(counts[[2, 0, 3, 1]][:, [1, 2, 0]], 0.5) == pytest.approx(found, rel=1e-9)


def test_counts_of_a_small_plan_are_read_exactly() -> None:
    plan = np.array([99.0, 1.0])
    exact = stats.binomtest(6, 100, 0.01).pvalue
    assert counts_p_value(np.array([94, 6]), plan) == pytest.approx(exact)
    three = np.array([94, 3, 3])
    drawn = counts_p_value(three, np.array([98.0, 1, 1]))
    assert drawn == pytest.approx(0.03, abs=0.03)
    assert counts_p_value(np.array([60, 40]), np.array([50.0, 50.0])) == pytest.approx(
        stats.chisquare([60, 40], [50, 50]).pvalue
    )
