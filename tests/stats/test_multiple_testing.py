from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from dfl.abtest import adjust_p_values
from dfl.errors import InvalidValueError

PEERS = {"holm": "holm", "bonferroni": "bonferroni", "benjamini-hochberg": "fdr_bh"}


@pytest.mark.parametrize("correction", PEERS)
def test_it_agrees_with_statsmodels(correction: Any) -> None:
    p_values = np.random.default_rng(0).random(30) ** 4
    p_values[3] = p_values[7]
    peer = multipletests(p_values, method=PEERS[correction])[1]
    assert adjust_p_values(p_values, correction=correction) == pytest.approx(peer)


@pytest.mark.parametrize("correction", PEERS)
@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_order_stays_and_nothing_falls(correction: Any, p_values: list[float]) -> None:
    adjusted = adjust_p_values(p_values, correction=correction)
    assert (adjusted >= np.array(p_values) - 1e-15).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()


def test_none_changes_nothing() -> None:
    assert adjust_p_values([0.2, 0.01], correction="none").tolist() == [0.2, 0.01]


def test_mistakes() -> None:
    with pytest.raises(InvalidValueError, match=r"p_values must be in \[0, 1\], got \[1.5\]"):
        adjust_p_values([1.5], correction="holm")
    wrong: Any = "sidak"
    with pytest.raises(InvalidValueError, match="'benjamini-hochberg', 'none', got 'sidak'"):
        adjust_p_values(np.array([0.5]), correction=wrong)
