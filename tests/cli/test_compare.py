from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dfl.cli.console import Bars
from dfl.pipeline import RunFolder
from tests.cli.outcome import Dfl

Write = Callable[[Path, object], Path]


@pytest.fixture
def two(write: Write, tmp_path: Path) -> tuple[Path, Path]:
    """Two tiny configurations."""
    return write(tmp_path / "one.yaml", "tsm-sl"), write(tmp_path / "two.yaml", "kd-label")


def test_methods_are_compared_with_the_first(
    dfl: Dfl, two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = dfl("compare", *two)
    assert done.code == 0, done.text
    for part in ("minus one", "oracle", "best constant mix", "Training: one ", "compare-coupon"):
        assert part in done.text
    for name in ("one", "two"):
        assert RunFolder.open(tmp_path / "runs" / "compare-coupon" / name).finished


def test_seeds_baseline_and_options(dfl: Dfl, two: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "all"
    done = dfl(
        *("compare", *two, "-o", path, "--seeds", 2, "--baseline", "two", "--seed", 3),
        *("--members", 1, "--epochs", 1, "--budget-share", 0.4, "--set", "data.noise=0.5"),
    )
    assert done.code == 0, done.text
    assert "minus two" in done.text
    assert "mean of 2 seeds" in done.text
    config = RunFolder.open(path).config
    assert (config["seeds"], config["baseline"]) == (2, "two")
    for run in config["runs"]:
        assert run["data"]["noise"] == 0.5
        assert (run["seed"], run["training"]["members"]) == (3, 1)
        assert run["budgets"] == [{"share": 0.4}]


def test_ctrl_c_leaves_a_comparison_that_resumes(
    dfl: Dfl, two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all"

    def stop(self: Bars, done: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bars, "epoch", stop)
        stopped = dfl("compare", *two, "-o", path)
    assert stopped.code == 130
    assert f"Go on with: dfl compare -o {path} --resume" in stopped.text
    again = dfl("compare", "-o", path, "--resume")
    assert again.code == 0, again.text
    assert "after resuming" in again.text
    assert RunFolder.open(path).finished


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "dfl compare needs methods, such as 'dfl compare tsm-sl bi-dfcl'"),
        (["tsm-sl"], "a comparison needs at least two methods"),
        (["tsm-sl", "tsm-sl"], "each method may come once"),
        (["tsm-sl", "dfcl", "--baseline", "dcfl"], "Did you mean 'dfcl'?"),
        (["tsm-sl", "dcfl"], "'dcfl' is not among the configurations"),
        (["--resume"], "--resume needs the folder of the comparison"),
        (["tsm-sl", "--resume", "-o", "x"], "leave methods and options out"),
        (["--resume", "-o", "x", "--seeds", "9"], "leave methods and options out"),
        (["--resume", "-o", "x", "--baseline", "a"], "leave methods and options out"),
        (["--resume", "-o", "x"], "x is not a run folder"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    dfl: Dfl, arguments: list[str], message: str
) -> None:
    done = dfl("compare", *arguments)
    assert done.code == 2
    assert message in done.text
