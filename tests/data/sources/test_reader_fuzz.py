"""Whatever a table looks like: an error of ours, or exactly the values that stand in it."""

import contextlib
import datetime as dt
import json
import math
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfl.data import DataWarning, FeatureEncoder, LoadedData, load
from dfl.errors import DflError

ODD_NAMES = st.one_of(
    st.sampled_from(
        ["$", "NA", "None", "past, EUR", "a=b", "", " ", "[red]x[/red]", "<b>", "ü", "0"]
    ),
    st.text(max_size=6),
)
LABELS = st.one_of(
    st.sampled_from(["NA", "None", "nan", "null", "", "a,b", '"', "ü", "True", "-", "[red]"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=4),
)
NUMBERS = st.one_of(
    st.integers(-1000, 1000),
    st.integers(-(2**70), 2**70),
    st.floats(width=32),
    st.floats(),
    st.booleans(),
    st.decimals(-1000, 1000, places=2),
)
ODD = st.one_of(
    st.none(),
    st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)),
    st.lists(st.integers(0, 3), max_size=2),
    st.binary(max_size=2),
    st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)),
)


@st.composite
def columns(draw: st.DrawFn, rows: int) -> list[Any]:
    """One column, of one kind or of several."""
    kind = draw(
        st.sampled_from(
            [
                LABELS,
                st.integers(-50, 50),
                st.integers(-(2**63), 2**63 - 1),
                st.floats(),
                st.floats(-1e6, 1e6),
                st.booleans(),
                st.decimals(-1000, 1000, places=2),
                NUMBERS,
                ODD,
                st.one_of(LABELS, NUMBERS, ODD),
                st.none(),
                st.one_of(st.none(), st.floats(-5, 5)),
                st.one_of(st.none(), LABELS),
            ]
        )
    )
    return draw(st.lists(kind, min_size=rows, max_size=rows))


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    """A table with an arm, a revenue and up to three features."""
    rows = draw(st.integers(0, 8))
    names = draw(st.lists(ODD_NAMES, min_size=3, max_size=5, unique=True))
    arms = draw(
        st.sampled_from(
            [
                ["x", "y"],
                [0, 1],
                [0.0, 1.0],
                [True, False],
                ["NA", "None"],
                [Decimal(0), Decimal(1)],
            ]
        )
    )
    found = {names[0]: [arms[row % 2] for row in range(rows)], names[1]: draw(columns(rows))}
    return found | {name: draw(columns(rows)) for name in names[2:]}


def opened(table: Any, names: list[str], arms: list[str], **options: Any) -> LoadedData | None:
    """Open a table, or return nothing where it is refused in our own words."""
    cost = {arm: float(price) for price, arm in enumerate(arms)}
    try:
        return load(table, treatment=names[0], revenue=names[1], cost=cost, **options)
    except DflError:
        return None


def same(stored: float, value: Any) -> bool:
    return stored == float(np.float32(float(value)))


def text(value: Any) -> str:
    return (
        str(int(value))
        if isinstance(value, float | Decimal) and value == int(value)
        else str(value)
    )


def check(found: LoadedData, table: dict[str, list[Any]]) -> None:
    """Compare every value that was read with what stands in the table."""
    (arm, arms), (_, revenue), *features = table.items()
    data = found.data
    assert [data.treatment_names[code] for code in data.treatment.tolist()] == [
        text(a) for a in arms
    ], arm
    assert all(map(same, data.revenue.tolist(), revenue))
    start = 0
    for column, (name, values) in zip(found.encoder.columns, features, strict=True):
        assert column.name == name
        own = data.features[:, start : start + len(column.feature_names)]
        start += len(column.feature_names)
        if column.feature_names == (name,):
            assert all(map(same, own[:, 0].tolist(), values)), name
        else:
            shown = [column.feature_names[code] for code in own.argmax(dim=1).tolist()]
            assert shown == [f"{name}={text(value)}" for value in values]
            assert own.sum(dim=1).eq(1).all()


def frames(table: dict[str, list[Any]]) -> list[Any]:
    """The table in every kind of frame that can hold it."""
    made: list[Any] = [
        pd.DataFrame({name: pd.Series(one, dtype=object) for name, one in table.items()})
    ]
    made.append(made[0].infer_objects())
    for make in (pa.table, pl.DataFrame):
        try:
            made.append(make(table))
        except Exception:  # this kind of frame cannot hold the table at all
            continue
    return made


@settings(max_examples=60)
@given(tables())
def test_any_frame_is_read_exactly_or_refused(table: dict[str, list[Any]]) -> None:
    names = list(table)
    arms = list(dict.fromkeys(text(arm) for arm in table[names[0]])) or ["x"]
    for frame in frames(table):
        found = opened(frame, names, arms)
        if found is not None:
            check(found, table)


@settings(max_examples=40)
@given(table=tables(), other=st.data())
def test_with_every_policy_features_are_finite_or_the_table_is_refused(
    table: dict[str, list[Any]], other: st.DataObject
) -> None:
    names = list(table)
    arms = list(dict.fromkeys(text(arm) for arm in table[names[0]])) or ["x"]
    ways = {"missing": "impute", "unknown": "other"}
    asked = other.draw(st.sampled_from(["categorical", "dates", "hashed", "target"]))
    for frame in frames(table):
        for options in (ways, {**ways, asked: tuple(names[2:])}):
            found = opened(frame, names, arms, **options)
            if found is None:
                continue
            assert bool(found.data.features.isfinite().all())
            again = FeatureEncoder.from_dict(json.loads(json.dumps(found.encoder.to_dict())))
            assert again.encode(frame).tolist() == found.data.features.tolist()
            new = {name: other.draw(columns(3)) for name in names[2:]}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataWarning)
                for scored in frames(new):
                    with contextlib.suppress(DflError):
                        assert bool(again.encode(scored).isfinite().all())


@settings(max_examples=60)
@given(table=tables())
def test_any_parquet_file_is_read_exactly_or_refused(
    tmp_path: Path, table: dict[str, list[Any]]
) -> None:
    names = list(table)
    arms = list(dict.fromkeys(text(arm) for arm in table[names[0]])) or ["x"]
    try:
        pq.write_table(pa.table(table), tmp_path / "t.parquet")
    except (pa.ArrowException, OverflowError):
        return
    found = opened(tmp_path / "t.parquet", names, arms)
    if found is not None:
        check(found, table)


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\r"), max_size=5
).map(lambda word: "x" + word.replace("\x00", "") + "x")


@settings(max_examples=60)
@given(
    st.lists(
        ODD_NAMES.filter(lambda one: "\x00" not in one and "\r" not in one and one.strip()),
        min_size=4,
        max_size=4,
        unique=True,
    ),
    st.lists(
        st.tuples(
            st.floats(-1e6, 1e6, width=32),
            WORDS | st.sampled_from(["NA", "None", "null", "nan"]),
            st.integers(-99, 99),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_a_csv_file_gives_the_same_as_a_frame(
    tmp_path: Path, names: list[str], rows: list[tuple[float, str, int]]
) -> None:
    table = pd.DataFrame([(f"arm {row % 2}", *one) for row, one in enumerate(rows)], columns=names)
    table[names[2]] = table[names[2]].where(table.index > 0, "a label")  # not numbers alone
    table.to_csv(tmp_path / "t.csv", index=False)
    arms = list(dict.fromkeys(table[names[0]]))
    found, again = (opened(one, names, arms) for one in (table, tmp_path / "t.csv"))
    assert (found is None) == (again is None)
    if found is not None and again is not None:
        assert found.encoder == again.encoder
        assert found.data.features.tolist() == again.data.features.tolist()
        assert found.data.revenue.tolist() == again.data.revenue.tolist()
        assert math.isfinite(float(again.data.revenue.sum()))


@settings(max_examples=60)
@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda one: one.encode()))
def test_any_bytes_are_a_table_or_refused(tmp_path: Path, content: bytes) -> None:
    for ending in (".parquet", ".csv", ".csv.gz", ".tsv"):
        file = tmp_path / f"t{ending}"
        file.write_bytes(content)
        assert opened(file, ["a", "b"], ["0"]) is None


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_any_header_and_rows_are_read_or_refused(tmp_path: Path, ending: str) -> None:
    mark = "," if ending == ".csv" else "\t"
    for lines in (
        ["a", "b", "a"],
        ["a", "b", ""],
        ["", "a", "b"],
        ["a", "b", "c d"],
        ["a", "b", '"'],
    ):
        file = tmp_path / f"t{ending}"
        file.write_text(mark.join(lines) + "\n" + mark.join("121") + "\n" + mark.join("342") + "\n")
        opened(file, ["a", "b"], ["1", "3"])
