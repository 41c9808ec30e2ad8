from pathlib import Path

import pandas as pd
import pytest

from dfl.config import to_yaml
from dfl.pipeline import customers
from dfl.scale import Chunks
from tests.cli.outcome import Dfl
from tests.pipeline.tiny import tiny_config, write_shop


def test_every_customer_gets_a_treatment(dfl: Dfl, shop: Path, tmp_path: Path) -> None:
    output = tmp_path / "allocation.parquet"
    done = dfl(
        *("allocate", shop / "run", shop / "shop.parquet", "-o", output),
        *("--budget-per-head", 1.25, "--keep", "customer", "--solver", "greedy-dual"),
    )
    assert done.code == 0, done.text
    assert "Budget 1000, predicted cost 1000" in done.text
    assert "letter" in done.text
    table = pd.read_parquet(output)
    assert list(table["customer"]) == list(range(800))
    assert (table["treatment"] == 1).sum() == 200  # a letter costs 1 more than mail


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a budget takes exactly one of total, per_head or share, got none of them"),
        (["--budget-total", "900", "--budget-share", "0.1"], "got total, share"),
        (["--budget-total", "-1"], "budget total must be >= 0, got -1"),
        (["--budget-total", "700"], "at least the cost of the cheapest choice for everyone"),
        (["--budget-share", "0.2", "--keep", "name"], "must have the columns ['name']"),
        (["--budget-share", "0.2", "--solver", "x"], "solver: 'x' is not among the solvers"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    dfl: Dfl, shop: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    output = tmp_path / "allocation.parquet"
    done = dfl("allocate", shop / "run", shop / "shop.parquet", "-o", output, *arguments)
    assert done.code == 2
    assert message in done.text
    assert not output.exists()


def test_text_in_and_out(dfl: Dfl, shop: Path, tmp_path: Path) -> None:
    customers = tmp_path / "customers.csv"
    pd.read_parquet(shop / "shop.parquet").to_csv(customers, index=False)
    output = tmp_path / "allocation.csv"
    arguments = ("allocate", shop / "run", customers, "-o", output, "--budget-per-head", 1.25)
    done = dfl(*arguments, "--keep", "customer")
    assert done.code == 0, done.text
    table = pd.read_csv(output)
    assert list(table["customer"]) == list(range(800))
    assert set(table["treatment_name"]) == {"mail", "letter"}
    again = dfl(*arguments)
    assert (again.code, "allocation.csv exists already" in again.text) == (2, True), again.text
    assert "customer" in pd.read_csv(output).columns
    assert dfl(*arguments, "--overwrite").code == 0
    assert "customer" not in pd.read_csv(output).columns


def test_it_says_what_is_predicted_and_what_was_measured(
    dfl: Dfl, shop: Path, tmp_path: Path
) -> None:
    output = tmp_path / "allocation.parquet"
    arguments = ("allocate", shop / "run", shop / "shop.parquet", "-o", output)
    text = dfl(*arguments, "--budget-per-head", 1.25).text
    assert "for the predictions at most" in text
    assert "Predicted per head: budget 1.25, revenue " in text
    assert "On the run's held-out rows an allocation at 1.25 per head earned " in text


def test_a_margin_is_said(dfl: Dfl, shop: Path, tmp_path: Path) -> None:
    output = tmp_path / "allocation.parquet"
    arguments = ("allocate", shop / "run", shop / "shop.parquet", "-o", output)
    done = dfl(*arguments, "--budget-per-head", 1.25, "--margin", 0.95)
    assert done.code == 0, done.text
    assert "cost 1 times what was predicted (standard error 0), with confidence 0.95" in done.text
    assert "so 100.0% of the budget, 1000, was allocated" in done.text
    wrong = dfl(*arguments, "--budget-per-head", 1.25, "--margin", 95, "--overwrite")
    assert (wrong.code, "margin must be in [0.5, 1), got 95" in wrong.text) == (2, True)
    folder = ("allocate", shop / "run", shop / "shop.parquet", "-o", tmp_path / "blocks")
    blocks = dfl(*folder, "--budget-per-head", 1.25, "--margin", 0.95)
    assert blocks.code == 0, blocks.text
    assert "so 100.0% of the budget, 1000, was allocated" in blocks.text
    columns = ("allocate", "-", shop / "shop.parquet", "--revenue", "a", "--cost", "b")
    refused = dfl(*columns, "-o", tmp_path / "x", "--budget-total", 1, "--margin", 0.95)
    assert (refused.code, "--margin rests on what a run measured" in refused.text) == (2, True)


def test_warnings_are_said_once_and_names_are_text(
    dfl: Dfl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_shop(tmp_path / "shop.parquet")
    table = pd.read_parquet(tmp_path / "shop.parquet").rename(columns={"city": "[red]city[/red]"})
    table.to_parquet(tmp_path / "shop.parquet")
    config = tiny_config(
        "tsm-sl", data=data | {"features": ["age", "[red]city[/red]"], "unknown": "other"}
    )
    (tmp_path / "shop.yaml").write_text(to_yaml(config))
    done = dfl("run", tmp_path / "shop.yaml", "-o", tmp_path / "run")
    assert done.code == 0, done.text
    table["[red]city[/red]"] = ["Oslo", *table["[red]city[/red]"][1:-1], "Rome"]
    table.to_parquet(tmp_path / "new.parquet")
    monkeypatch.setattr(customers, "STREAMED", Chunks(64))
    output = ("-o", tmp_path / "o.csv", "--budget-per-head", 1.25)
    done = dfl("allocate", tmp_path / "run", tmp_path / "new.parquet", *output)
    assert done.code == 0, done.text
    assert done.text.count("warning: column '[red]city[/red]' holds values") == 2
    assert "such as 'Oslo'" in done.text


def test_files_and_folders_that_are_none(dfl: Dfl, shop: Path, tmp_path: Path) -> None:
    output = tmp_path / "allocation.parquet"
    budget = ("-o", output, "--budget-share", 0.2)
    no_run = dfl("allocate", tmp_path, shop / "shop.parquet", *budget)
    assert (no_run.code, "is not a run folder" in no_run.text) == (2, True)
    (tmp_path / "c.parquet").write_text("no parquet")
    unreadable = dfl("allocate", shop / "run", tmp_path / "c.parquet", *budget)
    assert (unreadable.code, "is not a readable Parquet" in unreadable.text) == (2, True)
    pd.DataFrame({"age": [1.0]}).to_parquet(tmp_path / "c.parquet")
    missing = dfl("allocate", shop / "run", tmp_path / "c.parquet", *budget)
    assert (missing.code, "must have the columns ['city']" in missing.text) == (2, True)


def test_one_file_is_written_by_one_process_from_one_file(
    dfl: Dfl, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = ("-o", tmp_path / "o.parquet", "--budget-share", 0.2)
    for many in (shop, shop / "*.parquet"):
        done = dfl("allocate", shop / "run", many, *output)
        assert (done.code, "is allocated block by block" in done.text) == (2, True)
    monkeypatch.setattr("dfl.cli.allocate.rank_of", lambda: (0, 2))
    done = dfl("allocate", shop / "run", shop / "shop.parquet", *output)
    assert (done.code, "by one process, and torchrun started 2" in done.text) == (2, True)


def test_a_folder_is_written_in_blocks(dfl: Dfl, shop: Path, tmp_path: Path) -> None:
    output = tmp_path / "allocation"
    done = dfl(
        *("allocate", shop / "run", shop / "*.parquet", "-o", output),
        *("--budget-per-head", 1.25, "--keep", "customer"),
    )
    assert done.code == 0, done.text
    assert "Budget 1000, predicted cost 1000" in done.text
    assert "On the run's held-out rows an allocation at 1.25 per head earned" in done.text
    table = pd.read_parquet(output)
    assert list(table["customer"]) == list(range(800))
    assert (table["treatment"] == 1).sum() == 200


def test_columns_of_scores_need_no_run(dfl: Dfl, tmp_path: Path) -> None:
    scores = tmp_path / "scores.parquet"
    pd.DataFrame({"r0": [0.0, 0], "r1": [2.0, 3], "c0": [0.0, 0], "c1": [1.0, 1]}).to_parquet(
        scores
    )
    output = tmp_path / "out"
    asked = ("allocate", "-", scores, "--budget-total", 1, "--revenue", "r0,r1")
    done = dfl(*asked, "--cost", "c0", "--cost", "c1", "-o", output)
    assert done.code == 0, done.text
    assert list(pd.read_parquet(output)["treatment"]) == [0, 1]
    assert "measured no such allocation" in done.text
    for wrong, message in (
        (
            (*asked, "--cost", "c0,c1", "-o", tmp_path / "o.parquet"),
            "give a name without an ending",
        ),
        ((*asked, "--cost", "c0", "-o", tmp_path / "o"), "for each treatment, got 2 and 1"),
        (("allocate", "-", scores, "--budget-total", 1, "-o", output), "scores come from a run"),
        (("allocate", tmp_path, *asked[2:], "-o", output), "and columns"),
        (
            (*asked, "--cost", "c0,c1", "-o", tmp_path / "o", "--solver", "nonsense"),
            "solver: 'nonsense' is not among the solvers",
        ),
        (
            (*asked, "--cost", "c0,c1", "-o", tmp_path / "o", "--solver", "mixed-integer"),
            "greedy-dual, or give a file to write: 'dfl allocate' by a run, 'dfl plan' by columns",
        ),
        (
            (*asked, "--cost", "c0,c1", "-o", tmp_path / "o.csv", "--engine", "foo"),
            "--engine must be one of 'processes', 'ray', got 'foo'",
        ),
    ):
        done = dfl(*wrong)
        assert (done.code, message in done.text.replace("\n", " ")) == (2, True), done.text
