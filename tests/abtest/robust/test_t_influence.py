import numpy as np
import pytest

from dfl.abtest import TParameters, fit_t_regression
from dfl.abtest.robust.student_t import fisher_errors, t_influence
from dfl.errors import InvalidValueError
from tests.abtest.data import G2

ROWS = np.stack([np.ones(12), G2.indicator, np.tile(np.arange(1.0, 7), 2)])


def fitted() -> TParameters:
    return fit_t_regression(ROWS.T, G2.outcome, nu=4, rtol=1e-15).parameters


def test_golden_fisher_errors() -> None:
    golden = pytest.approx([0.1500029, 0.1204853, 0.0352745], abs=1e-6)
    assert fisher_errors(ROWS @ ROWS.T, fitted()) == golden


@pytest.mark.parametrize(
    ("joint", "golden"),
    [(True, [0.0982609, 0.1062087, 0.0187991]), (False, [0.0970409, 0.1018829, 0.0173298])],
)
def test_golden_sandwich_errors(joint: bool, golden: list[float]) -> None:
    influences = [t_influence(ROWS, G2.outcome, fitted(), one, joint=joint) for one in range(3)]
    errors = [float(np.sqrt(one @ one)) / 12 for one in influences]
    assert errors == pytest.approx(golden, abs=1e-6)


def test_the_influence_is_what_a_row_changes() -> None:
    """Weighting one row a little more moves the coefficient by its influence."""
    draw = np.random.default_rng(0)
    design = np.stack([np.ones(300), np.arange(300) % 2, draw.standard_normal(300)], axis=1)
    outcome = design.sum(axis=1) + draw.standard_t(3, 300)
    base = fit_t_regression(design, outcome, nu=5, rtol=1e-15).parameters
    influence = t_influence(np.ascontiguousarray(design.T), outcome, base, 1)
    for row in (3, 50, int(np.abs(outcome).argmax())):
        copies = 20  # of every row, and one more of this: a weight of 1 + 1 / 20
        rows = np.append(np.tile(np.arange(300), copies), row)
        more = fit_t_regression(design[rows], outcome[rows], nu=5, rtol=1e-15).parameters
        moved = (more.coefficients[1] - base.coefficients[1]) * 300 * copies
        assert moved == pytest.approx(influence[row], rel=0.05, abs=0.05)


def test_influences_sum_to_zero() -> None:
    assert float(t_influence(ROWS, G2.outcome, fitted(), 1).sum()) == pytest.approx(0, abs=1e-4)


def test_no_rows_in_the_bulk() -> None:
    rows = np.ones((1, 4))
    scale = TParameters(np.zeros(1), 1.0, 1.0)
    with pytest.raises(InvalidValueError, match="the mean derivative of the score is singular"):
        t_influence(rows, np.ones(4), scale, 0, joint=False)
