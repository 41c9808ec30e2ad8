from pathlib import Path

import pandas as pd
import pytest

from tests.cli.outcome import Dfl


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
        (["--budget-total", "-1"], "budget total must be finite and >= 0, got -1"),
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
