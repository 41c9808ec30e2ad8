import numpy as np
import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.stats.bands import simultaneous_factor
from dfl.stats.bootstrap import Estimate, summarise
from dfl.stats.intervals import interval_factor


def points(draws: np.ndarray) -> list[Estimate]:
    return [summarise(0.0, torch.from_numpy(one), 0.95, 0) for one in draws]


def test_independent_points_need_the_factor_of_the_largest_of_them() -> None:
    draws = np.random.default_rng(0).normal(size=(10, 20_000))
    every = interval_factor(0.95 ** (1 / 10))
    assert simultaneous_factor(points(draws), 0.95) == pytest.approx(every, rel=0.02)


def test_points_that_move_together_need_the_factor_of_one() -> None:
    draws = np.random.default_rng(0).normal(size=(1, 20_000)) * np.arange(1, 6)[:, None]
    found = simultaneous_factor(points(draws), 0.95)
    assert found == pytest.approx(interval_factor(0.95), rel=0.03)


def test_points_without_error_do_not_count() -> None:
    assert simultaneous_factor(points(np.zeros((3, 5))), 0.9) == interval_factor(0.9)


def test_level_out_of_range() -> None:
    with pytest.raises(InvalidValueError, match=r"level must be in \(0, 1\)"):
        simultaneous_factor([], 1.0)
