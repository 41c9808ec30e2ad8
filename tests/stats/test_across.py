import numpy as np
import pytest
from scipy import stats

from dfl.stats import across


def test_intervals_over_seeds_are_students() -> None:
    values = [1.0, 2.0, 4.0, 4.5]
    found = across(values, 0.9)
    interval = stats.t.interval(0.9, 3, loc=np.mean(values), scale=stats.sem(values))
    assert found["value"] == pytest.approx(np.mean(values))
    assert found["standard_error"] == pytest.approx(stats.sem(values))
    assert (found["low"], found["high"]) == pytest.approx(interval)


def test_one_value_has_no_interval() -> None:
    assert across([2.0], 0.95) == {"value": 2.0}
