from pathlib import Path
from typing import Any

import pytest

from dfl.cli.console import Bars
from dfl.config import to_yaml
from dfl.pipeline import SuiteResults
from dfl.pipeline.suite_results import RESULTS
from tests.cli.outcome import Dfl
from tests.pipeline.tiny_suite import suite_config


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The file of a tiny suite."""
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml(suite_config(paper={"Table 9": {"kd": "0.1234"}})))
    return path


def rows(path: Path) -> list[tuple[str, str, int]]:
    found = SuiteResults.read(path / RESULTS).rows
    return [(row["data"], row["method"], row["seed"]) for row in found]


def test_a_suite_runs_and_prints_its_tables(
    dfl: Dfl, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = dfl("compare", "--suite", suite, "--only", "coupon", "--seeds", 2)
    assert done.code == 0, done.text
    for part in ("Share of the oracle's gain", "coupon: minus tsm-sl", "0.1234", "Processor sec"):
        assert part in done.text
    path = tmp_path / "runs" / "suite-tiny"
    assert len(rows(path)) == 4
    turned = dfl("report", path, "--reference", "kd")
    assert turned.code == 0, turned.text
    assert "coupon: minus kd" in turned.text
    unknown = dfl("report", path, "--reference", "kdd")
    assert (unknown.code, "Did you mean 'kd'?" in unknown.text) == (2, True)
    for name in ("report.html", "tables.md", "tables.csv"):
        assert (path / name).is_file()
    plots = {one.name for one in (path / "plots").iterdir()}
    assert plots == {"coupon,-value-against-budget.png", "coupon,-value-against-time.png"}


def test_options_change_a_suite(dfl: Dfl, suite: Path, tmp_path: Path) -> None:
    path = tmp_path / "all"
    done = dfl(
        *("compare", "--suite", suite, "-o", path, "--seeds", 1, "--first-seed", 7),
        *("--only", "ads", "--only", "kd", "--members", 2, "--epochs", 2, "--device", "cpu"),
        *("--set", "data.ads.data.noise=0.2", "--set", "methods.kd.method.gate=1.0"),
    )
    assert done.code == 0, done.text
    assert rows(path) == [("ads", "kd", 7)]
    found = SuiteResults.read(path / RESULTS).rows[0]
    assert (found["members"], found["epochs"]) == (2, 2)
    assert '"noise": 0.2' in found["config"]
    assert '"gate": 1.0' in found["config"]
    lacking = dfl("report", path, "--reference", "tsm-sl")
    assert (lacking.code, "has no row of tsm-sl yet" in lacking.text) == (2, True)


def test_ctrl_c_leaves_a_suite_that_resumes_and_grows(
    dfl: Dfl, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "all", [0]

    def stop(self: Bars, done: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bars, "epoch", stop)
        stopped = dfl("compare", "--suite", suite, "--only", "coupon", "--seeds", 1, "-o", path)
    assert stopped.code == 130
    assert f"Go on with: dfl compare -o {path} --resume" in stopped.text
    middle = dfl("report", path)  # a suite can be looked at before its end
    assert middle.code == 0, middle.text
    assert len(rows(path)) == 1
    again = dfl("compare", "-o", path, "--resume")
    assert again.code == 0, again.text
    assert rows(path) == [("coupon", "kd", 0), ("coupon", "tsm-sl", 0)]
    more = dfl(
        "compare", "--suite", suite, "--only", "coupon", "--seeds", 2, "-o", path, "--resume"
    )
    assert more.code == 0, more.text
    assert len(rows(path)) == 4
    changed = dfl("compare", "-o", path, "--resume", "--epochs", 3)
    assert changed.code == 2
    assert "other settings (training.epochs was 1, is now 3)" in changed.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "tabel2"], "'tabel2' is not among the suites. Did you mean 'table2'?"),
        (["tsm-sl", "--suite", "table2"], "a suite names its methods and its reference itself"),
        (["--suite", "table2", "--baseline", "x"], "got 'x'; choose among them by --only"),
        (["--suite", "table2", "--data", "coupon"], "a suite says itself which data, budgets"),
        (["--suite", "table2", "--seed", "3"], "change it by --set, --seeds and --first-seed"),
        (["--suite", "table2", "--resume"], "--resume needs the folder of the suite: -o FOLDER"),
        (["--suite", "table2", "--only", "x"], "only: 'x' is not among the methods and data sets"),
        (["--suite", "table2", "--resume", "-o", "nowhere"], "nowhere holds no suite"),
        (["--first-seed", "1", "a", "b"], "--first-seed and --only are for suites"),
        (["--only", "a", "a", "b"], "--first-seed and --only are for suites"),
    ],
)
def test_mistakes_are_said(dfl: Dfl, arguments: list[str], message: str) -> None:
    done = dfl("compare", *arguments)
    assert done.code == 2
    assert message in done.text
