import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dfl.stats.moments import Moments


@given(cuts=st.lists(st.integers(0, 200), max_size=6), seed=st.integers(0, 5))
def test_moments_add_up_over_blocks_of_any_size(cuts: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(1e6, 1, size=(200, 3))
    found = Moments.merged(Moments.of(part) for part in np.split(values, sorted(cuts)))
    assert found.rows == 200
    np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.products / 199, np.cov(values.T), rtol=1e-6, atol=1e-6)


def test_moments_of_a_linear_map() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    matrix, constant = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]]), np.array([1.0, -1.0])
    found = Moments.of(values).mapped(matrix, constant)
    direct = Moments.of(values @ matrix.T + constant)
    np.testing.assert_allclose(found.mean, direct.mean)
    np.testing.assert_allclose(found.products, direct.products)
