"""``--json``: one document on stdout, everything else on stderr."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer.main
from typer.testing import CliRunner

from dfl.cli import app
from dfl.cli.document import document
from dfl.config import to_yaml
from tests.pipeline.tiny import tiny_config


def printed(*arguments: object) -> dict[str, Any]:
    found = CliRunner().invoke(app, [str(one) for one in arguments])
    assert found.exit_code == 0, found.output
    content: dict[str, Any] = json.loads(found.stdout)
    assert [*content] == ["command", "results", "tables", "said"]
    assert content["command"] == arguments[0]
    for table in content["tables"]:
        assert [*table] == ["title", "columns", "rows", "note"]
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert document() is None
    return content


def test_a_run_and_its_report_print_the_metrics(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config("tsm-sl")))
    done = printed("run", tmp_path / "tiny.yaml", "-o", tmp_path / "run", "--json")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert done["results"] == {"folder": str(tmp_path / "run"), **metrics}
    assert done["said"][-1] == f"Run folder: {tmp_path / 'run'}"
    again = printed("report", tmp_path / "run", "--json")
    assert again["results"] == done["results"]
    assert again["tables"] == done["tables"]


def test_a_comparison_prints_the_comparison(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(to_yaml(tiny_config("tsm-sl", name=name)))
    files = [tmp_path / f"{name}.yaml" for name in ("one", "two")]
    done = printed("compare", *files, "-o", tmp_path / "both", "--json")
    assert done["results"]["baseline"] == "one"
    assert printed("report", tmp_path / "both", "--json")["results"] == done["results"]


def test_an_allocation_prints_its_sums(shop: Path, tmp_path: Path) -> None:
    target = tmp_path / "who.parquet"
    done = printed(
        "allocate",
        shop / "run",
        shop / "shop.parquet",
        "-o",
        target,
        "--budget-share",
        "0.5",
        "--json",
    )
    counts = pd.read_parquet(target)["treatment"].value_counts()
    assert sorted(done["results"]["people"].values()) == sorted(counts)
    assert done["results"]["cost"] <= done["results"]["budget"] * (1 + 1e-6)


def test_an_ab_test_prints_the_readout(tmp_path: Path) -> None:
    rows = 200
    table = {"arm": [k % 2 for k in range(rows)], "gmv": [float(k % 7) for k in range(rows)]}
    pd.DataFrame(table).to_parquet(tmp_path / "ab.parquet")
    done = printed(
        "ab",
        tmp_path / "ab.parquet",
        "--treatment",
        "arm",
        "--metric",
        "gmv",
        "--estimator",
        "difference-in-means",
        "-o",
        tmp_path / "ab",
        "--json",
    )
    written = json.loads((tmp_path / "ab" / "readout.json").read_text())
    assert written.keys() - {"asked"} == done["results"].keys() - {"folder"}


@pytest.mark.parametrize("family", ["solvers", "methods", "suites", None])
def test_a_list_prints_names(family: str | None) -> None:
    given = [] if family is None else [family]
    results = printed("list", *given, "--json")["results"]
    assert results.keys() >= set(given or ["solvers", "layers", "suites"])
    if family == "solvers":
        assert results["solvers"]["greedy-dual"].startswith("Takes the steps")


def test_every_command_that_prints_results_takes_it() -> None:
    group: Any = typer.main.get_command(app)
    options = {name: {one.name for one in each.params} for name, each in group.commands.items()}
    assert {name for name, given in options.items() if "json" not in given} == {"explain"}


def test_an_error_leaves_stdout_empty() -> None:
    found = CliRunner().invoke(app, ["run", "nothing", "--json"])
    assert found.exit_code == 2
    assert found.stdout == ""
    assert "nothing" in found.stderr
    assert document() is None


def test_without_it_text_is_printed() -> None:
    found = CliRunner().invoke(app, ["list", "solvers"])
    assert "│ greedy-dual" in found.stdout
