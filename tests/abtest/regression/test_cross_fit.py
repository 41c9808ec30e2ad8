import sys
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from dfl.abtest import CrossFit
from dfl.errors import InvalidValueError
from dfl.scale import Chunks

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((90, 2))
Y = X[:, 0] + 0.1 * DRAW.standard_normal(90)


class Memory:
    """Predicts 1 for rows that it has learned from, else 0."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {}

    def fit(self, X: Any, y: Any) -> "Memory":  # noqa: N803  # scikit-learn's name
        self.seen = {tuple(row) for row in X}
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803  # scikit-learn's name
        return np.array([float(tuple(row) in self.seen) for row in X])


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_no_row_is_predicted_by_a_model_that_saw_it(folds: int) -> None:
    assert (CrossFit(regressor=Memory(), folds=folds).predict(X, Y) == 0).all()


def test_clusters_stay_together() -> None:
    clusters = np.arange(90) // 3
    same = X[3 * (clusters)]  # every row of a cluster has the features of its first row
    found = CrossFit(regressor=Memory()).predict(same, Y, clusters=clusters)
    assert (found == 0).all()
    assert (CrossFit(regressor=Memory()).predict(same, Y) == 1).any()


def test_models_learn_from_the_rows_they_may() -> None:
    arm = np.arange(90) % 2 == 0
    label = np.where(arm, 1.0, 7.0)
    learned = CrossFit(regressor=LinearRegression()).predict(X, label, learn_from=arm)
    assert learned == pytest.approx(np.ones(90))


def test_it_predicts_well_and_the_seed_decides() -> None:
    linear = CrossFit(regressor=LinearRegression()).predict(X, Y)
    assert np.corrcoef(linear, Y)[0, 1] > 0.98
    boosted = CrossFit(seed=1).predict(X, Y)
    assert np.corrcoef(boosted, Y)[0, 1] > 0.5
    assert (boosted == CrossFit(seed=1).predict(X, Y)).all()
    assert (boosted != CrossFit(seed=2).predict(X, Y)).any()


def test_the_regressor_that_was_given_is_not_fitted() -> None:
    regressor = LinearRegression()
    CrossFit(regressor=regressor).predict(X, Y)
    assert not hasattr(regressor, "coef_")


class Broken(Memory):
    def predict(self, X: Any) -> Any:  # noqa: N803  # scikit-learn's name
        return np.full(len(X), np.nan)


def test_mistakes() -> None:
    with pytest.raises(InvalidValueError, match="folds must be >= 2, got 1"):
        CrossFit(folds=1)
    with pytest.raises(
        InvalidValueError, match="at least 2 rows to learn from in each fold, got 1"
    ):
        CrossFit().predict(X[:2], Y[:2])
    with pytest.raises(InvalidValueError, match="regressor must predict finite numbers"):
        CrossFit(regressor=Broken()).predict(X, Y)


@pytest.mark.parametrize("clusters", [None, np.arange(300) // 2])
def test_of_many_rows_every_kth_is_learnt_and_parts_are_shuffled_alone(
    clusters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[CrossFit.__module__]
    seen: list[Any] = []

    class Spy:
        def get_params(self, deep: bool = True) -> dict[str, object]:
            return {}

        def fit(self, X: Any, y: Any) -> None:  # noqa: N803
            seen.append(X[:, 0])

        def predict(self, X: Any) -> Any:  # noqa: N803
            return X[:, 0]

    place = np.arange(300.0)
    whole = CrossFit(regressor=Spy(), folds=3)
    assert whole.predict(place[:, None], place, clusters=clusters).tolist() == place.tolist()
    assert [len(one) for one in seen] == [200, 200, 200]
    monkeypatch.setattr(module, "PARTS", Chunks(7))
    monkeypatch.setattr(module, "_LEARNT", 60)
    thinned, seen = seen, []
    whole.predict(place[:, None], place, clusters=clusters)
    for one, all_rows in zip(seen, thinned, strict=True):
        assert one.tolist() == all_rows[::4].tolist()
    monkeypatch.setattr(module, "_DEALT", Chunks(30))
    monkeypatch.setattr(module, "_LEARNT", 1000)
    seen = []
    assert whole.predict(place[:, None], place, clusters=clusters).tolist() == place.tolist()
    for one in seen:  # of each part, two in three
        units = one if clusters is None else np.unique(one // 2)
        assert np.bincount(units.astype(int) // 30).tolist() == [20] * (
            10 if clusters is None else 5
        )
