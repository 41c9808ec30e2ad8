import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfl.abtest.streamed.numbering import Numbering
from dfl.errors import InvalidValueError


@given(cuts=st.lists(st.integers(0, 300), max_size=8), seed=st.integers(0, 5), text=st.booleans())
def test_numbers_are_places_in_order_however_labels_come(
    cuts: list[int], seed: int, text: bool
) -> None:
    labels = np.random.default_rng(seed).integers(-40, 40, 300)
    if text:
        labels = np.array([f"user {one}".encode() for one in labels])
    blocks = np.split(labels, sorted(cuts))
    found = Numbering.of(blocks)
    known, wanted = np.unique(labels, return_inverse=True)
    assert found.known.tolist() == known.tolist()
    assert np.concatenate([found.numbers(one) for one in blocks]).tolist() == wanted.tolist()


def test_whole_numbers_beside_others_are_text() -> None:
    whole, others = np.array([10, 9, 10]), np.array([b"1.5", b"9"])
    found = Numbering.of([whole, others])
    assert found.known.tolist() == [b"1.5", b"10", b"9"]
    assert found.numbers(whole).tolist() == [1, 2, 1]
    assert found.numbers(others).tolist() == [0, 2]
    assert Numbering.of([]).known.tolist() == []


@pytest.mark.parametrize("new", [0, 2, 99])
def test_a_label_that_was_not_there(new: int) -> None:
    with pytest.raises(InvalidValueError, match="clusters changed while they were read"):
        Numbering.of([np.array([1, 3])]).numbers(np.array([1, new]))
