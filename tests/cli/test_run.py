from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dfl.cli.console import Bars
from dfl.pipeline import RunFolder
from tests.cli.outcome import Dfl

Write = Callable[[Path, object], Path]


def test_a_run_prints_its_results_and_where_it_is(dfl: Dfl, write: Write, tmp_path: Path) -> None:
    done = dfl("run", write(tmp_path / "mine.yaml", "tsm-sl"), "-o", tmp_path / "run")
    assert done.code == 0, done.text
    for part in ("mine: value within the budget", "share=0.3", "oracle", "20%", "Run folder:"):
        assert part in done.text
    assert RunFolder.open(tmp_path / "run").finished


def test_options_change_the_configuration(dfl: Dfl, write: Write, tmp_path: Path) -> None:
    done = dfl(
        *("run", write(tmp_path / "mine.yaml", "dfcl"), "-o", tmp_path / "run"),
        *("--loss", "primal-policy", "--layer", "softmax", "--solver", "dual-bisection"),
        *("--set", "layer.softness.temperature=0.5", "--set", "method.decision_epochs=1"),
        *("--budget-per-head", 0.3, "--budget-per-head", 0.5),
        *("--seed", 4, "--members", 1, "--epochs", 1, "--device", "cpu"),
    )
    assert done.code == 0, done.text
    config = RunFolder.open(tmp_path / "run").config
    assert config["layer"]["softness"]["temperature"] == 0.5
    assert config["solver"]["name"] == "dual-bisection"
    assert config["method"]["decision_epochs"] == 1
    assert config["budgets"] == [{"per_head": 0.3}, {"per_head": 0.5}]
    assert (config["seed"], config["device"]) == (4, "cpu")
    assert (config["training"]["members"], config["training"]["epochs"]) == (1, 1)


def test_another_loss_and_another_layer_are_both_taken(
    dfl: Dfl, write: Write, tmp_path: Path
) -> None:
    done = dfl(
        *("run", write(tmp_path / "mine.yaml", "dfcl"), "-o", tmp_path / "run"),
        *("--layer", "quadratic", "--loss", "dual-policy"),
        *("--set", "method.decision_epochs=1", "--epochs", 1, "--members", 1),
    )
    assert done.code == 0, done.text
    config = RunFolder.open(tmp_path / "run").config
    assert config["loss"]["name"] == "dual-policy"
    assert config["layer"]["name"] == "quadratic"


def test_without_a_folder_a_new_one_is_made_each_time(
    dfl: Dfl, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine-coupon", "mine-coupon-2"):
        done = dfl("run", write(tmp_path / "mine.yaml", "tsm-sl"), "--budget-share", 0.4)
        assert f"Run folder: runs/{name}" in done.text
        assert RunFolder.open(tmp_path / "runs" / name).config["budgets"] == [{"share": 0.4}]


def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_numbers(
    dfl: Dfl, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, path = write(tmp_path / "mine.yaml", "tsm-sl"), tmp_path / "stopped"
    whole = dfl("run", config, "-o", tmp_path / "whole")

    def stop(self: Bars, done: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bars, "epoch", stop)
        stopped = dfl("run", config, "-o", path)
    assert stopped.code == 130
    assert f"Go on with: dfl run -o {path} --resume" in stopped.text
    assert "Traceback" not in stopped.text

    again = dfl("run", "-o", path, "--resume")
    assert again.code == 0, again.text
    assert again.text.partition("mine: value")[2].replace(str(path), "") == whole.text.partition(
        "mine: value"
    )[2].replace(str(tmp_path / "whole"), "")
    metrics = [RunFolder.open(one).read_json("metrics.json") for one in (path, tmp_path / "whole")]
    assert metrics[0] == metrics[1]

    once_more = dfl("run", "-o", path, "--resume")
    assert once_more.code == 0
    assert f"{path} is finished; nothing to do." in once_more.text


def test_ctrl_c_before_anything_is_kept(
    dfl: Dfl, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Bars, text: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bars, "say", stop)
    stopped = dfl("run", write(tmp_path / "mine.yaml", "tsm-sl"), "-o", tmp_path / "run")
    assert stopped.code == 130
    assert "Nothing was kept: the data was not loaded yet." in stopped.text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "error: dfl run needs a configuration, such as 'dfl run bi-dfcl'."),
        (["run", "bi-dfc"], "error: 'bi-dfc' is not among the configurations. Did you mean"),
        (["run", "x.yaml"], "error: no configuration file at x.yaml."),
        (["run", "tsm-sl", "--data", "cuopon"], "data: 'cuopon' is not among the data. Did you"),
        (["run", "tsm-sl", "--data", "no.csv"], "error: no data file no.csv; looked for no.csv"),
        (
            ["run", "tsm-sl", "--layer", "softmax"],
            "error: tsm-sl has no layer, or is given one inside;",
        ),
        (["run", "dfcl", "--layer", "sotfmax"], "'sotfmax' is not among the layers. Did you mean"),
        (["run", "dfcl", "--loss", "ppl"], "method.loss: 'ppl' is not among the losses."),
        (["run", "bi-dfcl", "--hypergrad", "cg"], "method.hypergrad: 'cg' is not among the hyper"),
        (["run", "tsm-sl", "--solver", "x"], "solver: 'x' is not among the solvers."),
        (["run", "tsm-sl", "--set", "training.epoch=3"], "Did you mean 'epochs'?"),
        (["run", "tsm-sl", "--set", "epochs"], "--set takes section.option=value, got 'epochs'"),
        (["run", "tsm-sl", "--epochs", "0"], "training: epochs must be >= 1, got 0."),
        (["run", "tsm-sl", "--device", "abacus"], "device 'abacus' cannot be used"),
        (["run", "tsm-sl", "--device", "meta"], "device 'meta' cannot be used"),
        (
            ["run", "tsm-sl", "--budget-share", "0.1", "--budget-per-head", "1"],
            "by --budget-per-head or by --budget-share, not both",
        ),
        (["run", "tsm-sl", "--budget-share", "3"], "budget share must be in [0, 1], got 3."),
        (["run", "--resume"], "error: --resume needs the run folder: -o FOLDER."),
        (["run", "--resume", "-o", "nowhere"], "nowhere is not a run folder"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    dfl: Dfl, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = dfl(*arguments)
    assert done.code == 2
    assert message in done.text
    assert "Traceback" not in done.text
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists(dfl: Dfl, shop: Path) -> None:
    done = dfl("run", shop / "shop.yaml", "-o", shop / "run")
    assert done.code == 2
    assert "already holds a run; go on with it by --resume" in done.text


def test_resuming_takes_no_other_configuration(dfl: Dfl, shop: Path) -> None:
    run = shop / "run"
    assert dfl("run", shop / "shop.yaml", "-o", run, "--resume").code == 0
    other = dfl("run", shop / "shop.yaml", "-o", run, "--resume", "--epochs", 7)
    assert other.code == 2
    assert "was begun with another configuration" in other.text
    options = dfl("run", "-o", run, "--resume", "--epochs", 7)
    assert options.code == 2
    assert "--resume takes the configuration of the run folder" in options.text


def test_a_full_disk_is_one_line(
    dfl: Dfl, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    done = dfl("run", write(tmp_path / "mine.yaml", "tsm-sl"), "-o", tmp_path / "run")
    assert done.code == 2
    assert "error: could not write" in done.text
    assert "No space left on device" in done.text
