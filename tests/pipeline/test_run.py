import json
import os
from pathlib import Path
from typing import Any, final

import pytest
import torch

from dfl.errors import (
    ConfigError,
    DataError,
    InfeasibleBudgetError,
    InvalidValueError,
    RunFolderError,
    WriteError,
)
from dfl.models import load_model
from dfl.pipeline import RunFolder, Silent, report_of, resume, run
from dfl.pipeline.run import predict
from dfl.pipeline.yardstick import Yardstick
from tests.pipeline.tiny import Noting, tiny_study, write_shop

# Epochs of every stage, and the gate learned from the first step on.
BRIDGE = {"warm_epochs": 0, "every": 1, "batch_size": 64, "hidden": [3]}
METHODS: dict[str, Any] = {
    "tsm-sl": "tsm-sl",
    "grounded": "grounded",
    "kd-label": "kd-label",
    "dfcl": {"name": "dfcl", "decision_epochs": 1},
    "bi-dfcl": {"name": "bi-dfcl", "upper": BRIDGE},
}
SAME = ("config.yaml", "encoder.json", "history.json", "metrics.json", "report.html")


@final
class StopError(Exception):
    """Stands for whatever ends a run early."""


def stop() -> None:
    raise StopError


def test_a_run_leaves_everything_behind(tmp_path: Path) -> None:
    watcher = Noting()
    study = tiny_study()
    folder = run(study, tmp_path / "run", watcher)
    assert folder.finished
    assert folder.config == study.config
    assert {path.name for path in folder.path.iterdir()} == {
        "config.yaml",
        "encoder.json",
        "history.json",
        "manifest.json",
        "metrics.json",
        "model.safetensors",
        "plots",
        "report.html",
        "timing.json",
        "versions.json",
    }
    assert {path.name for path in (folder.path / "plots").iterdir()} == {
        "calibration.png",
        "difference-against-budget.png",
        "mix-against-budget.png",
        "training.png",
        "value-against-budget.png",
    }
    assert watcher.epochs == [("target", 1), ("target", 2)]
    assert watcher.said == [
        "Loading data: coupon",
        "Rows: 120 rct, 150 obs, 100 validation, 160 test",
        "Training tsm-sl",
        "Evaluating tsm-sl",
    ]


def test_metrics_are_those_of_the_saved_model(tmp_path: Path) -> None:
    study = tiny_study()
    folder = run(study, tmp_path / "run", Silent())
    metrics = folder.read_json("metrics.json")
    assert metrics["rows"] == {"rct": 120, "obs": 150, "validation": 100, "test": 160}
    assert (metrics["name"], metrics["data"], metrics["seed"]) == ("tsm-sl", "coupon", 0)
    model = load_model(folder.path / "model.safetensors")
    assert model.members == 2
    test = study.data.hybrid(0).test
    predicted = predict(model, test)
    assert predicted.revenue.shape == (160, 5)
    assert set(metrics["arms"]) == {"none", "5%", "10%", "15%", "20%"}
    assert len(metrics["curve"]) == len(metrics["mix"]) == 21
    assert report_of(folder).tables[0].title == "tsm-sl: value within the budget"


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    first, again, other = (
        run(tiny_study(seed=seed), tmp_path / name, Silent())
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    metrics = [folder.read_json("metrics.json") for folder in (first, again, other)]
    assert metrics[0] == metrics[1]
    assert metrics[0]["budgets"] != metrics[2]["budgets"]


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_gives_the_numbers_of_one_that_was_not_stopped(
    name: str, tmp_path: Path
) -> None:
    study = tiny_study(METHODS[name])
    through = Noting()
    whole = run(study, tmp_path / "whole", through)
    middle, last = (len(through.epochs) + 1) // 2, len(through.epochs)
    for after in {middle, last}:
        path = tmp_path / f"stopped-{after}"
        with pytest.raises(StopError):
            run(study, path, Noting(after, act=stop))
        assert not RunFolder.open(path).finished
        watcher = Noting()
        again = resume(path, watcher)
        assert watcher.epochs == through.epochs[after:]
        for file in SAME:
            assert (again.path / file).read_bytes() == (whole.path / file).read_bytes()
        assert json.loads((again.path / "timing.json").read_text())["after_resuming"]


def test_a_run_stopped_after_training_is_only_evaluated(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        run(tiny_study(), tmp_path / "run", Noting(before="Evaluating", act=stop))
    watcher = Noting()
    assert resume(tmp_path / "run", watcher).finished
    assert watcher.epochs == []


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    folder = run(tiny_study(), tmp_path / "run", Silent())
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    watcher = Noting()
    resume(folder.path, watcher)
    assert watcher.said == [f"{folder.path} is finished; nothing to do."]
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before


def test_a_folder_that_exists_is_refused_before_data_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    watcher = Noting()
    with pytest.raises(RunFolderError, match="not empty"):
        run(tiny_study(), tmp_path, watcher)
    assert watcher.said == []


def test_a_table_of_ones_own_from_end_to_end(tmp_path: Path) -> None:
    study = tiny_study("kd-label", data=write_shop(tmp_path / "shop.parquet"))
    metrics = run(study, tmp_path / "run", Silent()).read_json("metrics.json")
    assert metrics["data"] == "shop"
    assert list(metrics["arms"]) == ["mail", "letter"]
    assert 0 < metrics["aucc"]["value"] < 1
    assert "true" not in metrics["budgets"][0]


def test_a_budget_below_the_cheapest_treatment_is_refused_before_training(tmp_path: Path) -> None:
    study = tiny_study(data=write_shop(tmp_path / "shop.parquet"), budgets=[{"per_head": 0.9}])
    watcher = Noting()
    with pytest.raises(InfeasibleBudgetError, match=r"per_head=0.9 .*below the 1 per head"):
        run(study, tmp_path / "run", watcher)
    assert watcher.said[0] == "Loading data: shop"
    assert watcher.epochs == []
    assert not (tmp_path / "run").exists()


def test_parts_that_do_not_fit_are_refused_before_data_is_loaded(tmp_path: Path) -> None:
    watcher = Noting()
    with pytest.raises(ConfigError, match="device 'abacus' cannot be used"):
        run(tiny_study(device="abacus"), tmp_path / "run", watcher)
    assert watcher.said == []


def test_a_full_disk_stops_a_run_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 3:  # manifest, versions and configuration still fit
            raise OSError(28, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WriteError, match=r"target.safetensors: No space left on device"):
            run(tiny_study(), tmp_path / "run", Silent())
    assert resume(tmp_path / "run", Silent()).finished


def test_a_run_reports_on_every_device_what_its_file_gives(
    device: torch.device, tmp_path: Path
) -> None:
    study = tiny_study(device=str(device))
    folder = run(study, tmp_path / "run", Silent())
    model = load_model(folder.path / "model.safetensors")
    yardstick = Yardstick.of(study.data.hybrid(0).test, study.budgets, study.evaluation.bootstrap)
    again = yardstick.measure(predict(model, yardstick.test), study.solver)
    assert (
        json.loads(json.dumps(again.metrics))["budgets"]
        == folder.read_json("metrics.json")["budgets"]
    )


def test_a_configuration_of_an_earlier_version_says_who_made_it(tmp_path: Path) -> None:
    config = tiny_study().config | {"sovler": {"name": "greedy-dual"}}
    RunFolder.create(tmp_path / "run", config)
    with pytest.raises(ConfigError, match=r"'sovler' is not .* was made by dfl 0\..*CHANGELOG\.md"):
        resume(tmp_path / "run", Silent())


@pytest.mark.parametrize("method", ["tsm-sl", "grounded"])
def test_a_part_that_is_missing_is_refused_before_there_is_a_folder(
    tmp_path: Path, method: str
) -> None:
    data = write_shop(tmp_path / "shop.parquet")
    data["recipe"]["make_obs"] = False
    with pytest.raises(DataError, match=r"got no obs rows. Give some .*: tsm-sl-rct"):
        run(tiny_study(method, data=data), tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["tsm-sl", "bi-dfcl", "grounded"])
def test_costs_of_zero_are_refused_before_there_is_a_folder(tmp_path: Path, method: str) -> None:
    data = write_shop(tmp_path / "shop.parquet") | {"cost": {"mail": 0.0, "letter": 0.0}}
    with pytest.raises(InvalidValueError, match="cost must be positive somewhere, got 0 in every"):
        run(tiny_study(method, data=data), tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()
