import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dfl.abtest.simulators import HeavyTailedRatio
from tests.cli.outcome import Dfl

COLUMNS = ("--treatment", "arm", "--metric", "money")


def write(path: Path, **changed: Any) -> Path:
    draw = np.random.default_rng(2)
    population = HeavyTailedRatio().draw(5000, generator=draw)
    seen = population.experiment(2000, generator=draw)
    table = pd.DataFrame(
        {
            "arm": np.where(seen.treatment == 1, "bonus", "control"),
            "money": seen.metric,
            "orders": seen.denominator,
            "age": seen.covariates[:, 2],  # type: ignore[index]
            "visits": seen.covariates[:, 3],  # type: ignore[index]
            "city": draw.choice(["Rome", "Oslo"], 2000),
            "flag": seen.treatment == 1,
        }
    )
    table.assign(**changed).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("ab") / "trial.parquet")


def test_table_plot_and_json(dfl: Dfl, file: Path, tmp_path: Path) -> None:
    done = dfl(
        *("ab", file, *COLUMNS, "--metric", "orders", "--denominator", "orders"),
        *("--denominator", "-", "--covariates", "age,visits", "--segment", "city"),
        *("--estimator", "state", "--estimator", "mlrate", "--aa", 20, "-o", tmp_path / "out"),
    )
    assert done.code == 0, done.text
    for said in ("money/orders", "Rome", "STATE measures the effect on the bulk", "A/A test"):
        assert said in done.text
    content = json.loads((tmp_path / "out" / "readout.json").read_text())
    assert len(content["readings"]) == 2 * 3 * 2
    assert content["asked"]["denominators"] == ["orders", "-"]
    assert set(content["aa"]) == {"money/orders", "orders"}
    assert 0 <= content["aa"]["orders"]["state"]["false_positive_rate"] <= 0.5
    assert (tmp_path / "out" / "forest.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "forest.png",
        "readout.json",
    ]


def test_without_covariates_the_estimators_that_need_none(
    dfl: Dfl, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = dfl("ab", file, *COLUMNS, "--treatment", "flag")
    assert done.code == 0, done.text
    readings = json.loads((tmp_path / "runs" / "ab-trial" / "readout.json").read_text())["readings"]
    names = [one["estimator"] for one in readings]
    assert names == ["difference-in-means", "winsorised", "huber", "state"]
    assert readings[0]["effect"]["arm"] == "1"
    assert dfl("ab", file, *COLUMNS).code == 0
    assert (tmp_path / "runs" / "ab-trial-2").is_dir()


def test_a_leak_is_warned_of(dfl: Dfl, tmp_path: Path) -> None:
    file = write(tmp_path / "leak.parquet")
    table = pd.read_parquet(file)
    table["visits"] += 2 * table["flag"]
    table.to_parquet(file)
    done = dfl("ab", file, *COLUMNS, "--covariates", "visits", "-o", tmp_path / "out")
    assert done.code == 0, done.text
    assert "warning: these columns differ between the arms more than chance allows: visits" in (
        done.text
    )
    content = json.loads((tmp_path / "out" / "readout.json").read_text())
    assert {leak["column"] for leak in content["leaks"]} >= {"visits"}


def test_what_cannot_be_read_is_said_with_its_reason(dfl: Dfl, tmp_path: Path) -> None:
    money = np.where(np.arange(2000) % 3, 0, np.arange(2000))
    file = write(tmp_path / "zeros.parquet", money=money)
    done = dfl("ab", file, *COLUMNS, "--aa", 5, "-o", tmp_path / "out")
    assert done.code == 0, done.text
    assert "money, state: not read, metric must not be the same in more than half" in done.text
    content = json.loads((tmp_path / "out" / "readout.json").read_text())
    assert "more than half" in content["aa"]["money"]["state"]["refused"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--control", "none"), "control must be one of the arms, no row is in 'none'"),
        (("--share", "control=0.9", "--share", "bonus=0.1"), "sample ratio mismatch"),
        (("--share", "a=1", "--share", "a=2"), "--share must name every arm once, 'a' comes twice"),
        (("--share", "bonus=half"), "--share takes ARM=SHARE, such as 1=0.5, got 'bonus=half'"),
        (("--denominator", "age", "--denominator", "city"), "--denominator takes one column for"),
        (("--covariates", "city"), "column 'city' must hold numbers"),
        (("--covariates", "height"), "must have the columns ['height']"),
        (("--estimator", "stat"), "Did you mean 'state'?"),
        (("--correction", "sidak"), "correction must be one of 'holm', 'bonferroni'"),
        (("--level", "95"), "level must be in (0, 1), got 95"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    dfl: Dfl, file: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = dfl("ab", file, *COLUMNS, "-o", tmp_path / "out", *arguments)
    assert (done.code, message in done.text) == (2, True), done.text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"arm": [None, *["control", "bonus"] * 999, "bonus"]}, "column 'arm' must be known in"),
        ({"money": [np.nan] * 2000}, "'money' in 2000 of 2000 rows, first in row 0"),
    ],
)
def test_missing_values(dfl: Dfl, tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    done = dfl("ab", write(tmp_path / "bad.parquet", **changed), *COLUMNS, "-o", tmp_path / "out")
    assert (done.code, message in done.text) == (2, True), done.text


def test_a_file_may_be_called_as_a_pattern(dfl: Dfl, file: Path, tmp_path: Path) -> None:
    named = tmp_path / "trial [1].csv"
    pd.read_parquet(file).to_csv(named, index=False)
    done = dfl("ab", named, *COLUMNS, "-o", tmp_path / "out")
    assert done.code == 0, done.text


def test_a_folder_that_cannot_be_made(dfl: Dfl, file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    for output in (tmp_path / "taken", tmp_path / "taken" / "out"):
        done = dfl("ab", file, *COLUMNS, "-o", output)
        assert (done.code, "could not make the folder" in done.text) == (2, True)
        assert "Effects" not in done.text  # it costs no reading


def test_one_bad_metric_or_segment_leaves_the_others_readable(dfl: Dfl, tmp_path: Path) -> None:
    cities = np.where(np.arange(2000) == 0, "Reykjavik, IS", "Oslo")
    names = np.full(2000, "x")
    file = write(tmp_path / "part.parquet", refunds=0, name=names, gap=np.nan, city=cities)
    metrics = ("--metric", "refunds", "--metric", "name", "--metric", "gap")
    done = dfl("ab", file, *COLUMNS, *metrics, "--segment", "city", "-o", tmp_path / "out")
    assert done.code == 0, done.text
    for said in (
        "refunds, every estimator: not read, metric must vary, got 0 in all 2000 rows",
        "name, every estimator: not read, column 'name' must hold numbers",
        "gap, every estimator: not read, numbers are missing: 'gap' in",
        "money in Reykjavik, IS, every estimator: not read, treatment must hold at least two arms",
    ):
        assert said in done.text.replace("\n", " ")
    content = json.loads((tmp_path / "out" / "readout.json").read_text())
    assert {one["metric"] for one in content["readings"]} == {"money"}
    assert {one["metric"] for one in content["refusals"]} == {"refunds", "name", "gap", "money"}


@pytest.mark.parametrize("option", ["--covariates", "--clusters", "--segment"])
@pytest.mark.parametrize(("column", "role"), [("arm", "--treatment"), ("money", "--metric")])
def test_arm_and_metric_are_nothing_else(
    dfl: Dfl, file: Path, tmp_path: Path, option: str, column: str, role: str
) -> None:
    done = dfl("ab", file, *COLUMNS, option, column, "-o", tmp_path / "out")
    assert done.code == 2
    assert f"{option} must be known before the experiment, got '{column}'" in done.text
    assert f"that of {role}; leave it out" in done.text


def odd(path: Path, name: str, arm: str) -> Path:
    table = pd.read_parquet(write(path)).rename(columns={"money": name})
    table.assign(arm=np.where(table["arm"] == "bonus", arm, "control")).to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("name", "arm"),
    [
        ("$gain$_^%", r"$\frac{1}{$"),
        ("[red]money[/red]", ":boom:"),
        ("a^b_c", "_hidden"),
        ("<b>", "5 % & 10 %"),
    ],
)
def test_odd_names_are_text_in_terminal_and_plot(
    dfl: Dfl, tmp_path: Path, name: str, arm: str
) -> None:
    path = odd(tmp_path / "odd.parquet", name, arm)
    out = tmp_path / "out"
    done = dfl(
        "ab", path, "--treatment", "arm", "--control", "control", "--metric", name, "-o", out
    )
    assert done.code == 0, done.text
    assert "no plot was drawn" not in done.text
    assert (out / "forest.png").stat().st_size > 1_000
    readings = json.loads((out / "readout.json").read_text())["readings"]
    assert {one["metric"] for one in readings} == {name}
    assert arm in json.dumps(readings, ensure_ascii=False).replace("\\\\", "\\")


def test_a_plot_that_fails_leaves_the_read_out(
    dfl: Dfl, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(found: object) -> bytes:
        raise RuntimeError("no font")

    monkeypatch.setattr("dfl.cli.ab.forest_plot", fail)
    done = dfl("ab", file, *COLUMNS, "-o", tmp_path / "out")
    assert done.code == 0, done.text
    assert "no plot was drawn (RuntimeError: no font)" in done.text
    assert (tmp_path / "out" / "readout.json").exists()
    assert not (tmp_path / "out" / "forest.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--aa", -1), "splits must be >= 2, got -1"),
        (("--aa", 1), "splits must be >= 2, got 1"),
        (("--aa", 5, "--seed", -1), "seed must be >= 0, got -1"),
        (("--seed", -1), "seed must be >= 0, got -1"),
    ],
)
def test_splits_and_seeds_out_of_range_cost_no_reading(
    dfl: Dfl, file: Path, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    done = dfl("ab", file, *COLUMNS, *options, "-o", tmp_path / "out")
    assert (done.code, message in done.text) == (2, True), done.text
    assert not (tmp_path / "out").exists()


def test_a_segment_without_a_name_is_not_the_total(dfl: Dfl, tmp_path: Path) -> None:
    file = write(tmp_path / "part.parquet", city=np.where(np.arange(2000) % 2, "", "all"))
    done = dfl(
        "ab", file, *COLUMNS, "--segment", "city", "--estimator", "winsorised", "-o", tmp_path
    )
    assert done.code == 0, done.text
    assert done.text.count("(all)") == 1


def test_splits_of_a_rare_metric_end_in_a_table(dfl: Dfl, tmp_path: Path) -> None:
    rare = (np.arange(2000) == 0).astype(float)
    file = write(tmp_path / "rare.parquet", money=rare, arm=np.arange(2000) % 2)
    out, which = tmp_path / "out", ("--estimator", "difference-in-means")
    done = dfl("ab", file, *COLUMNS, *which, "--aa", 2, "--seed", 1, "-o", out)
    assert done.code == 0, done.text
    content = json.loads((out / "readout.json").read_text())
    assert content["aa"]["money"]["difference-in-means"]["error_ratio"] is None


def test_a_read_out_is_written_though_nobody_reads_the_table(
    dfl: Dfl, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("dfl.cli.ab.show", gone)
    options = ("--estimator", "difference-in-means", "-o", tmp_path / "out")
    assert dfl("ab", file, *COLUMNS, *options).code == 1
    assert json.loads((tmp_path / "out" / "readout.json").read_text())["readings"]


def test_a_denominator_is_no_covariate(dfl: Dfl, file: Path, tmp_path: Path) -> None:
    done = dfl(
        *("ab", file, *COLUMNS, "--denominator", "orders", "--covariates", "age,orders"),
        *("-o", tmp_path / "out"),
    )
    assert done.code == 2
    assert "--covariates must be known before the experiment, got 'orders'" in done.text


def test_ids_that_were_stored_as_floats_are_refused(dfl: Dfl, tmp_path: Path) -> None:
    file = write(tmp_path / "ids.parquet", user=np.arange(2000) + 2.0**60)
    done = dfl("ab", file, *COLUMNS, "--clusters", "user", "-o", tmp_path / "out")
    assert done.code == 2
    assert "column 'user' must not hold floats of 9007199254740992 or more" in done.text
