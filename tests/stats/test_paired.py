import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.stats.bootstrap import Estimate, summarise
from dfl.stats.paired import paired_difference, paired_ratio


def estimate(value: float, draws: list[float], rows_key: int = 0) -> Estimate:
    return summarise(value, torch.tensor(draws, dtype=torch.float64), 0.95, rows_key)


def test_difference_and_ratio_of_given_draws() -> None:
    first, second = estimate(4, [4, 5, 3]), estimate(2, [2, 2, 2])
    difference, ratio = paired_difference(first, second), paired_ratio(first, second)
    assert (difference.estimate.value, difference.estimate.standard_error) == pytest.approx((2, 1))
    assert (ratio.estimate.value, ratio.estimate.standard_error) == pytest.approx((2, 0.5))
    assert difference.p_value == ratio.p_value == pytest.approx(0.0455, abs=1e-4)
    wide = paired_difference(first, second, level=0.99)
    assert wide.estimate.high == pytest.approx(2 + 2.575829)


def test_a_model_does_not_differ_from_itself() -> None:
    same = estimate(4, [4, 5, 3])
    assert paired_difference(same, same).p_value == 1
    assert paired_ratio(same, same).estimate.value == 1


def test_a_constant_difference_is_certain() -> None:
    assert paired_difference(estimate(4, [4, 5, 3]), estimate(3, [3, 4, 2])).p_value == 0


def test_other_rows_or_draws_are_refused() -> None:
    first, other_rows = estimate(4, [4, 5, 3]), estimate(4, [4, 5, 3], rows_key=1)
    for second in (other_rows, estimate(4, [4, 5])):
        with pytest.raises(InvalidValueError, match="paired only on the same rows and draws"):
            paired_difference(first, second)
        with pytest.raises(InvalidValueError, match="paired only on the same rows and draws"):
            paired_ratio(first, second)


def test_no_ratio_to_something_around_0() -> None:
    with pytest.raises(InvalidValueError, match="must have one sign in every draw for a ratio"):
        paired_ratio(estimate(4, [4, 5, 3]), estimate(0.1, [0.3, -0.1, 0.1]))


def test_level_out_of_range() -> None:
    with pytest.raises(InvalidValueError, match=r"level must be in \(0, 1\), got 95"):
        paired_difference(estimate(4, [4, 5]), estimate(4, [4, 5]), level=95)


def test_what_differs_by_rounding_does_not_differ() -> None:
    first = estimate(4, [4, 5, 3])
    rounded = estimate(4 + 1e-14, [4 - 1e-14, 5 + 2e-14, 3 + 1e-14])
    for pair in (paired_difference(rounded, first), paired_ratio(rounded, first)):
        assert pair.p_value == 1
        assert pair.estimate.standard_error == 0
