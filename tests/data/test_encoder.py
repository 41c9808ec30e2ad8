import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfl.data import Encoding, FeatureEncoder
from dfl.data.encoding.numbers import NumberColumn
from dfl.errors import DataError, InvalidValueError

TABLE = pd.DataFrame(
    {
        "age": [30, 40, 50],
        "city": ["Rome", "Oslo", "Rome"],
        "new": [True, False, True],
        "code": [7, 9, 7],
        "rate": pd.array([0.5, 1.5, 2.5], dtype="Float64"),
        "when": pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"]),
    }
)
ENCODER = FeatureEncoder.fit(TABLE, ["city", "age", "new", "rate"])


def test_numbers_stay_and_text_becomes_one_feature_per_sorted_category() -> None:
    assert ENCODER.feature_names == ("city=Oslo", "city=Rome", "age", "new", "rate")
    features = ENCODER.encode(TABLE)
    assert features.dtype == torch.float32
    assert features.tolist() == [[0, 1, 30, 1, 0.5], [1, 0, 40, 0, 1.5], [0, 1, 50, 1, 2.5]]


def test_codes_are_encoded_by_category_when_asked() -> None:
    encoder = FeatureEncoder.fit(TABLE, ["code"], Encoding(categorical=("code",)))
    assert encoder.feature_names == ("code=7", "code=9")
    assert encoder.encode(TABLE).tolist() == [[1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize("kind", ["category", "str", "object"])
def test_every_kind_of_text_is_understood(kind: str) -> None:
    table = TABLE.assign(city=TABLE["city"].astype(kind))
    encoder = FeatureEncoder.fit(table, ["city"])
    assert encoder.encode(TABLE).tolist() == [[0, 1], [1, 0], [0, 1]]


def test_new_customers_get_the_features_of_the_training_table() -> None:
    customers = TABLE.iloc[[1]].drop(columns=["code", "when"])[["rate", "new", "age", "city"]]
    assert torch.equal(ENCODER.encode(customers), ENCODER.encode(TABLE)[1:2])


@given(
    st.lists(
        st.tuples(st.integers(-1000, 1000), st.sampled_from(["a", "b", "ü", "=x", ""])),
        min_size=1,
        max_size=30,
    )
)
def test_an_encoder_survives_json(values: list[tuple[int, str]]) -> None:
    table = pd.DataFrame(values, columns=["number", "text"])
    encoder = FeatureEncoder.fit(table, ["number", "text"])
    again = FeatureEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again == encoder
    features = again.encode(table)
    assert torch.equal(features, encoder.encode(table))
    assert features[:, 0].tolist() == table["number"].tolist()
    assert features[:, 1:].sum(dim=1).tolist() == [1] * len(table)
    assert [again.feature_names[1 + int(row.argmax())] for row in features[:, 1:]] == [
        f"text={text}" for text in table["text"]
    ]


def test_numeric_names_its_features() -> None:
    assert FeatureEncoder.numeric(["a", "b"]).columns == (NumberColumn("a"), NumberColumn("b"))


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (TABLE.drop(columns="age"), DataError, r"the columns \['age'\], it has"),
        (TABLE.assign(city="Bonn"), InvalidValueError, "'Oslo', 'Rome'.*got 'Bonn' in row 0"),
        (TABLE.assign(age="old"), DataError, "column 'age' must hold numbers, got"),
        (TABLE.assign(age=[1, np.nan, 2]), InvalidValueError, "'age' .*got 1, first in row 1"),
        (TABLE.assign(age=[1, 2, np.inf]), InvalidValueError, "'age' must be finite.*inf in row 2"),
        (TABLE.assign(age=[1, 1e300, 2]), InvalidValueError, r"finite in float32, got 1e\+300"),
        (TABLE.assign(city=["Rome", None, "Rome"]), InvalidValueError, "'city' .*first in row 1"),
        (TABLE.assign(city=[1.5, 2.5, 3.5]), DataError, "'city' must hold text or whole numbers"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    table: pd.DataFrame, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ENCODER.encode(table)


@pytest.mark.parametrize(
    ("columns", "categorical", "error", "message"),
    [
        (["nose"], [], DataError, r"the columns \['nose'\]"),
        (["when"], [], DataError, "'when' must hold text or whole numbers"),
        (["rate"], ["rate"], DataError, "'rate' must hold text or whole numbers"),
        (["age"], ["nose"], DataError, r"the columns \['nose'\]"),
    ],
)
def test_columns_that_cannot_be_encoded_are_refused(
    columns: list[str], categorical: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        FeatureEncoder.fit(TABLE, columns, Encoding(categorical=tuple(categorical)))


def test_an_identifier_is_no_feature() -> None:
    table = pd.DataFrame({"id": [f"customer {row}" for row in range(101)]})
    with pytest.raises(DataError, match="'id' has 101 categories, at most 100"):
        FeatureEncoder.fit(table, ["id"])


def test_features_have_names_of_their_own() -> None:
    table = pd.DataFrame({"a": ["b=c", "d"], "a=b": ["c", "d"]})
    with pytest.raises(DataError, match=r"a name of its own, got \['a=b=c'\] of several columns"):
        FeatureEncoder.fit(table, ["a", "a=b"])


@pytest.mark.parametrize("content", [{}, {"columns": [{"name": "a"}]}, {"columns": 3}])
def test_other_json_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(DataError, match="feature encoder must be"):
        FeatureEncoder.from_dict(content)
