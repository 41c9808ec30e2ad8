import numpy as np
import pytest
from scipy import stats

from dfl.errors import InvalidValueError
from dfl.stats import across


def test_intervals_over_seeds_are_students() -> None:
    values = [1.0, 2.0, 4.0, 4.5]
    found = across(values, 0.9)
    interval = stats.t.interval(0.9, 3, loc=np.mean(values), scale=stats.sem(values))
    assert found["value"] == pytest.approx(np.mean(values))
    assert found["standard_error"] == pytest.approx(stats.sem(values))
    assert (found["low"], found["high"]) == pytest.approx(interval)


def test_a_level_in_per_cent_and_values_that_are_missing_are_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"level must be in \(0, 1\), got 95"):
        across([1.0, 2.0], 95)
    with pytest.raises(InvalidValueError, match="values must be finite, got 1 NaN or infinite"):
        across([1.0, float("nan")], 0.95)
    with pytest.raises(InvalidValueError, match="values must hold one number per seed, got none"):
        across([], 0.95)


def test_one_value_has_no_interval() -> None:
    assert across([2.0], 0.95) == {"value": 2.0}
