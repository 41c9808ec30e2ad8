import json
import os
from pathlib import Path

import pandas as pd
import pytest

from dfl.pipeline import RunFolder
from tests.cli.outcome import Dfl


def test_a_run_plans_for_customers(dfl: Dfl, shop: Path, tmp_path: Path) -> None:
    output, summary = tmp_path / "plan.parquet", tmp_path / "plan.json"
    done = dfl(
        *("plan", shop / "run", shop / "shop.parquet", "-o", output, "--budget-per-head", 1.25),
        *("--last", "arm", "--switching-cost", 0.1, "--keep", "customer", "--summary", summary),
        *("--what-if", 0.9, "--what-if", 0.1),
    )
    assert done.code == 0, done.text
    assert "people get something else than last time" in done.text
    assert "no plan within the limits is better by more than" in done.text
    assert "money must be at least 800" in done.text  # a tenth of the money buys no mail for all
    table, told = pd.read_parquet(output), json.loads(summary.read_text())
    assert table["predicted_cost"].sum() == pytest.approx(told["cost"])
    assert told["cost"] <= 1000
    assert table["changed"].sum() == told["changes"]
    assert told["people"] == table["treatment_name"].value_counts().to_dict()
    assert told["gap"] == pytest.approx(max(told["bound"] - told["goal"], 0))
    assert [one["factor"] for one in told["what_if"]] == [0.1, 0.9]
    assert told["what_if"][0]["plan"] is None
    assert told["limits"][0]["name"] == "money"


def test_customers_unlike_the_training_rows_are_warned_of(
    dfl: Dfl, shop: Path, tmp_path: Path
) -> None:
    older = pd.read_parquet(shop / "shop.parquet")
    older["age"] += 3 * older["age"].std()
    older.to_parquet(tmp_path / "older.parquet")
    asked = ("-o", tmp_path / "plan.parquet", "--budget-per-head", 1.25)
    done = dfl("plan", shop / "run", tmp_path / "older.parquet", *asked)
    assert done.code == 0, done.text
    assert "warning: these people differ from the training rows in age by +" in done.text


def test_columns_and_a_target(dfl: Dfl, tmp_path: Path) -> None:
    pd.DataFrame({"a": [0.0, 0.0], "b": [3.0, 2.0], "ca": [0.0, 0.0], "cb": [1.0, 1.0]}).to_csv(
        tmp_path / "people.csv", index=False
    )
    done = dfl(
        *("plan", "-", tmp_path / "people.csv", "-o", tmp_path / "plan.csv"),
        *("--revenue", "a,b", "--cost", "ca,cb", "--target-revenue", 2.5, "--capacity", "b=1"),
        *("--solver", "mixed-integer"),
    )
    assert done.code == 0, done.text
    assert (
        "no plan that reaches the revenue within the limits costs less than 1: at most 0 could"
        in done.text
    )
    assert list(pd.read_csv(tmp_path / "plan.csv")["treatment_name"]) == ["b", "a"]


SCORED = ("--revenue", "a,b", "--cost", "ca,cb", "--budget-total", 1)


@pytest.mark.parametrize(
    ("summary", "options", "message"),
    [
        ("people.csv", ["--overwrite"], "summary must be another file than the customers"),
        ("plan.csv", [], "summary must be another file than the output"),
        ("limits.csv", ["--overwrite"], "summary must be another file than the table of limits"),
        ("old.json", [], "old.json exists already; choose another file, or overwrite it by --ov"),
        ("no/plan.json", [], "summary must lie in a folder that exists"),
        (".", ["--overwrite"], "summary must be a file, and . is a folder"),
    ],
)
def test_a_summary_replaces_nothing(
    dfl: Dfl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    summary: str,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    people = pd.DataFrame({"g": "x", "a": [0.0], "b": [3.0], "ca": [0.0], "cb": [1.0]})
    people.to_csv("people.csv", index=False)
    pd.DataFrame({"g": ["x"], "budget": [1.0]}).to_csv("limits.csv", index=False)
    Path("old.json").write_text("{}")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    plan = ("plan", "-", "people.csv", "-o", "plan.csv", *SCORED)
    done = dfl(*plan, "--by", "g", "--limits", "limits.csv", "--summary", summary, *options)
    assert (done.code, message in done.text) == (2, True), done.text
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_infinite_limit_is_none_in_json_too(dfl: Dfl, tmp_path: Path) -> None:
    people = pd.DataFrame({"g": "x", "a": [0.0], "b": [3.0], "ca": [0.0], "cb": [1.0]})
    people.to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "limits.csv").write_text("g,budget,b\nx,1,inf\n")
    by = ("--by", "g", "--limits", tmp_path / "limits.csv", "--json")
    plan = ("plan", "-", tmp_path / "people.csv", "-o", tmp_path / "plan.csv", *SCORED[:-2], *by)
    done = dfl(*plan, "--summary", tmp_path / "plan.json")
    assert done.code == 0, done.text
    told = json.loads((tmp_path / "plan.json").read_text())
    assert [(one["name"], one["at_most"]) for one in told["limits"]] == [("money of x", 1.0)]


def test_a_comparison_is_no_run(dfl: Dfl, tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "both", {"runs": []})
    pd.DataFrame({"age": [1.0]}).to_csv(tmp_path / "people.csv")
    for command, output in (("plan", "o.csv"), ("allocate", "o.csv"), ("allocate", "o")):
        given = (tmp_path / "both", tmp_path / "people.csv", "-o", tmp_path / output)
        done = dfl(command, *given, "--budget-total", 1)
        assert done.code == 2
        assert "holds a comparison; name the folder of one of its methods" in done.text


def test_a_margin_cuts_the_money(dfl: Dfl, shop: Path, tmp_path: Path) -> None:
    summary = tmp_path / "plan.json"
    plan = ("plan", shop / "run", shop / "shop.parquet", "-o", tmp_path / "plan.parquet")
    done = dfl(*plan, "--budget-total", 1000, "--margin", 0.95, "--summary", summary)
    assert done.code == 0, done.text
    told = json.loads(summary.read_text())
    assert "Margin: at " in done.text
    assert told["limits"][0]["at_most"] == pytest.approx(1000 * told["margin"]["share"])
    out = ("--overwrite", "--margin", 0.95)
    refused = dfl(*plan, "--marginal-return", 1, *out)
    assert (refused.code, "margin cuts money" in refused.text) == (2, True), refused.text
    columns = ("--revenue", "age,bought", "--cost", "age,bought", "--budget-total", 9)
    refused = dfl("plan", "-", *plan[2:], *columns, *out)
    assert refused.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "a plan needs a budget, a target_revenue, a marginal_return, a min_return, a capacity",
        ),
        (["--budget-total", "900", "--budget-share", "0.1"], "got total, share"),
        (["--budget-total", "900", "--revenue", "age"], "scores come from a run, or from columns"),
        (["--budget-total", "700"], "money must be at least 800"),
        (["--budget-total", "900", "--target-revenue", "5"], "takes no budget"),
        (["--budget-total", "900", "--solver", "x"], "solver: 'x' is not among the solvers"),
        (["--budget-total", "900", "--capacity", "fax=1"], "capacity must name one of"),
        (["--budget-total", "900", "--by", "city"], "give both --by and --limits"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    dfl: Dfl, shop: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    output = tmp_path / "plan.parquet"
    done = dfl("plan", shop / "run", shop / "shop.parquet", "-o", output, *arguments)
    assert done.code == 2, done.text
    assert message in done.text
    assert not output.exists()


def test_a_summary_is_written_though_nobody_reads_the_tables(
    dfl: Dfl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("dfl.cli.plan.show", gone)
    people = pd.DataFrame({"a": [0.0], "b": [3.0], "ca": [0.0], "cb": [1.0]})
    people.to_csv(tmp_path / "people.csv", index=False)
    plan = ("plan", "-", tmp_path / "people.csv", "-o", tmp_path / "plan.csv", *SCORED)
    assert dfl(*plan, "--summary", tmp_path / "plan.json").code == 1
    assert json.loads((tmp_path / "plan.json").read_text())["revenue"] == 3


def test_a_pipe_is_no_place_for_a_summary(dfl: Dfl, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "people.csv").write_text("a,b,ca,cb\n")
    plan = ("plan", "-", tmp_path / "people.csv", "-o", tmp_path / "plan.csv", *SCORED)
    done = dfl(*plan, "--summary", tmp_path / "pipe", "--overwrite")
    assert (done.code, "is a device or a pipe" in done.text) == (2, True), done.text


def test_a_folder_that_may_not_be_written_costs_no_planning(
    dfl: Dfl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: mode == os.R_OK)  # root may write all
    (tmp_path / "people.csv").write_text("a,b,ca,cb\n")
    plan = ("plan", "-", tmp_path / "people.csv", "-o", tmp_path / "plan.csv", *SCORED)
    done = dfl(*plan)
    assert (done.code, "must lie in a folder that you may write" in done.text) == (2, True)
