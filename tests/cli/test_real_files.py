"""From a published file to an allocation of all its rows; on a made-up shop without the files."""

from pathlib import Path

import pandas as pd
import pytest

from dfl.config import to_yaml
from dfl.pipeline import RunFolder
from tests.cli.outcome import Dfl
from tests.pipeline.tiny import tiny_config, write_shop

FILES = {"hillstrom": "hillstrom.parquet", "gotv": "gotv_social_pressure.parquet"}


@pytest.mark.parametrize("name", ["hillstrom", pytest.param("gotv", marks=pytest.mark.slow)])
def test_a_run_and_an_allocation_of_every_row(
    name: str,
    dfl: Dfl,
    real_data: Path | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_config({"name": "bi-dfcl", "upper": {"warm_epochs": 1}})
    file = None if real_data is None else real_data / FILES[name]
    if file is not None and file.exists():
        monkeypatch.setenv("DFL_DATA", str(file.parent))
        config["data"] = name
        arms = {"hillstrom": 3, "gotv": 5}[name]
    else:
        file, arms = tmp_path / "shop.parquet", 2
        config["data"] = write_shop(file)
    print(f"on {file}")
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    done = dfl("run", tmp_path / "c.yaml", "-o", tmp_path / "run")
    assert done.code == 0, done.text
    metrics = RunFolder.open(tmp_path / "run").read_json("metrics.json")
    assert len(metrics["arms"]) == arms
    for budget in metrics["budgets"]:
        assert budget["eom"]["low"] < budget["eom"]["value"] < budget["eom"]["high"]

    output = tmp_path / "allocation.parquet"
    given = dfl("allocate", tmp_path / "run", file, "-o", output, "--budget-share", 0.3)
    assert given.code == 0, given.text
    table = pd.read_parquet(output)
    assert list(table["row"]) == list(range(len(pd.read_parquet(file))))
    assert table["treatment"].between(0, arms - 1).all()


def test_a_run_on_the_experiment_of_a_package(dfl: Dfl, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(to_yaml(tiny_config("tsm-sl") | {"data": "thornton-hiv"}))
    done = dfl("run", tmp_path / "c.yaml", "-o", tmp_path / "run")
    assert done.code == 0, done.text
    metrics = RunFolder.open(tmp_path / "run").read_json("metrics.json")
    assert len(metrics["arms"]) == 5
    for budget in metrics["budgets"]:
        assert 0.3 < budget["eom"]["low"] < budget["eom"]["value"] < budget["eom"]["high"] < 1.05
