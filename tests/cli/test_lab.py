import csv
import json
from pathlib import Path

import pytest

from dfl.hypergrad import HYPERGRADIENTS
from dfl.layers import LAYERS
from tests.cli.outcome import Dfl
from tests.cli.test_json import printed

QUICK = ("--rows", "200", "--draws", "2", "--patience", "1e-9", "--set", "data.sizes.test=300")


def test_every_name_is_in_the_table_and_in_the_files(tmp_path: Path) -> None:
    done = printed("lab", *QUICK, "-o", tmp_path / "lab", "--json")
    names = [row[0] for table in done["tables"] for row in table["rows"]]
    assert set(names) == {*LAYERS, *HYPERGRADIENTS}
    assert json.loads((tmp_path / "lab" / "lab.json").read_text()) == done["results"]
    rows = [*csv.DictReader((tmp_path / "lab" / "lab.csv").read_text().splitlines())]
    assert {row["name"] for row in rows} == {*names}
    assert (tmp_path / "lab" / "lab.png").read_bytes().startswith(b"\x89PNG")
    assert done["said"][0] == done["results"]["recommendation"]


def test_a_batch_of_ones_own(dfl: Dfl, shop: Path) -> None:
    roles = {"treatment": "arm", "revenue": "bought", "cost": "{mail: 1.0, letter: 2.0}"}
    roles["features"] = "[age, city]"
    given = [part for key, one in roles.items() for part in ("--set", f"data.{key}={one}")]
    done = dfl("lab", "--data", shop / "shop.parquet", *given, *QUICK[:6], "--budget-per-head", 1.4)
    assert done.code == 0, done.text
    assert "Measuring on 200 of" in done.text
    assert "softmax" in done.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--budget-per-head", 1, "--budget-share", 0.2), "a budget takes exactly one of"),
        (("--patience", 0), "patience must be > 0, got 0"),
        (("--data", "coupn"), "coupn"),
        (
            ("--rows", 20, "--set", "data.sizes.test=500"),
            "too few rows for the lab: none of 10 received",
        ),
        (("--set", "budgets=[{share: 0.9}]"), "dfl lab reads data alone, got --set budgets="),
    ],
)
def test_what_is_refused(dfl: Dfl, options: tuple[object, ...], said: str) -> None:
    done = dfl("lab", *options)
    assert done.code == 2
    assert said in done.text


def test_a_folder_that_cannot_be_made(dfl: Dfl, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = dfl("lab", *QUICK, "-o", tmp_path / "file" / "lab")
    assert done.code == 2
    assert "could not make the folder" in done.text
    assert "Measuring" not in done.text
