"""How a column becomes features: what is missing, unknown, a date, or one of too many."""

import datetime as dt
import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dfl.data import DataWarning, Encoding, FeatureEncoder
from dfl.errors import DataError, InvalidValueError


def encoder(values: Any, **options: Any) -> FeatureEncoder:
    found = FeatureEncoder.fit(pd.DataFrame({"x": values}), ["x"], Encoding(**options))
    assert FeatureEncoder.from_dict(found.to_dict()) == found
    return found


def encoded(found: FeatureEncoder, values: Any) -> list[list[float]]:
    return found.encode(pd.DataFrame({"x": values})).tolist()  # type: ignore[no-any-return]


IMPUTE = {"missing": "impute"}
OTHER = {"unknown": "other"}


def test_decimals_are_numbers_in_training_and_in_scoring() -> None:
    found = encoder([Decimal("1.50"), Decimal("2.25")])
    assert found.feature_names == ("x",)
    for value in (Decimal("1.75"), 1.75, "1.75"):
        if isinstance(value, str):
            with pytest.raises(DataError, match=r"'x' must hold numbers, got .*'1.75'"):
                encoded(found, [value])
        else:
            assert encoded(found, [value]) == [[1.75]]


def test_single_precision_is_taken_as_it_is_and_checked() -> None:
    single = np.array([1.5, -2.25, 1e30], np.float32)
    found = encoder(single)
    assert encoded(found, single) == encoded(found, single.astype(np.float64))
    for wrong, message in (
        (np.nan, "no missing value, got 1"),
        (np.inf, "must be finite in float32"),
    ):
        single[1] = wrong
        with pytest.raises(InvalidValueError, match=message):
            encoded(found, single)
    assert encoded(encoder(single[:1], **IMPUTE), single[:1]) == [[1.5]]


def test_numbers_that_float32_would_round_together_are_warned_of() -> None:
    seconds = 1_700_000_000 + np.arange(300) % 60
    said = r"'x' lies near .* float32 rounds by .* Subtract a constant first: instead of a time"
    for values in (seconds, np.where(np.arange(300) % 7, seconds, np.nan)):
        with pytest.warns(DataWarning, match=said):
            encoder(values, **IMPUTE)
    with pytest.warns(DataWarning, match=said):
        encoder(pd.to_datetime(seconds * 10**9), dates=("x",))
    years = 1_700_000_000 + np.arange(300) * 86_400 * 7
    for values in (years, seconds * 0 + 7, [1e300, -1e300, np.inf], seconds.astype(np.float32)):
        encoder(values)


@pytest.mark.parametrize(
    "values",
    [
        [dt.date(2024, 1, 1), dt.date(2024, 1, 2)],
        pd.to_datetime(["2024-01-01", "2024-01-02"]),
        pd.to_datetime(["2024-01-01", "2024-01-02"]).tz_localize("UTC"),
        [dt.timedelta(1), dt.timedelta(2)],
    ],
    ids=["date", "datetime", "with a time zone", "duration"],
)
def test_dates_are_refused_or_numbers_when_asked(values: Any) -> None:
    with pytest.raises(DataError, match=r"'x' must hold text or whole numbers .* named in dates"):
        encoder(values)
    found = encoder(values, dates=("x",))
    first, second = encoded(found, values)
    assert second[0] - first[0] == 1
    with pytest.raises(DataError, match="'x' must hold dates, got"):
        encoded(found, [1.0])


def test_a_date_far_from_training_is_a_number_too() -> None:
    found = encoder([dt.date(2024, 1, 1)], dates=("x",))
    assert encoded(found, [dt.date(2024, 2, 15)]) == [[19723 + 45]]


def test_missing_numbers_become_the_mean_and_are_marked() -> None:
    found = encoder([1.0, np.nan, 3.0], **IMPUTE)
    assert found.feature_names == ("x", "x (missing)")
    assert encoded(found, [5.0, None]) == [[5, 0], [2, 1]]


def test_missing_values_that_training_did_not_have_are_warned_of() -> None:
    found = encoder([1.0, 3.0], **IMPUTE)
    assert found.feature_names == ("x",)
    with pytest.warns(DataWarning, match="'x' misses values and did not in training"):
        assert encoded(found, [None]) == [[2]]
    text = encoder(["a", "b"], **IMPUTE)
    with pytest.warns(DataWarning, match=r"'x' misses values .* count as no category"):
        assert encoded(text, [None]) == [[0, 0]]


def test_missing_categories_are_a_feature_of_their_own() -> None:
    found = encoder(["a", None, "b"], **IMPUTE)
    assert found.feature_names == ("x=a", "x=b", "x (missing)")
    assert encoded(found, ["b", None]) == [[0, 1, 0], [0, 0, 1]]


def test_without_being_asked_nothing_may_be_missing() -> None:
    for known, gap in ([1.0], [np.nan, 2.0]), (["a"], [None, "a"]):
        with pytest.raises(InvalidValueError, match="'x' must have no missing value, got 1, first"):
            encoded(encoder(known), gap)
    with pytest.raises(InvalidValueError, match="'x' has no value in any row"):
        encoder([None, None], **IMPUTE)


def test_rare_categories_teach_what_an_unknown_one_means() -> None:
    found = encoder(["a"] * 20 + ["b"] * 10 + ["c"] * 9, **OTHER)
    assert found.feature_names == ("x=a", "x=b", "x (other)")
    assert encoded(found, ["b", "c", "new"]) == [[0, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_an_unknown_category_without_rare_ones_is_warned_of() -> None:
    found = encoder(["a"] * 20 + ["b"] * 10, **OTHER)
    assert found.feature_names == ("x=a", "x=b")
    with pytest.warns(DataWarning, match="'x' holds values that training did not, such as 'new'"):
        assert encoded(found, ["b", "new"]) == [[0, 1], [0, 0]]


def test_one_new_city_is_refused_without_being_asked() -> None:
    with pytest.raises(InvalidValueError, match=r"one of \['a'\], got 'b' in row 1; .*unknown="):
        encoded(encoder(["a"]), ["a", "b", "c"])


def test_both_policies_together() -> None:
    values = ["a"] * 12 + ["b", None]
    found = encoder(values, **IMPUTE, **OTHER)
    assert found.feature_names == ("x=a", "x (other)", "x (missing)")
    assert encoded(found, ["a", "z", None]) == np.eye(3).tolist()


def test_many_categories_are_pooled_hashed_or_refused() -> None:
    many = [f"city {row % 150}" for row in range(3000)]
    with pytest.raises(DataError, match=r"'x' has 150 categories, at most 100 .* hashed or target"):
        encoder(many)
    assert len(encoder(many, **OTHER).feature_names) == 100
    found = encoder(many, hashed=("x",))
    assert len(found.feature_names) == 32
    features = torch.tensor(encoded(found, [*many, "never seen"]))
    assert bool((features.abs().sum(dim=1) == 1).all())
    assert torch.equal(features[0], features[150])
    with pytest.raises(InvalidValueError, match="'x' must have no missing value"):
        encoded(found, [None, "a"])
    assert len(encoded(encoder(many, hashed=("x",), **IMPUTE), [None, "a"])) == 2


def test_a_column_is_encoded_in_one_way() -> None:
    with pytest.raises(InvalidValueError, match=r"named in hashed or in target, got \['x'\]"):
        Encoding(hashed=("x",), target=("y", "x"))
    with pytest.raises(InvalidValueError, match=r"named in categorical or in dates, got \['x'\]"):
        Encoding(categorical=("x",), dates=("x",))
    assert Encoding(categorical=("x",), hashed=("x",)).named == ("x", "x")


def test_codes_are_text_and_fractions_are_not() -> None:
    found = encoder([10, 9, 10], categorical=("x",))
    assert found.feature_names == ("x=10", "x=9")
    assert encoded(found, [9.0]) == [[0, 1]]
    with pytest.raises(DataError, match="'x' must hold text or whole numbers"):
        encoder([0.5, 1.0], categorical=("x",))


def test_policies_are_words() -> None:
    with pytest.raises(InvalidValueError, match="missing must be one of 'refuse', 'impute', got"):
        Encoding(missing="drop")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="unknown must be one of 'refuse', 'other', got"):
        Encoding(unknown="zeros")  # type: ignore[arg-type]


def test_an_encoder_of_an_older_run_is_read() -> None:
    old = {"columns": [{"name": "age", "categories": None}, {"name": "x", "categories": ["a"]}]}
    found = FeatureEncoder.from_dict(old)
    assert found.encode(pd.DataFrame({"age": [3], "x": ["a"]})).tolist() == [[3, 1]]


@pytest.mark.parametrize(
    "options", [{"categorical": ("x",)}, {"hashed": ("x",)}, {"target": ("x",)}]
)
def test_one_new_code_of_text_leaves_the_meaning_of_the_other_codes(options: Any) -> None:
    found = encoder([501, 602, 703] * 4, **options, **OTHER)
    assert found.text == ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        mixed = encoded(found, ["0501", "602", "K1A"])
    assert mixed[:2] == encoded(found, [501, 602])


def test_a_new_code_of_text_among_numbers_is_named() -> None:
    found = encoder([501, 602], categorical=("x",))
    with pytest.raises(InvalidValueError, match=r"one of \['501', '602'\], got 'K1A' in row 1"):
        encoded(found, ["0501", "K1A"])


@pytest.mark.parametrize("options", [{}, {"hashed": ("x",)}, {"target": ("x",)}])
def test_codes_of_text_keep_their_zeros(options: Any) -> None:
    found = encoder(["0501", "501"], **options)
    assert found.text == ("x",)
    first, second = encoded(found, ["0501", "501"])
    assert first != second


def test_an_encoder_that_does_not_say_whether_codes_are_text_takes_them_as_they_come() -> None:
    content = encoder(["0501", "501"]).to_dict()
    del content["columns"][0]["text"]
    found = FeatureEncoder.from_dict(content)
    assert found.text == ()
    assert encoded(found, ["0501", "501"]) == [[1, 0], [0, 1]]
