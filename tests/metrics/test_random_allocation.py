import numpy as np
import pytest

from dfl.metrics.random_allocation import random_shares


def test_random_shares_are_even_where_the_budget_allows_it() -> None:
    cost = np.array([1.0, 0.0, 2.0])
    assert random_shares(cost, cost, 1.0).tolist() == pytest.approx([1 / 3] * 3)
    half = random_shares(cost, cost, 0.5)
    assert half.tolist() == pytest.approx([1 / 6, 4 / 6, 1 / 6])
    assert half @ cost == pytest.approx(0.5)
