"""``dfl ab`` on the tables that people have: labels, numbers and names of every kind."""

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.outcome import Dfl
from tests.data.conftest import write

ROWS = 900
ARM = np.arange(ROWS) // 3 % 2
COLUMNS = ("--treatment", "arm", "--metric", "spend", "--estimator", "difference-in-means")


def trial(**columns: Any) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    table = {"arm": ARM, "spend": draw.normal(size=ROWS) + ARM, "x": draw.normal(size=ROWS)}
    return pd.DataFrame(table | columns)


@pytest.fixture
def effect(dfl: Dfl, tmp_path: Path) -> Any:
    """Runs ``dfl ab`` and returns the first effect."""

    def measure(file: Path, *arguments: object) -> Any:
        output = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        done = dfl("ab", file, *COLUMNS, "-o", output, *arguments)
        assert done.code == 0, done.text
        return json.loads((output / "readout.json").read_text())["readings"][0]["effect"]

    return measure


def naive(spend: Any) -> float:
    return float(np.mean(spend[ARM == 1]) - np.mean(spend[ARM == 0]))


ARMS = [
    (["None", "5%"], "None", ("None=1", "5%=1")),
    (["NA", "EU"], "NA", ("NA=1", "EU=1")),
    ([0.0, 1.0], "0", ("0=1", "1=1")),
    ([False, True], "False", ("False=1", "True=1")),
    ([False, True], "0", ("0=1", "1=1")),
    ([Decimal("0.05"), Decimal("0.10")], "0.05", ("0.05=1", "0.1=1")),
    (["a,b", "[red]c[/red]"], "a,b", ("a,b=1", "[red]c[/red]=1")),
    ([dt.date(2024, 1, 1), dt.date(2024, 1, 2)], "2024-01-01", ("2024-01-01=1", "2024-01-02=1")),
]


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
@pytest.mark.parametrize(("arms", "control", "shares"), ARMS)
def test_arms_of_every_kind_can_be_named(
    effect: Any, tmp_path: Path, name: str, arms: list[Any], control: str, shares: tuple[str, ...]
) -> None:
    table = trial()
    table["arm"] = [arms[arm] for arm in ARM]
    file = write(table, tmp_path / name)
    found = effect(file, "--control", control, "--share", shares[0], "--share", shares[1])
    assert found["estimate"] == pytest.approx(naive(table["spend"].to_numpy()))


def test_a_saved_index_names_clusters(effect: Any, tmp_path: Path) -> None:
    table = trial().set_index(pd.Index(np.arange(ROWS) // 3, name="user"))
    table.to_parquet(tmp_path / "t.parquet")
    found = effect(tmp_path / "t.parquet", "--clusters", "user")
    assert found["estimate"] == pytest.approx(naive(table["spend"].to_numpy()))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
@pytest.mark.parametrize("first", [2**63 - 100, 9 * 10**19])
def test_identifiers_beyond_int64_name_anything(
    effect: Any, tmp_path: Path, name: str, first: int
) -> None:
    user = np.arange(ROWS) // 3
    plain = effect(write(trial(user=user), tmp_path / "plain.parquet"), "--clusters", "user")
    table = trial(user=[Decimal(first + int(one)) for one in user])
    table["city"] = [Decimal(first + int(one) % 2) for one in user]
    table["arm"] = [Decimal(int(one) and first + 200) for one in ARM]
    if first < 2**63:  # half of them beyond
        table = table.astype(dict.fromkeys(("user", "city", "arm"), "uint64"))
    asked = ("--clusters", "user", "--segment", "city")
    found = effect(
        write(table, tmp_path / name), *asked, "--share", f"{first + 200}=1", "--share", "0=1"
    )
    assert found == plain | {"arm": str(first + 200)}


def test_money_as_decimals_is_a_metric(effect: Any, tmp_path: Path) -> None:
    spend = np.round(trial()["spend"].to_numpy() + 10, 2)
    cents = pa.array([Decimal(f"{one:.2f}") for one in spend], pa.decimal128(8, 2))
    pq.write_table(pa.table({"arm": ARM, "spend": cents}), tmp_path / "t.parquet")
    assert effect(tmp_path / "t.parquet")["estimate"] == pytest.approx(naive(spend))


def test_columns_with_commas_and_lists_of_columns(effect: Any, dfl: Dfl, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    table = trial(**{"past, EUR": draw.normal(size=ROWS), "$": draw.normal(size=ROWS)})
    for name in ("t.parquet", "t.csv"):
        file = write(table, tmp_path / name)
        effect(file, "--covariates", "past, EUR")
        effect(file, "--covariates", "x,$", "--covariates", "past, EUR")
        effect(file, "--covariates", "x, $")
        lost = dfl("ab", file, *COLUMNS, "--covariates", "x,y,z")
        assert (lost.code, "must have the columns ['y', 'z']" in lost.text) == (2, True)


def test_missing_numbers_name_every_column(dfl: Dfl, tmp_path: Path) -> None:
    table = trial(**{f"c{k}": np.arange(ROWS) % 7 / (k + 1) for k in range(20)})
    table.loc[5, "c13"] = np.nan
    table.loc[[8, 9], "c2"] = np.nan
    file = write(table, tmp_path / "t.parquet")
    done = dfl("ab", file, *COLUMNS, "--covariates", ",".join(f"c{k}" for k in range(20)))
    assert done.code == 2
    assert "'c2' in 2 of 900 rows, first in row 8; 'c13' in 1 of 900 rows, first in" in done.text


def test_files_are_looked_for_in_the_data_folder(
    effect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    write(trial(), tmp_path / "data" / "t.csv")
    monkeypatch.setenv("DFL_DATA", str(tmp_path / "data"))
    effect(Path("t.csv"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"spend": [[1.0]] * ROWS}, "column 'spend' must hold numbers, got list"),
        ({"spend": "1,5"}, "column 'spend' must hold numbers, got"),
        ({"arm": [[0]] * ROWS}, "column 'arm' must hold labels, got list"),
        ({"spend": None}, "numbers are missing: 'spend' in 900 of 900 rows"),
        ({"spend": np.full(ROWS, 2**62)}, "whole numbers above 2**53"),
    ],
)
def test_columns_of_a_wrong_kind_are_a_line(
    dfl: Dfl, tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    done = dfl("ab", write(trial(**columns), tmp_path / "t.parquet"), *COLUMNS)
    assert (done.code, message in done.text) == (2, True), done.text


def test_a_name_that_comes_twice_is_named(dfl: Dfl, tmp_path: Path) -> None:
    table = trial()
    columns = [table["arm"], table["spend"], table["spend"]]
    pq.write_table(pa.table(columns, names=["arm", "spend", "spend"]), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("arm,spend,spend\n0,1,2\n1,2,3\n")
    for name in ("t.parquet", "t.csv"):
        done = dfl("ab", tmp_path / name, *COLUMNS)
        assert (done.code, "['spend'] come twice" in done.text) == (2, True), done.text
