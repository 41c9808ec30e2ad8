import math

import pytest
from scipy import stats

from dfl.errors import InvalidValueError
from dfl.stats.needed import rows_needed


def test_with_so_many_rows_the_test_has_the_power_asked_for() -> None:
    needed = rows_needed(0.1, 0.08, 1_000, level=0.9, power=0.7)
    error = 0.08 * math.sqrt(1_000 / needed)
    limit = stats.norm.ppf(0.95)
    assert stats.norm.sf(limit - 0.1 / error) == pytest.approx(0.7, abs=1e-3)


def test_the_usual_numbers() -> None:
    # A difference of half a deviation between two halves: 126 rows by normal quantiles.
    assert rows_needed(0.5, 2 / math.sqrt(100), 100) == 126
    assert rows_needed(-0.5, 2 / math.sqrt(100), 100) == 126


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0.0, 1.0, 10), "difference must not be 0: no number of rows"),
        ((float("nan"), 1.0, 10), "difference must be >= 0, got nan"),
        ((1.0, 0.0, 10), "standard_error must be > 0, got 0"),
        ((1.0, 1.0, 1), "rows must be >= 2, got 1"),
        ((1e-200, 1.0, 10), "not be this small beside a standard error of 1, got 1e-200: no num"),
        ((1e-300, 1e10, 10), "no number of rows tells it from chance. Ask for a larger one"),
    ],
)
def test_what_is_out_of_range_is_refused(given: tuple[float, float, int], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        rows_needed(*given)
    with pytest.raises(InvalidValueError, match=r"level must be in \(0, 1\), got 1"):
        rows_needed(1.0, 1.0, 10, level=1.0)


@pytest.mark.parametrize(
    ("power", "level", "range_"),
    [(1.0, 0.95, "0.025, 1"), (0.02, 0.95, "0.025, 1"), (0.3, 0.2, "0.4, 1"), (0.4, 0.2, "0.4, 1")],
)
def test_a_power_that_any_rows_have_is_refused(power: float, level: float, range_: str) -> None:
    with pytest.raises(InvalidValueError, match=rf"power must be in \({range_}\), got {power:g}"):
        rows_needed(1.0, 1.0, 10, level=level, power=power)


def test_more_power_needs_more_rows() -> None:
    needed = [rows_needed(1.0, 10.0, 1_000, power=power) for power in (0.03, 0.1, 0.5, 0.8)]
    assert needed == sorted(needed)
