import re

import numpy as np
import pytest
from scipy import stats

from dfl.errors import InvalidValueError, ShapeError
from dfl.stats import ranks

SCORES = np.array([[0.9, 0.5, 0.5, 0.1], [0.8, 0.9, 0.7, 0.6], [0.3, 0.2, 0.1, 0.0]])


def test_the_best_has_rank_1_and_ties_share() -> None:
    assert ranks(SCORES).mean == pytest.approx((4 / 3, (2.5 + 1 + 2) / 3, (2.5 + 3 + 3) / 3, 4.0))
    expected = stats.friedmanchisquare(*SCORES.T).pvalue
    assert ranks(SCORES).p_value == pytest.approx(float(expected))


def test_the_critical_difference_of_the_source() -> None:
    scores = np.random.default_rng(0).normal(size=(14, 4))  # section 3.2.4: 14 data sets, 4 methods
    assert ranks(scores).critical_difference == pytest.approx(1.25, abs=5e-3)
    assert ranks(scores, level=0.9).critical_difference == pytest.approx(1.12, abs=5e-3)


def test_methods_that_never_differ_are_alike() -> None:
    found = ranks(np.ones((5, 3)))
    assert found.mean == (2.0, 2.0, 2.0)
    assert found.p_value == 1.0


@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (6,)])
def test_too_few_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=re.escape("scores must be (2 or more, 3 or more), got")):
        ranks(np.ones(shape))


def test_a_level_in_per_cent_and_scores_that_are_missing_are_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"level must be in \(0, 1\), got 95"):
        ranks(SCORES, level=95)
    with pytest.raises(InvalidValueError, match="scores must not be NaN, got 1; leave out the rep"):
        ranks(np.where(SCORES == 0.3, np.nan, SCORES))
    assert ranks(np.where(SCORES == 0, -np.inf, SCORES)).mean == ranks(SCORES).mean
