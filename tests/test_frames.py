import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dfl.errors import DataError, InvalidValueError
from dfl.frames import Column, Factor, Frame, label_text

VALUES: dict[str, list[Any]] = {
    "whole": [3, 1, None],
    "float": [0.0, 1.0, -0.0],
    "truth": [True, False, None],
    "text": ["b", "", "NA"],
    "money": [Decimal("1.50"), Decimal("2"), None],
    "since": [dt.date(2024, 1, 2), None, dt.date(1969, 12, 31)],
    "at": [dt.datetime(1970, 1, 1, 12), dt.datetime(1970, 1, 2), None],
    "wait": [dt.timedelta(hours=12), dt.timedelta(days=2), None],
    "empty": [None, None, None],
    "lists": [[1], [2], []],
}
NUMBERS = {
    "whole": [3, 1, np.nan],
    "float": [0, 1, 0],
    "truth": [1, 0, np.nan],
    "money": [1.5, 2, np.nan],
    "empty": [np.nan] * 3,
}
DAYS = {"since": [19724, np.nan, -1], "at": [0.5, 1, np.nan], "wait": [0.5, 2, np.nan]}
LABELS = {
    "whole": ["3", "1", None],
    "float": ["0", "1", "0"],
    "truth": ["True", "False", None],
    "text": ["b", "", "NA"],
    "money": ["1.5", "2", None],
    "since": ["2024-01-02", None, "1969-12-31"],
    "empty": [None] * 3,
}
KINDS: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "pandas": lambda values: pd.DataFrame(values, index=[7, 7, 9]),
    "pandas of Arrow": lambda values: pa.table(values).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": pl.DataFrame,
    "Arrow": pa.table,
}


def same(found: Any, expected: list[float]) -> None:
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected, dtype=float))


def labels(factor: Factor) -> list[str | None]:
    return [factor.labels[code] if code >= 0 else None for code in factor.codes.tolist()]


@pytest.fixture(params=KINDS)
def frame(request: pytest.FixtureRequest) -> Frame:
    """The same table in every kind of frame."""
    return Frame.of(KINDS[request.param](VALUES))


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_the_same_from_every_kind_of_frame(frame: Frame, name: str) -> None:
    same(frame.column(name).numbers(), NUMBERS[name])


@pytest.mark.parametrize("name", DAYS)
def test_dates_are_days_since_1970(frame: Frame, name: str) -> None:
    same(frame.column(name).days(), DAYS[name])


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_the_same_from_every_kind_of_frame(frame: Frame, name: str) -> None:
    factor = frame.column(name).factor()
    assert labels(factor) == LABELS[name]
    assert len(factor.labels) == len(set(factor.labels))


@pytest.mark.parametrize("name", sorted(VALUES.keys() - NUMBERS.keys()))
def test_what_is_no_number_is_named_with_its_first_value(frame: Frame, name: str) -> None:
    with pytest.raises(DataError, match=f"column '{name}' must hold numbers, got .*first"):
        frame.column(name).numbers()


def test_what_is_no_date_or_label_is_refused(frame: Frame) -> None:
    with pytest.raises(DataError, match=r"column 'text' must hold dates, got .*'b'"):
        frame.column("text").days()
    with pytest.raises(DataError, match="column 'lists' must hold labels"):
        frame.column("lists").factor()


@pytest.mark.parametrize("kind", [pa.string_view(), pa.list_view(pa.string())])
def test_kinds_that_arrow_cannot_filter_are_named_with_their_first_value(kind: Any) -> None:
    values = pa.array([None, "b"] if kind == pa.string_view() else [None, ["b"]], kind)
    with pytest.raises(DataError, match=r"must hold numbers, got .*view.*, first \[?'b'"):
        Frame.of(pa.table({"x": values})).column("x").numbers()


def test_intervals_of_pandas_are_no_labels() -> None:
    binned = pd.cut(pd.Series([0.0, 1.0, 2.0]), 2)
    with pytest.raises(DataError, match=r"column 'x' must hold labels, got .*interval"):
        column(binned).factor()


def test_labels_in_single_precision_are_read_as_they_are_written() -> None:
    found = column(np.array([0.1, 123456789, np.nan, 0.1], np.float32)).factor()
    assert found.labels == ("0.1", "123456792")
    assert found.codes.tolist() == [0, 1, -1, 0]


def test_sparse_columns_are_refused() -> None:
    with pytest.raises(DataError, match=r"column 'x' must be dense, .* by \.sparse\.to_dense\(\)"):
        column(pd.arrays.SparseArray([0.0, 1.0]))


def test_labels_that_are_missing_name_their_rows(frame: Frame) -> None:
    with pytest.raises(InvalidValueError, match=r"'truth' .* missing in 1 of 3, first in row 2"):
        frame.column("truth").known_factor()
    assert labels(frame.column("float").known_factor()) == LABELS["float"]


def test_all_missing_columns_are_named_at_once(frame: Frame) -> None:
    with pytest.raises(DataError, match=r"must have the columns \['x', 'y'\], it has \['whole'"):
        frame.require(["x", "text", "y", "x"])
    assert len(frame) == 3
    assert frame.names == tuple(VALUES)


def column(values: Any) -> Column:
    return Frame.of(pd.DataFrame({"x": values})).column("x")


def test_numbers_are_ordered_as_numbers_and_text_as_text() -> None:
    assert column([10, 9, 10]).factor().labels == ("9", "10")
    assert column([1.5, -2.0, 0.5]).factor().labels == ("-2", "0.5", "1.5")
    assert column(["10", "9"]).factor().labels == ("10", "9")


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(["a", pd.NA, "b"], dtype="string"),
        pd.Series(["a", None, "b"], dtype="category"),
        pd.Series(["a", np.nan, "b"], dtype=object),
        pd.Series(["a", None, "b"], dtype="str"),
    ],
    ids=["string", "category", "object", "str"],
)
def test_text_of_pandas_with_missing_values(values: "pd.Series[Any]") -> None:
    factor = column(values).factor()
    assert factor.labels == ("a", "b")
    assert factor.codes.tolist() == [0, -1, 1]


def test_whole_numbers_beyond_float64_are_labels_but_no_numbers() -> None:
    for large in (2**53 + 1, -(2**53) - 1, 2**63 + 1):
        held = column(pd.Series([large, 1], dtype="uint64" if large > 2**63 else "int64"))
        assert str(large) in held.factor().labels
        with pytest.raises(DataError, match=r"'x' holds whole numbers above 2\*\*53"):
            held.numbers()
    with pytest.raises(DataError, match=r"'x' holds whole numbers above 2\*\*53"):
        column([Decimal(2**53 + 1), Decimal(1)]).numbers()
    same(column([2**53, None]).numbers(), [2.0**53, np.nan])
    same(column([Decimal(2**53), None]).numbers(), [2.0**53, np.nan])


@pytest.mark.parametrize(
    "values", [[1, "a"], [2**70, 1], ["a", [1]], [dt.date(2024, 1, 1), "x"], [object(), object()]]
)
def test_values_of_several_kinds_are_refused(values: list[Any]) -> None:
    with pytest.raises(DataError, match="column 'x' must hold values of one kind"):
        column(pd.Series(values, dtype=object))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame(np.zeros((3, 2)), columns=["a", "a"]), "every column once, 'a' comes more"),
        (pa.table([[1], [2]], names=["a", "a"]), "every column once, 'a' comes more than once"),
        (pd.DataFrame(np.zeros((3, 2))), r"names of columns must be text, got \[0, 1\]"),
        (pd.DataFrame({("a", "b"): [1]}), "names of columns must be text"),
        (pl.DataFrame({"a\0b": [1]}), "names of columns must be text"),
        (pl.LazyFrame({"a": [1]}), "a frame in memory .*, got LazyFrame; collect"),
        ({"a": [1]}, "a frame in memory .*, got dict"),
        (np.zeros((2, 2)), "a frame in memory .*, got ndarray"),
        (None, "a frame in memory .*, got NoneType"),
    ],
)
def test_what_is_no_table_is_refused(table: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Frame.of(table)


def test_frames_are_put_end_to_end() -> None:
    whole = Frame.of(pd.DataFrame({"a": [1, 2]}))
    both = Frame.concat([whole, Frame.of(pl.DataFrame({"a": [0.5]}))])
    same(both.column("a").numbers(), [1, 2, 0.5])
    assert Frame.of(both) is both
    with pytest.raises(DataError, match=r"not fit together .* write each column with one type"):
        Frame.concat([whole, Frame.of(pd.DataFrame({"a": ["x"]}))])


@pytest.mark.parametrize("text", [pa.string(), pa.large_string()])
def test_categories_of_text_are_put_behind_text(text: Any) -> None:
    plain, coded = pa.array(["b", "a"], text), pa.array(["a", None]).dictionary_encode()
    for held in ((plain, coded), (coded, plain), (coded, plain.dictionary_encode())):
        both = Frame.concat([Frame.of(pa.table({"a": one})) for one in held]).column("a")
        assert (both.kind, both.factor().labels) == ("text", ("a", "b"))
        assert len(both.values) == 4


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.0, "1"),
        (-0.0, "0"),
        (0.05, "0.05"),
        (1e300, "1e+300"),
        (Decimal("5.00"), "5"),
        (Decimal("0.050"), "0.05"),
        (Decimal("1" * 40), "1" * 40),
        (Decimal("1E+3"), "1000"),
        (True, "True"),
        ("5%", "5%"),
        ("", ""),
        (None, None),
        (float("nan"), None),
    ],
)
def test_one_label_has_one_text(value: object, text: str | None) -> None:
    assert label_text(value) == text


def test_text_can_be_read_as_the_labels_of_numbers() -> None:
    text = ["007", "7", "K1A", None, "-2.0", "NA", " 7 ", "1_0", "1e3", "9" * 30]
    found = column(text).factor().of_numbers()
    assert labels(found) == ["7", "7", "K1A", None, "-2", None, "7", "1_0", "1e3", "9" * 30]
    assert len(set(found.labels)) == len(found.labels)


def test_places_among_other_labels() -> None:
    factor = column(["b", "a", None, "c"]).factor()
    assert factor.places_in(["c", "b"]).tolist() == [1, -1, -1, 0]
