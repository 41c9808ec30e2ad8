import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pytest

from dfl.config import to_yaml
from dfl.errors import MissingExtraError, UnknownNameError
from dfl.methods import Progress
from dfl.pipeline import MLflow, RunFolder, Silent, TensorBoard, Tracked, make_tracker, run
from dfl.pipeline.tracking import AbstractTracker
from tests.cli.outcome import invoke
from tests.pipeline.tiny import Noting, tiny_config, tiny_study


@pytest.fixture
def mlruns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of a server; nothing is sent anywhere."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return tmp_path / "mlruns"


def scalars(folder: Path) -> dict[str, list[float]]:
    """Return what TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {tag: [one.value for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_holds_the_curves_of_history_and_the_results(tmp_path: Path) -> None:
    told = Tracked(Silent(), [TensorBoard(tmp_path / "board")])
    folder = run(tiny_study(), tmp_path / "run", told)
    told.finished(folder)
    shown = scalars(tmp_path / "board")
    for stage, epochs in folder.read_json("history.json").items():
        if stage != "weight_decay":
            loss = [one["loss"] for one in epochs]
            assert shown[f"{stage}/loss"] == pytest.approx(loss)
    for budget in folder.read_json("metrics.json")["budgets"]:
        assert shown[f"{budget['given']}/value"] == pytest.approx([budget["eom"]["value"]])


def test_mlflow_holds_options_curves_results_and_the_page(tmp_path: Path, mlruns: Path) -> None:
    from mlflow import MlflowClient

    told = Tracked(Silent(), [MLflow("first")])
    folder = run(tiny_study(), tmp_path / "run", told)
    told.finished(folder)
    client = MlflowClient()
    experiment = client.get_experiment_by_name("dfl")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("first", "FINISHED")
    assert found.data.params["training.epochs"] == "2"
    metrics = folder.read_json("metrics.json")
    (value, _) = (budget["eom"]["value"] for budget in metrics["budgets"])
    assert found.data.metrics["share 0.3/value"] == pytest.approx(value)
    stage, epochs = next(iter(folder.read_json("history.json").items()))
    history = client.get_metric_history(found.info.run_id, f"{stage}/loss")
    assert [one.value for one in history] == pytest.approx([one["loss"] for one in epochs])
    kept = {one.path for one in client.list_artifacts(found.info.run_id)}
    assert kept == {"report.html", "metrics.json", "config.yaml"}


@final
@dataclass
class Failing(AbstractTracker):
    """A tracker whose server is away."""

    told: int = 0

    def epoch(self, done: Progress) -> None:
        self.told += 1
        raise ConnectionError("no answer")

    def finished(self, folder: RunFolder) -> None:
        raise AssertionError("told after it has failed")


def test_a_tracker_that_fails_is_told_no_more_and_the_run_goes_on(tmp_path: Path) -> None:
    failing, hearing = Failing(), Noting()
    told = Tracked(hearing, [failing])
    folder = run(tiny_study(), tmp_path / "run", told)
    told.finished(folder)
    assert folder.finished
    assert failing.told == 1
    assert "warning: Failing is told no more: no answer" in hearing.said


def test_the_command_line_tells_both(tmp_path: Path, mlruns: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(to_yaml(tiny_config("tsm-sl")))
    place = tmp_path / "run"
    both = ("--track", "tensorboard", "--track", "mlflow")
    done = invoke("run", tmp_path / "tiny.yaml", "-o", place, *both)
    assert done.code == 0, done.text
    assert any(tag.endswith("/value") for tag in scalars(place / "tensorboard"))
    assert [*mlruns.rglob("report.html")]
    assert json.loads((place / "metrics.json").read_text())["name"] == "tiny"
    again = invoke("run", "-o", place, "--resume", "--track", "tensorboard")
    assert again.code == 0, again.text


def test_an_unknown_tracker_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="'wandb' is not among the trackers"):
        make_tracker("wandb", "x", tmp_path)


@pytest.mark.parametrize("kind", ["mlflow", "tensorboard"])
def test_a_missing_package_is_said_before_training(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name.startswith("torch.utils.tensorboard"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, kind, None)  # type: ignore[arg-type]  # as the import does
    with pytest.raises(MissingExtraError, match=rf"pip install 'dfl-toolkit\[{kind}\]'"):
        make_tracker(kind, "x", tmp_path)
