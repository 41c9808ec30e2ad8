import numpy as np
import pytest

from dfl.stats.leverage import leverage, unit_leverage


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


def test_units_of_rows_that_are_alike_have_the_eigenvalue_of_their_block() -> None:
    draw = np.random.default_rng(0)
    unit = np.repeat(np.arange(9), np.arange(1, 10))
    design = np.stack([np.ones(9), draw.normal(size=9), 1e4 * draw.gamma(2, size=9)])[:, unit]
    hat = design.T @ np.linalg.pinv(design @ design.T) @ design
    found = unit_leverage(design, unit, 10)  # the last has no rows
    blocks = [hat[np.ix_(unit == one, unit == one)] for one in range(9)]
    np.testing.assert_allclose(found[:9], [np.linalg.eigvalsh(one)[-1] for one in blocks])
    assert found[9] == 0
    alone = unit_leverage(design, np.arange(45), 45)
    np.testing.assert_allclose(alone, together(design), rtol=1e-9)
