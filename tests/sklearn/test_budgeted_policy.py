import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

import dfl
from dfl import Budget
from dfl.data import DataWarning
from dfl.errors import (
    DataError,
    InfeasibleBudgetError,
    InvalidValueError,
    ShapeError,
    UnknownNameError,
)
from dfl.methods import TsmSl
from dfl.metrics import expected_outcome
from dfl.sklearn import BudgetedPolicy
from dfl.sklearn.rows import features_of, logged
from tests.sklearn.conftest import HALF, TINY, policy

FRAMES = {
    "pandas": lambda table: table,
    "polars": pl.from_pandas,
    "arrow": pa.Table.from_pandas,
}


def given(shop: pd.DataFrame) -> dict[str, Any]:
    return {"treatment": shop["offer"], "cost": shop["cost"]}


@pytest.fixture(scope="module")
def fitted(shop: pd.DataFrame) -> BudgetedPolicy:
    return policy().fit(shop[["age", "city"]], shop["revenue"], **given(shop))


def test_the_labels_are_those_of_fit_and_the_budget_is_kept(
    shop: pd.DataFrame, fitted: BudgetedPolicy
) -> None:
    chosen = fitted.predict(shop[["age", "city"]])
    assert fitted.treatments_.tolist() == ["10%", "5%", "none"]
    assert set(chosen) <= set(fitted.treatments_)
    cost = fitted.predict_outcomes(shop[["age", "city"]]).cost.to_numpy()
    spent = cost[np.arange(len(shop)), np.searchsorted(fitted.treatments_, chosen)].sum()
    total = HALF.total_of(fitted.predicted(shop[["age", "city"]]).cost)
    assert spent <= total * (1 + 1e-5)


def test_the_score_is_the_doubly_robust_value_at_the_budget(
    shop: pd.DataFrame, fitted: BudgetedPolicy
) -> None:
    features = shop[["age", "city"]]
    rows = logged(fitted, features, shop["revenue"], fit=False, source=None, **given(shop))["rct"]
    predicted = fitted.predicted(features)
    (true,) = expected_outcome(rows, predicted.revenue, predicted.cost, [HALF])
    assert fitted.score(features, shop["revenue"], **given(shop)) == true.value
    dear = clone(fitted).set_params(budget=Budget(share=1.0))
    dear.fit(features, shop["revenue"], **given(shop))
    assert dear.score(features, shop["revenue"], **given(shop)) > true.value


def test_a_new_category_passes_as_the_error_says(
    shop: pd.DataFrame, fitted: BudgetedPolicy
) -> None:
    new = shop[["age", "city"]].assign(city="Atlantis")
    with pytest.raises(InvalidValueError, match="before BudgetedPolicy, by a OneHotEncoder"):
        fitted.predict(new)
    gap = shop[["age", "city"]].assign(age=np.nan)
    with pytest.raises(InvalidValueError, match="before BudgetedPolicy, put a SimpleImputer"):
        fitted.predict(gap)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = make_column_transformer((encoder, ["city"]), (SimpleImputer(), ["age"]))
    features = columns.fit_transform(shop)
    own = policy().fit(features, shop["revenue"], **given(shop))
    for odd in (new, gap):
        assert len(own.predict(columns.transform(odd))) == len(shop)


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_every_kind_come_in_and_go_out(
    shop: pd.DataFrame, fitted: BudgetedPolicy, kind: str
) -> None:
    table = FRAMES[kind](shop)
    names = ["age", "city"]
    features = table.select(names) if kind != "pandas" else table[names]
    again = policy().fit(features, table["revenue"], treatment=table["offer"], cost=table["cost"])
    assert (again.predict(features) == fitted.predict(shop[names])).all()
    revenue, cost = again.predict_outcomes(features)
    assert type(revenue) is type(features)
    assert type(cost) is type(features)
    columns = revenue.column_names if kind == "arrow" else revenue.columns
    assert list(columns) == ["10%", "5%", "none"]


def test_outcomes_keep_the_index_of_a_pandas_frame(
    shop: pd.DataFrame, fitted: BudgetedPolicy
) -> None:
    some = shop[["age", "city"]].iloc[[7, 3, 300]]
    assert fitted.predict_outcomes(some).revenue.index.tolist() == [7, 3, 300]


def test_arrays_come_in_and_go_out(shop: pd.DataFrame) -> None:
    features = shop[["age"]].to_numpy()
    found = policy().fit(features, shop["revenue"].to_numpy(), **given(shop))
    assert found.encoder_ is None
    assert found.predict_outcomes(features).cost.shape == (400, 3)


def test_it_is_pickled_and_cloned(shop: pd.DataFrame, fitted: BudgetedPolicy) -> None:
    features = shop[["age", "city"]]
    again = pickle.loads(pickle.dumps(fitted))
    assert (again.predict(features) == fitted.predict(features)).all()
    fresh = clone(fitted).fit(features, shop["revenue"], **given(shop))
    assert (fresh.predict(features) == fitted.predict(features)).all()


def test_observational_rows_train_and_do_not_score(shop: pd.DataFrame) -> None:
    features, source = shop[["age"]], np.array(["rct", "obs"])[np.arange(400) % 2]
    found = policy(method="tsm-sl").fit(features, shop["revenue"], source=source, **given(shop))
    half = shop[source == "rct"]
    assert found.score(features, shop["revenue"], source=source, **given(shop)) == found.score(
        half[["age"]], half["revenue"], **given(half)
    )
    with pytest.raises(InvalidValueError, match="score needs randomised rows: what a policy earns"):
        found.score(features, shop["revenue"], source="obs", **given(shop))
    with pytest.raises(DataError, match="TsmSl trains on rct and obs rows, got no obs rows"):
        policy(method="tsm-sl").fit(features, shop["revenue"], **given(shop))


def test_a_method_comes_by_name_with_options_or_as_an_object(shop: pd.DataFrame) -> None:
    features = shop[["age"]]
    named = policy(method="tsm-sl", options={"rows": "rct"})
    built = policy(method=TsmSl(rows="rct", training=TINY), training=None)
    choices = [
        one.fit(features, shop["revenue"], **given(shop)).predict(features)
        for one in (named, built)
    ]
    assert (choices[0] == choices[1]).all()
    default = BudgetedPolicy(budget=HALF, validation=0)
    assert default.fit(features, shop["revenue"], **given(shop)).model_.treatments == 3


def test_randomness_may_be_left_to_chance(shop: pd.DataFrame) -> None:
    assert policy(random_state=3)._seed() == 3
    left = policy(random_state=None)
    assert len({left._seed() for _ in range(9)}) > 1
    drawn = [policy(random_state=np.random.RandomState(1))._seed() for _ in range(2)]
    assert drawn[0] == drawn[1]
    left.fit(shop[["age"]], shop["revenue"], **given(shop))


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"budget": None}, InvalidValueError, "budget must be a Budget, got None; say how much"),
        ({"budget": 0.3}, InvalidValueError, "budget must be a Budget, got 0.3; say how much"),
        ({"method": None}, InvalidValueError, "method must be a name, or a method .*, got None"),
        ({"random_state": 1.5}, InvalidValueError, "random_state must be a whole number"),
        ({"method": "tsm"}, UnknownNameError, "'tsm' is not among the methods"),
        ({"solver": "greedy"}, UnknownNameError, "'greedy' is not among the solvers"),
        ({"validation": 1.0}, InvalidValueError, r"validation must be in \[0, 1\), got 1"),
        (
            {"options": {"row": 1}},
            InvalidValueError,
            "'tsm-sl-rct' has no option row; it has network, training, rows",
        ),
        (
            {"method": TsmSl()},
            InvalidValueError,
            "options and training belong to a method given by name; .* got TsmSl",
        ),
    ],
)
def test_options_that_are_refused_before_training(
    shop: pd.DataFrame, options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        policy(**options).fit(shop[["age"]], shop["revenue"], **given(shop))


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"treatment": None}, InvalidValueError, "needs treatment beside X and revenue, got none"),
        ({"cost": None}, InvalidValueError, "enable_metadata_routing=True.* first, then pass"),
        ({"cost": np.zeros(3)}, ShapeError, "cost must have one entry per row of X, 400, got 3"),
        ({"cost": np.full(400, -1.0)}, InvalidValueError, "cost must be >= 0"),
        ({"cost": np.full(400, np.nan)}, ValueError, "Input cost contains NaN"),
        (
            {"treatment": np.zeros(400)},
            InvalidValueError,
            r"at least two treatments, got \[0.0\] alone in 400 samples",
        ),
        (
            {"treatment": np.where(np.arange(400) < 9, np.nan, 1.0)},
            InvalidValueError,
            "treatment must be known in every row, got missing values",
        ),
        (
            {"treatment": np.array([None, "a"] * 200, dtype=object)},
            InvalidValueError,
            "treatment must hold labels of one kind, none of them missing",
        ),
        (
            {"treatment": np.ma.masked_equal(np.arange(400) % 3, 2)},
            InvalidValueError,
            "treatment must be known in every row, got 133 masked entries",
        ),
        ({"cost": 1.0}, ShapeError, r"cost must have one entry per row of X, 400, got 1\.0"),
        (
            {"source": "RCT"},
            InvalidValueError,
            r"source must hold 'rct' .* or 'obs', got \['RCT'\]",
        ),
    ],
)
def test_metadata_that_is_refused(
    shop: pd.DataFrame, changed: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        policy().fit(shop[["age"]], shop["revenue"], **{**given(shop), **changed})


def test_tensors_are_taken_with_their_graph_and_masked_features_are_missing(
    shop: pd.DataFrame,
) -> None:
    table = shop[["age"]].to_numpy(np.float32)
    plain = {"source": None, "treatment": shop["offer"].to_numpy(), "cost": shop["cost"].to_numpy()}
    expected = logged(policy(), table, shop["revenue"].to_numpy(), fit=True, **plain)["rct"]
    numbers = (table, shop["revenue"], shop["cost"])
    learned = [torch.tensor(np.asarray(one), requires_grad=True) for one in numbers]
    given_so = plain | {"cost": learned[2]}
    rows = logged(policy(), learned[0], learned[1], fit=True, **given_so)["rct"]
    assert rows.features.equal(expected.features)
    assert not rows.features.requires_grad
    assert rows.revenue.equal(expected.revenue)
    assert rows.cost.equal(expected.cost)
    half = features_of(policy(), learned[0].bfloat16(), fit=True)
    assert half.equal(learned[0].detach().bfloat16().float())
    with pytest.raises(InvalidValueError, match="X must be known in every row, got 1 masked"):
        features_of(policy(), np.ma.masked_equal(table, table[3, 0]), fit=True)


def test_features_of_one_name_are_refused(shop: pd.DataFrame) -> None:
    twice = shop[["age", "cost"]].set_axis(["age", "age"], axis=1)
    with pytest.raises(DataError, match="must name every column once, 'age' comes more than once"):
        features_of(policy(), twice, fit=True)


def test_amounts_that_float32_would_round_together_are_refused(
    shop: pd.DataFrame, fitted: BudgetedPolicy
) -> None:
    features, revenue = shop[["age", "city"]], shop["revenue"]
    said = r"{} lies near .* float32 rounds by .* Subtract a constant from every row"
    for use in (policy().fit, fitted.score):
        with pytest.raises(InvalidValueError, match=said.format("y")):
            use(features, revenue + 1e8, **given(shop))
        with pytest.raises(InvalidValueError, match=said.format("cost")):
            use(features, revenue, **{**given(shop), "cost": shop["cost"] + 1e9})
    with pytest.raises(
        InvalidValueError, match=r"y must be known and finite .*, first 1e\+39 in row"
    ):
        policy().fit(features, revenue * 1e39 / revenue.iloc[0], **given(shop))


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_features_of_an_array_that_float32_would_round_together_are_warned_of(kind: type) -> None:
    table = np.stack([np.arange(60), 1_700_000_000 + np.arange(60)], axis=1).astype(kind)
    asked = policy()
    with pytest.warns(DataWarning, match=r"column 'x1' lies near .* float32 rounds by"):
        features = features_of(asked, table, fit=True)
    assert features.dtype == torch.float32
    assert features_of(asked, table, fit=False).equal(features)


def test_rows_to_score_that_are_refused(shop: pd.DataFrame, fitted: BudgetedPolicy) -> None:
    features, revenue = shop[["age", "city"]], shop["revenue"]
    with pytest.raises(InvalidValueError, match="score needs treatment and cost beside X"):
        fitted.score(features, revenue)
    with pytest.raises(InvalidValueError, match=r"one of \['10%', '5%', 'none'\], .* got \['0%'\]"):
        fitted.score(features, revenue, treatment=["0%"] * 400, cost=shop["cost"])
    objects, known = policy(), {"source": None, "cost": shop["cost"]}
    logged(objects, features, revenue, fit=True, treatment=shop["offer"].astype(object), **known)
    with pytest.raises(InvalidValueError, match=r"treatment must be one of .* got \[0\]"):
        logged(objects, features, revenue, fit=False, treatment=np.zeros(400, int), **known)
    one = shop[shop["offer"] != "5%"]
    with pytest.raises(InvalidValueError, match=r"no row with \['5%'\]; in cross-validation take"):
        fitted.score(one[["age", "city"]], one["revenue"], **given(one))
    with pytest.raises(
        DataError, match=r"frame with the columns \['age', 'city'\], as in fit, got"
    ):
        fitted.predict(np.zeros((3, 2)))
    with pytest.raises(NotFittedError):
        policy().predict(features)
    poor = clone(fitted).set_params(budget=Budget(per_head=0.1))
    costly = {"treatment": shop["offer"], "cost": shop["cost"] + 1}
    with pytest.raises(InfeasibleBudgetError, match="raise the budget"):
        poor.fit(features, revenue, **costly).score(features, revenue, **costly)


def test_dfl_alone_does_not_import_scikit_learn() -> None:
    assert "sklearn" in dir(dfl)
    assert dfl.sklearn.BudgetedPolicy is BudgetedPolicy
