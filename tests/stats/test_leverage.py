import numpy as np
import pytest

from dfl.stats.leverage import leverage


def together(design: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return np.concatenate([one for _, one in leverage(design, design.shape[1])])


def test_it_is_the_diagonal_of_the_hat_matrix() -> None:
    draw = np.random.default_rng(0)
    design = np.stack([np.ones(40_000), draw.normal(size=40_000), 1e5 * draw.gamma(2, size=40_000)])
    found = together(design)
    assert found.sum() == pytest.approx(3)
    some = design[:, :50]
    hat = some.T @ np.linalg.inv(some @ some.T) @ some
    np.testing.assert_allclose(together(some), np.diag(hat), rtol=1e-9)


def test_rows_that_repeat_each_other_count_once_and_none_count_nothing() -> None:
    design = np.stack([np.ones(10), np.arange(10.0), 2 * np.arange(10.0), np.zeros(10)])
    np.testing.assert_allclose(together(design), together(design[:2]), rtol=1e-9)
    assert np.concatenate([one for _, one in leverage(None, 20_000)]).tolist() == [0] * 20_000
