import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dfl.data import (
    DATASETS,
    AbstractDataSource,
    AbstractPublished,
    LoadedData,
    load,
    open_source,
)
from dfl.errors import ConfigError, DataNotFoundError, UnknownNameError
from tests.data.conftest import small_table, write

PUBLISHED = [
    name for name in DATASETS.names() if issubclass(DATASETS.load(name), AbstractPublished)
]


def test_every_name_is_a_data_source() -> None:
    assert DATASETS.names() == (
        "columns",
        "coupon",
        "criteo",
        "criteo-like",
        "gotv",
        "hillstrom",
        "lazada",
        "mt-lift",
        "penn-bonus",
        "rand-hie",
        "simulated-experiment",
        "starbucks",
        "thornton-hiv",
    )
    assert all(issubclass(DATASETS.load(name), AbstractDataSource) for name in DATASETS.names())


def test_importing_the_data_folder_imports_no_pandas() -> None:
    code = "import sys, dfl.data; assert not {'pandas', 'pyarrow', 'scipy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["coupon", "criteo-like"])
def test_simulators_open_with_their_options(name: str) -> None:
    source = open_source(name, hidden_confounding=0.5)
    assert isinstance(source, DATASETS.load(name))
    assert source.hidden_confounding == 0.5


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in ("lazada", "mt-lift")])
@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_file_is_recognised_by_its_columns(tmp_path: Path, name: str, ending: str) -> None:
    card = DATASETS.load(name).card  # type: ignore[attr-defined]
    path = write(small_table(card).assign(extra=1), tmp_path / f"download{ending}")
    for given in (path, str(path)):
        source = open_source(given, sample=True)
        assert isinstance(source, LoadedData)
        assert source.card is card


def test_own_roles_win_over_recognition(tmp_path: Path) -> None:
    card = DATASETS.load("starbucks").card  # type: ignore[attr-defined]
    path = write(small_table(card), tmp_path / "mine.csv")
    loaded = load(path, treatment="purchase", revenue="V1", cost={"0": 0, "1": 1})
    assert loaded.card is None
    assert loaded.data.treatment_names == ("0", "1")


def test_a_file_of_unknown_columns_asks_for_roles(tmp_path: Path) -> None:
    path = write(pd.DataFrame({"a": [1], "b": [2]}), tmp_path / "mine.csv")
    with pytest.raises(ConfigError, match=r"say which column is the treatment.*\['a', 'b'\]"):
        load(path)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("hilstrom", {}, UnknownNameError, "'hilstrom' is not .* Did you mean 'hillstrom'"),
        ("hillstrom", {"revenu": "x"}, UnknownNameError, "'revenu'.*Did you mean 'revenue'"),
        ("coupon", {"nois": 0.1}, UnknownNameError, "Did you mean 'noise'"),
        ("columns", {"path": "x.csv", "cost": "c"}, ConfigError, r"\['treatment', 'revenue'\]"),
        ("coupon", {"path": "x.csv"}, ConfigError, "coupon is a simulator and reads no file"),
        ("lost.parquet", {}, DataNotFoundError, "no data file lost.parquet"),
    ],
)
def test_what_cannot_be_opened_is_explained(
    name: str, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_source(name, **options)  # type: ignore[arg-type]


def test_simulators_have_no_file_to_load() -> None:
    with pytest.raises(ConfigError, match="coupon is a simulator and has no file to load"):
        load("coupon")
