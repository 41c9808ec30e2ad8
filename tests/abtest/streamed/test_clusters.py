import numpy as np
import pytest

from dfl.abtest.streamed.clusters import Clusters
from dfl.errors import InvalidValueError

ROWS = np.array([2, 0, 1, 2, 0])
CODES = np.array([1, 0, 0, 1, 0], np.int16)


def test_members_and_means() -> None:
    found = Clusters.of(("a", "b"), CODES, ROWS)
    assert found.members("a").tolist() == [True, True, False]
    assert found.members("b").tolist() == [False, False, True]
    assert found.means(np.array([1.0, 2.0, 3.0, 5.0, 8.0])).tolist() == [5, 3, 3]


def test_a_cluster_in_two_arms() -> None:
    with pytest.raises(InvalidValueError, match="one arm each, 1 rows are in another arm than"):
        Clusters.of(("a", "b"), 1 - CODES * np.array([1, 1, 1, 0, 1], np.int16), ROWS)
