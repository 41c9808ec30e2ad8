import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dfl.cli import ab
from tests.cli.outcome import Dfl

ROWS = 24_000
ASKED = ("--treatment", "arm", "--metric", "spend")
PLAIN = ("--estimator", "difference-in-means", "--estimator", "cuped")


def trial() -> pd.DataFrame:
    """Rows of 3,000 users in two arms; users are what was randomised."""
    draw = np.random.default_rng(0)
    user = draw.integers(0, 3_000, ROWS)
    arm = draw.integers(0, 2, 3_000)[user]
    past = draw.gamma(2.0, size=ROWS)
    spend = past + 0.1 * arm + draw.standard_t(3, ROWS) + draw.normal(size=3_000)[user]
    orders = draw.poisson(2.0, ROWS).astype(float)
    table = pd.DataFrame({"arm": arm, "spend": spend, "past": past, "user": user})
    return table.assign(orders=orders, money=orders * (1 + arm) + orders * past)


def write(folder: Path, table: pd.DataFrame, files: int = 3) -> tuple[Path, Path]:
    """Write the rows as one file and as several, with an empty one among them."""
    (folder / "days").mkdir(exist_ok=True)
    table.to_parquet(folder / "whole.parquet")
    for day, rows in enumerate(np.array_split(np.arange(len(table)), files)):
        size = 5_000  # of a row group
        table.iloc[rows].to_parquet(folder / "days" / f"{day}.parquet", row_group_size=size)
    table[:0].to_parquet(folder / "days" / "0-none.parquet")
    return folder / "whole.parquet", folder / "days"


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read folders block by block, however small."""
    monkeypatch.setattr(ab, "_AT_ONCE", 10)


def read(dfl: Dfl, path: Path, *options: object) -> Any:
    out = path.parent / f"read-{time.monotonic_ns()}"
    done = dfl("ab", path, *options, "-o", out)
    assert done.code == 0, done.text
    assert "warning:" not in done.text
    return json.loads((out / "readout.json").read_text())


def same(one: Any, other: Any) -> None:
    assert [x["estimator"] for x in one["readings"]] == [x["estimator"] for x in other["readings"]]
    for first, second in zip(one["readings"], other["readings"], strict=True):
        for name in ("estimate", "standard_error", "low", "high", "p_value", "control_value"):
            wanted = pytest.approx(second["effect"][name], rel=1e-9, abs=1e-13)
            assert first["effect"][name] == wanted, (first["estimator"], name)
        assert first["effect"]["verdict"] == second["effect"]["verdict"]
        assert first["effect"]["degrees"] == pytest.approx(second["effect"]["degrees"])
    assert one["sample_ratio"] == other["sample_ratio"]
    assert json.dumps(one["aa"])[:300] == json.dumps(other["aa"])[:300]


def test_a_folder_is_read_block_by_block(
    dfl: Dfl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: None
) -> None:
    table = trial()
    whole, days = write(tmp_path, table)
    asked = (*ASKED, "--covariates", "past")
    same(read(dfl, whole, *asked, *PLAIN), read(dfl, days, *asked, *PLAIN))
    table["past"] += 0.5 * table["arm"]
    table[:9_000].to_parquet(days / "0.parquet")
    leaks = dfl("ab", days, *asked, *PLAIN, "-o", tmp_path / "leaks")
    assert "warning: these columns differ between the arms" in leaks.text
    assert json.loads((tmp_path / "leaks" / "readout.json").read_text())["leaks"]
    monkeypatch.chdir(tmp_path)
    assert dfl("ab", tmp_path / "*" / "?.parquet", *ASKED, *PLAIN).code == 0
    assert [one.name for one in (tmp_path / "runs").iterdir()] == ["ab-rows"]


def test_segments_and_models_of_each_arm_are_those_of_one_file(
    dfl: Dfl, tmp_path: Path, blocks: None
) -> None:
    names = np.array(["a,b", "$x$", "NA", "10", "9"])
    table = trial().assign(city=names[np.arange(ROWS) % 5])[:12_000]
    whole, days = write(tmp_path, table)
    asked = (*ASKED, "--covariates", "past", "--segment", "city", "--estimator", "aipw", *PLAIN)
    one, parts = read(dfl, whole, *asked), read(dfl, days, *asked)
    order = {x["segment"]: None for x in parts["readings"]}
    assert [*order] == [None, "9", "10", "$x$", "NA", "a,b"]
    for found in (one, parts):
        found["readings"].sort(key=lambda x: (x["segment"] or "", x["estimator"]))
    same(one, parts)


@pytest.mark.parametrize("options", [(), ("--covariates", "past"), ("--denominator", "orders")])
@pytest.mark.parametrize("clusters", [(), ("--clusters", "user")])
def test_all_that_can_be_read_in_parts_is_that_of_one_file(
    dfl: Dfl, tmp_path: Path, blocks: None, options: tuple[str, ...], clusters: tuple[str, ...]
) -> None:
    table = trial()
    if not clusters:  # users were randomised: rows are now
        table["arm"] = np.random.default_rng(1).integers(0, 2, ROWS)
    whole, days = write(tmp_path, table)
    asked = (*ASKED[:3], "money" if "orders" in options else "spend", *options, *clusters)
    parts = read(dfl, days, *asked, "--aa", 3)
    names = dict.fromkeys(one["estimator"] for one in parts["readings"])
    assert "state" in names
    assert ("mlrate" in names) == ("past" in options)
    named = [word for name in names for word in ("--estimator", name)]
    same(parts, read(dfl, whole, *asked, *named, "--aa", 3))


@pytest.mark.parametrize(
    "label",
    [
        lambda user: user,
        lambda user: user / 2,  # some whole, some not
        lambda user: user.astype(float),
        lambda user: ("user " + user.astype(str)).replace("user 7", "né, $x_1$"),
        lambda user: pd.to_datetime(user, unit="D"),
        lambda user: user.astype(str).astype("category"),
        lambda user: user.astype("uint64") + 2**63,
    ],
)
def test_clusters_are_called_anything(dfl: Dfl, tmp_path: Path, blocks: None, label: Any) -> None:
    table = trial()
    by_number = read(dfl, write(tmp_path, table)[0], *ASKED, "--clusters", "user", *PLAIN[:2])
    table["user"] = label(table["user"])
    (tmp_path / "named").mkdir()
    days = write(tmp_path / "named", table)[1]
    same(by_number, read(dfl, days, *ASKED, "--clusters", "user", *PLAIN[:2]))


def test_files_in_another_order_tell_the_same(dfl: Dfl, tmp_path: Path, blocks: None) -> None:
    table = trial()
    asked = (*ASKED, "--clusters", "user", "--estimator", "state", *PLAIN[:2])
    found = []
    for name, rows in (("first", table), ("again", table[::-1])):
        (tmp_path / name).mkdir()
        found.append(read(dfl, write(tmp_path / name, rows)[1], *asked))
    for one, other in zip(*(one["readings"] for one in found), strict=True):
        for name in ("estimate", "standard_error", "low", "high"):
            assert one["effect"][name] == pytest.approx(other["effect"][name], rel=1e-5), name


def test_a_small_folder_is_read_as_one_file(dfl: Dfl, tmp_path: Path) -> None:
    table = trial()[:900].assign(city=np.arange(900) % 2)
    whole, days = write(tmp_path, table)
    asked = (*ASKED, "--covariates", "past", "--segment", "city", "--aa", 2)
    one, many = read(dfl, whole, *asked), read(dfl, days, *asked)
    assert {x["segment"] for x in many["readings"]} == {None, "0", "1"}
    same(one, many)
    two = pd.DataFrame({"arm": [0, 0, 1, 1], "spend": [1.0, 2.0, 3.0, 4.5]})
    (tmp_path / "two").mkdir()
    whole, days = write(tmp_path / "two", two, files=2)
    names = ("--estimator", "difference-in-means")
    same(read(dfl, whole, *ASKED, *names), read(dfl, days, *ASKED, *names))
    for file in days.iterdir():
        two[:0].to_parquet(file)
    none = dfl("ab", days, *ASKED, "-o", tmp_path / "none")
    assert (none.code, "there must be rows" in none.text) == (2, True), none.text
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"spend": np.nan}, (), "numbers are missing: 'spend' in 1 of 8000 rows, first in row 7"),
        ({"spend": np.inf}, (), "metric must be finite, got 1 NaN or infinite of 24000"),
        ({"past": -np.inf}, ("--covariates", "past"), "covariates must be finite, got 1 NaN or"),
        ({"user": None}, ("--clusters", "user"), "'user' must be known in every row"),
        ({"arm": 1}, ("--clusters", "user"), "clusters must lie in one arm each, 1 rows are in"),
        ({}, ("--aa", 1), "splits must be >= 2, got 1"),
        ({}, ("--aa", 5, "--seed", -1), "seed must be >= 0, got -1"),
        ({}, ("--control", "9"), "there must be a control, 9, and another arm"),
    ],
)
def test_mistakes_are_refused_as_in_one_file(
    dfl: Dfl, tmp_path: Path, blocks: None, change: Any, options: Any, message: str
) -> None:
    table = trial()
    odd = int(np.flatnonzero(table["arm"][8_000:] == 0)[7]) + 8_000 if "arm" in change else 8_007
    for name, value in change.items():
        table[name] = table[name].astype(object if value is None else table[name].dtype)
        table.loc[odd, name] = value
    _, days = write(tmp_path, table)
    done = dfl("ab", days, *ASKED, *options, "-o", tmp_path / "out")
    assert (done.code, message in done.text) == (2, True), done.text
    assert not (tmp_path / "out").exists()


def test_one_broken_metric_leaves_the_others_readable(
    dfl: Dfl, tmp_path: Path, blocks: None
) -> None:
    table = trial()
    table["hole"] = table["spend"].where(np.arange(ROWS) != 8_007)
    table["back"] = table["orders"].where(np.arange(ROWS) != 3, -1.0)
    whole, days = write(tmp_path, table)
    asked = (*ASKED, "--metric", "hole", "--metric", "money", "--clusters", "user")
    asked += ("--denominator", "-", "--denominator", "-", "--denominator", "back", *PLAIN[:2])
    one, parts = read(dfl, whole, *asked), read(dfl, days, *asked)
    same(one, parts)
    for found in (one, parts):
        hole, ratio = sorted(found["refusals"], key=lambda one: str(one["metric"]))
        assert (hole["metric"], ratio["metric"]) == ("hole", "money/back")
        assert "numbers are missing: 'hole' in 1 of" in hole["reason"]
        assert "negative of 24000, the smallest -1; correct the data" in ratio["reason"]
    place = (
        f"{days / '1.parquet'}, row groups 0 to 1: numbers are missing: 'hole' in 1 of 8000 rows"
    )
    assert f"{place}, first in row 7" in min(one["reason"] for one in parts["refusals"])


TRUTH = (("--control", "0", "--share", "0=1", "--share", "1=1"),)
TRUTH += (("--control", "False", "--share", "False=1", "--share", "True=1"), ())


@pytest.mark.parametrize("options", TRUTH)
def test_truth_values_are_called_0_and_1_in_folders_of_any_size(
    dfl: Dfl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    table = trial()[:12_000].assign(new=np.arange(12_000) % 2 == 1)
    table["arm"] = np.random.default_rng(1).integers(0, 2, 12_000) == 1
    whole, days = write(tmp_path, table)
    asked = (*ASKED, *options, "--segment", "new", *PLAIN[:2])
    one, small = read(dfl, whole, *asked), read(dfl, days, *asked)
    monkeypatch.setattr(ab, "_AT_ONCE", 10)
    for found in (small, read(dfl, days, *asked)):
        same(one, found)
        assert [x["segment"] for x in found["readings"]] == [None, "0", "1"]
        assert {x["effect"]["arm"] for x in found["readings"]} == {"1"}


def _words(arm: Any) -> Any:
    return np.array(["control", "new"])[arm]


def _text(values: Any) -> Any:
    return values.astype(str)


def _real(values: Any) -> Any:
    return values.astype(float)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("arm", _words, lambda arm: pd.Categorical(_words(arm))),
        ("arm", np.copy, _text),
        ("arm", lambda arm: arm == 1, np.copy),
        ("city", np.copy, _text),
        ("city", _real, np.copy),
        ("user", np.copy, _text),
        ("user", np.copy, _real),
        ("orders", lambda orders: orders.astype(int), np.copy),
        ("orders", lambda orders: orders > 0, np.copy),
    ],
)
def test_files_that_hold_a_column_by_several_types_are_read_alike(
    dfl: Dfl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, first: Any, second: Any
) -> None:
    table = trial().assign(city=np.arange(ROWS) % 2)
    (tmp_path / "days").mkdir()
    for day, (rows, kind) in enumerate(((slice(9_000), first), (slice(9_000, None), second))):
        held = kind(table[name].to_numpy()[rows])
        table[rows].assign(**{name: held}).to_parquet(tmp_path / "days" / f"{day}.parquet")
    asked = ("--treatment", "arm", "--metric", "orders", "--clusters", "user", "--segment", "city")
    small = read(dfl, tmp_path / "days", *asked, *PLAIN[:2])
    monkeypatch.setattr(ab, "_AT_ONCE", 10)
    same(small, read(dfl, tmp_path / "days", *asked, *PLAIN[:2]))


def test_a_metric_that_is_text_in_one_file_is_no_number(
    dfl: Dfl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, days = write(tmp_path, trial())
    trial().astype({"spend": str}).to_parquet(days / "3.parquet")
    for at_once in (1 << 20, 10):
        monkeypatch.setattr(ab, "_AT_ONCE", at_once)
        done = dfl("ab", days, *ASKED, "-o", tmp_path / "out")
        assert (done.code, "column 'spend' must hold numbers, got" in done.text) == (2, True)


def test_a_kill_leaves_no_half_file(tmp_path: Path) -> None:
    _, days = write(tmp_path, pd.concat([trial()] * 60), files=2)
    (tmp_path / "temporary").mkdir()
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dfl", "ab", str(days), *ASKED, "--clusters", "user"]
    asked = [*command, "--aa", "200", "-o", str(out)]
    process = subprocess.Popen(asked, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")})
    while process.poll() is None and str(tmp_path) not in _mapped(process.pid):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not out.exists()


def _mapped(process: int) -> str:
    """Return the files that lie in a process's memory."""
    return Path(f"/proc/{process}/maps").read_text()
