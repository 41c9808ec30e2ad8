"""``dfl segment``: from a table to segments, a page, and customers served."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dfl.cli.segment import _cost_words
from dfl.config import to_yaml
from dfl.segments.serving import ServedSegments
from tests.cli.outcome import Dfl
from tests.cli.test_json import printed
from tests.pipeline.tiny import tiny_config, write_shop

HRC = {"name": "hrc", "counts": [2, 3], "cell": 5, "folds": 2}


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory, dfl: Dfl) -> Path:
    """The folder of a run of hrc on a table of customers, its segments made."""
    path = tmp_path_factory.mktemp("segments")
    config: dict[str, Any] = tiny_config(HRC, data=write_shop(path / "shop.parquet", rows=2_000))
    (path / "shop.yaml").write_text(to_yaml(config))
    done = dfl("segment", path / "shop.yaml", "-o", path / "run", "--levels", 4)
    assert done.code == 0, done.text
    for title in (
        "Who they are",
        "What they bring",
        "Who gets what",
        "The classifier",
        "in a tree",
    ):
        assert title in done.text
    return path


def test_the_folder_holds_segments_beside_the_run(segmented: Path) -> None:
    run = segmented / "run"
    found = json.loads((run / "segments.json").read_text())
    assert found["treatments"] == ["mail", "letter"]
    assert sum(one["people"] for one in found["segments"]) == pytest.approx(1)
    assert len(found["plan"]["budgets"]) == len(found["plan"]["choice"]) == 4
    assert all(
        any(word in line for word in ("age", "city", "mail", "letter"))
        for line in found["tree"]["lines"]
    )
    page = (run / "segments.html").read_text()
    assert page.count("data:image/png") == 2
    assert (run / "plots" / "treatments-of-segments.png").exists()
    assert "Kinds of customers" in (run / "report.html").read_text()


def test_as_json_it_prints_the_content_of_its_file(segmented: Path) -> None:
    run = segmented / "run"
    results = printed("segment", run, "--levels", 4, "--json")["results"]
    assert results.pop("folder") == str(run)
    assert results == json.loads((run / "segments.json").read_text())


def test_profiles_have_the_data_s_own_names(segmented: Path) -> None:
    found = json.loads((segmented / "run" / "segments.json").read_text())
    traits = [trait for one in found["segments"] for trait in one["traits"]]
    assert traits
    assert all("age" in trait or "city" in trait for trait in traits)


def test_a_run_can_be_described_anew(segmented: Path, dfl: Dfl) -> None:
    before = json.loads((segmented / "run" / "segments.json").read_text())
    done = dfl("segment", segmented / "run", "--levels", 4, "--student", "logistic", "--nested")
    assert done.code == 0, done.text
    after = json.loads((segmented / "run" / "segments.json").read_text())
    assert after["student"]["kind"] == "logistic"
    assert after["segments"] == before["segments"]


def test_customers_are_served(segmented: Path, dfl: Dfl, tmp_path: Path) -> None:
    output = tmp_path / "served.parquet"
    done = dfl(
        "segment", segmented / "run", "--customers", segmented / "shop.parquet", "--assign", output,
        "--keep", "customer", "--budget-per-head", 1.5,
    )  # fmt: skip
    assert done.code == 0, done.text
    served = pd.read_parquet(output)
    assert list(served) == ["row", "customer", "segment", "treatment", "treatment_name"]
    assert len(served) == 2_000
    file = ServedSegments.load(segmented / "run" / "segments.safetensors")
    assert file.encoder is not None
    features = file.encoder.encode(pd.read_parquet(segmented / "shop.parquet"))
    assert served.treatment.tolist() == file.treatment(features, 1.5).tolist()
    assert set(served.treatment_name) <= {"mail", "letter"}
    assert "By the segments' table these people cost" in " ".join(done.text.split())
    again = dfl(
        "segment", segmented / "run", "--customers", segmented / "shop.parquet", "--assign", output,
        "--budget-per-head", 1.5,
    )  # fmt: skip
    assert again.code == 2
    assert "exists already" in again.text


def test_people_who_cost_more_than_the_plan_s_are_told_of() -> None:
    costs, choice = [[0.0, 1.0], [0.0, 3.0]], [1, 1]
    said = _cost_words((50, 50), costs, choice, 2.0)
    assert said == "By the segments' table these people cost 2 per head, 200 in all."
    said = _cost_words((10, 90), costs, choice, 2.0)
    assert (
        "people cost 2.8 per head, 280 in all: above the budget of 2, as more of them are" in said
    )


def test_the_formulation_is_an_option(segmented: Path, dfl: Dfl, tmp_path: Path) -> None:
    setting = "solver.formulation={name: chance-constraint, risk: 0.2}"
    done = dfl(
        "segment", segmented / "shop.yaml", "-o", tmp_path / "run", "--solver", "stochastic",
        "--set", setting, "--levels", 3,
    )  # fmt: skip
    assert done.code == 0, done.text
    plan = json.loads((tmp_path / "run" / "segments.json").read_text())["plan"]
    assert plan["formulation"] == "chance-constraint"
    assert max(plan["violation"]) <= 0.2 + 1e-9


def test_a_policy_tree_serves_itself(
    dfl: Dfl, write: Callable[[Path, object], Path], tmp_path: Path
) -> None:
    config = write(tmp_path / "tree.yaml", {"name": "policy-tree", "depth": 1, "least": 5})
    done = dfl("segment", config, "-o", tmp_path / "run", "--levels", 3)
    assert done.code == 0, done.text
    found = json.loads((tmp_path / "run" / "segments.json").read_text())
    assert found["student"] is None
    assert found["tree"]["lines"]


def test_what_does_not_go_together_is_refused(segmented: Path, shop: Path, dfl: Dfl) -> None:
    run = segmented / "run"
    for arguments, text in (
        ((shop / "run",), "needs a run of hrc or policy-tree"),
        ((run, "--seed", 3), "is described as it is"),
        ((run, "--customers", "a.parquet"), "--customers and --assign go together"),
        ((run, "--customers", "a.parquet", "--assign", "b.parquet"), "needs one --budget-per-head"),
        ((run, "--student", "guru"), "student must be one of"),
    ):
        done = dfl("segment", *arguments)
        assert done.code == 2
        assert text in done.text


def test_files_to_serve_are_looked_at_before_a_run(
    segmented: Path, dfl: Dfl, tmp_path: Path
) -> None:
    (tmp_path / "there.parquet").touch()
    asked = ("segment", segmented / "shop.yaml", "-o", tmp_path / "run", "--budget-per-head", 1.5)
    shop = segmented / "shop.parquet"
    for customers, output, text in (
        (tmp_path / "nobody.parquet", "a.parquet", "no Parquet file at"),
        (tmp_path / "nobody.csv", "a.parquet", "no data file"),
        (shop, "there.parquet", "exists already"),
        (shop, "a.xlsx", "must end in one of"),
    ):
        files = ("--customers", customers, "--assign", tmp_path / output)
        done = dfl(*asked, *files)
        assert done.code == 2
        assert text in done.text
    assert not (tmp_path / "run").exists()
