import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import pytest

from dfl.data import CouponSimulator, HybridData
from dfl.errors import (
    DataNotFoundError,
    InvalidValueError,
    NotConvergedError,
    RunFolderError,
    WriteError,
)
from dfl.io import read_tensors
from dfl.methods import KdLabel
from dfl.pipeline import Silent, SuiteResults, locked, resume_suite, run_suite, suite_report_of
from dfl.pipeline.suite_results import RESULTS
from tests.pipeline.tiny import Noting
from tests.pipeline.tiny_suite import numbers, tiny_suite


@final
class KilledError(BaseException):
    """Stands for the end of the process."""


def killed() -> None:
    raise KilledError


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> SuiteResults:
    return run_suite(tiny_suite(), tmp_path_factory.mktemp("suite") / "all", Silent())


def test_there_is_a_row_for_every_cell_and_seed(unbroken: SuiteResults) -> None:
    cells = [(row["data"], row["method"], row["seed"]) for row in unbroken.rows]
    assert cells == sorted(
        (data, method, seed)
        for data in ("coupon", "ads")
        for method in ("tsm-sl", "kd")
        for seed in range(3)
    )
    assert numbers(SuiteResults.read(unbroken.path).rows) == numbers(unbroken.rows)


def test_a_row_has_every_metric(unbroken: SuiteResults) -> None:
    for row in unbroken.rows:
        assert row["suite"] == "tiny"
        assert row["failed"] is None
        assert (row["first_budget"], row["epochs"], row["members"]) == ("share=0.3", 1, 1)
        assert row["seeds_at_once"] == (1 if row["seed"] == 2 else 2)
        assert row["cpu_seconds"] > 0
        assert json.loads(row["last_epoch"])["target"][0]["loss"] > 0
        for at in ("share=0.3", "share=0.6"):
            for name in ("eom", "over_mix"):
                assert row[f"{name}_se@{at}"] > 0
            true = row[f"true_value@{at}"]
            assert row[f"regret@{at}"] == pytest.approx(row[f"oracle@{at}"] - true)
            gain = row[f"oracle@{at}"] - row[f"true_mix@{at}"]
            share = (true - row[f"true_mix@{at}"]) / gain
            assert row[f"share_of_gain@{at}"] == pytest.approx(share)
    ads, coupon = unbroken.rows[0], unbroken.rows[-1]
    assert (ads["treatments"], coupon["treatments"]) == (2, 5)
    assert ads["true_aucc"] < ads["oracle_aucc"]
    assert "true_aucc" not in coupon


def test_methods_see_the_same_rows_in_a_seed(unbroken: SuiteResults) -> None:
    for one in unbroken.rows:
        for other in unbroken.rows:
            if (one["data"], one["seed"]) == (other["data"], other["seed"]):
                assert one["oracle@share=0.3"] == other["oracle@share=0.3"]
    seeds = {row["oracle@share=0.3"] for row in unbroken.rows if row["data"] == "coupon"}
    assert len(seeds) == 3


@pytest.mark.parametrize(
    "watcher",
    [
        Noting(before="kd on coupon, seeds 0", act=killed),
        Noting(before="Drawing ads", act=killed),
        Noting(before="kd on ads, seed 2", act=killed),
        Noting(after=3, act=killed),
    ],
)
def test_a_suite_that_was_killed_resumes_to_the_same_rows(
    unbroken: SuiteResults, watcher: Noting, tmp_path: Path
) -> None:
    path = tmp_path / "all"
    with pytest.raises(KilledError):
        run_suite(tiny_suite(), path, watcher)
    (path / f".{RESULTS}.{'0' * 32}.part").write_text("half")
    before = SuiteResults.read(path / RESULTS).rows
    assert len(before) < len(unbroken.rows)
    again = resume_suite(path, Silent())
    assert numbers(again.rows) == numbers(unbroken.rows)
    assert {one.name for one in path.iterdir()} == {RESULTS}


def test_a_finished_suite_trains_nothing_again(unbroken: SuiteResults) -> None:
    watcher = Noting()
    again = resume_suite(unbroken.path.parent, watcher)
    assert watcher.epochs == []
    assert len(again.rows) == 12


def test_more_seeds_and_methods_are_added(tmp_path: Path) -> None:
    path = tmp_path / "all"
    first = run_suite(tiny_suite(seeds=2, only=["tsm-sl", "coupon"]), path, Silent())
    assert len(first.rows) == 2
    watcher = Noting()
    more = resume_suite(path, watcher, tiny_suite(seeds=3, only=["coupon"]))
    assert len(more.rows) == 6
    trained = [text for text in watcher.said if text.startswith("tsm-sl")]
    assert [text.partition(" (")[0] for text in trained] == ["tsm-sl on coupon, seed 2"]
    assert numbers(more.rows)[3:5] == numbers(first.rows)
    assert SuiteResults.read(path / RESULTS).config["only"] == ["coupon"]


def test_a_changed_suite_is_refused(unbroken: SuiteResults) -> None:
    changed = tiny_suite(evaluation={"draws": 4})
    before = unbroken.path.read_bytes()
    with pytest.raises(
        RunFolderError, match=r"other settings \(evaluation.draws was 3, is now 4\)"
    ):
        resume_suite(unbroken.path.parent, Silent(), changed)
    assert unbroken.path.read_bytes() == before


def test_a_second_start_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "all"
    tries: list[Callable[[], object]] = [
        lambda: run_suite(tiny_suite(), path, Silent()),
        lambda: resume_suite(path, Silent()),
    ]

    def try_both() -> None:
        with pytest.raises(RunFolderError, match="is not empty; go on with its suite by --resume"):
            tries[0]()
        with pytest.raises(RunFolderError, match="is in use by process"):
            tries[1]()

    run_suite(tiny_suite(seeds=1, only=["tsm-sl", "coupon"]), path, Noting(after=1, act=try_both))
    with locked(tmp_path / "new"), pytest.raises(RunFolderError, match="is in use by process"):
        run_suite(tiny_suite(), tmp_path / "new", Silent())


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty"):
        run_suite(tiny_suite(), tmp_path, Silent())
    with pytest.raises(RunFolderError, match="is not empty"):
        run_suite(tiny_suite(), tmp_path / "note.txt", Silent())
    with pytest.raises(RunFolderError, match="holds no suite"):
        resume_suite(tmp_path, Silent())
    SuiteResults(tmp_path / RESULTS, {}).write()
    with pytest.raises(RunFolderError, match="has measured nothing yet"):
        suite_report_of(tmp_path)


def test_what_does_not_converge_leaves_a_row_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = KdLabel.fit_many

    def diverging(self: KdLabel, sets: Any, **more: Any) -> Any:
        if any(one.seed == 1 for one in sets):
            raise NotConvergedError("it diverged")
        return fit(self, sets, **more)

    monkeypatch.setattr(KdLabel, "fit_many", diverging)
    results = run_suite(tiny_suite(only=["coupon"]), tmp_path / "all", Silent())
    failed = {(row["method"], row["seed"]): row["failed"] for row in results.rows}
    assert {cell: text for cell, text in failed.items() if text} == {("kd", 1): "it diverged"}
    assert "true_value@share=0.3" not in results.rows[1]
    assert results.rows[0]["seeds_at_once"] == 1  # its partner failed, so it trained alone
    tables = {table.title: table for table in suite_report_of(tmp_path / "all").tables}
    assert tables["What failed"].rows == [["kd", "coupon", "1 of 3", "it diverged"]]


def test_a_seed_whose_rows_miss_a_treatment_leaves_rows_that_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hybrid = CouponSimulator.hybrid

    def lacking(self: CouponSimulator, seed: int) -> HybridData:
        if seed == 1:
            raise InvalidValueError("every treatment must occur")
        return hybrid(self, seed)

    monkeypatch.setattr(CouponSimulator, "hybrid", lacking)
    watcher = Noting()
    results = run_suite(tiny_suite(only=["coupon", "tsm-sl"]), tmp_path / "all", watcher)
    assert [row["failed"] for row in results.rows] == [
        None,
        "its rows: every treatment must occur",
        None,
    ]
    assert (results.rows[1]["test_rows"], results.rows[1]["cpu_seconds"]) == (None, None)
    assert "coupon, seed 1, is left out: every treatment must occur" in watcher.said
    assert numbers(resume_suite(tmp_path / "all", Silent()).rows) == numbers(results.rows)
    failed = suite_report_of(tmp_path / "all").tables[-1]
    assert failed.rows == [["tsm-sl", "coupon", "1 of 3", "its rows: every treatment must occur"]]


def test_a_full_disk_ends_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise WriteError("disk full")

    monkeypatch.setattr(KdLabel, "fit_many", full)
    with pytest.raises(WriteError, match="disk full"):
        run_suite(tiny_suite(), tmp_path / "all", Silent())


def test_a_missing_file_is_known_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFL_DATA", str(tmp_path))
    data: dict[str, Any] = {**tiny_suite().config["data"], "gotv": {}}
    watcher = Noting()
    with pytest.raises(DataNotFoundError):
        run_suite(tiny_suite(data=data), tmp_path / "all", watcher)
    assert not (tmp_path / "all").exists()
    data["gotv"] = {"optional": True}
    suite = tiny_suite(data=data, seeds=1, only=["tsm-sl"])
    assert len(run_suite(suite, tmp_path / "all", watcher).rows) == 2
    assert watcher.said[0].startswith("gotv is left out: ")


def test_predictions_are_kept_where_asked(tmp_path: Path) -> None:
    odd = "Größe 5 %, (ö) it's = $x$"
    data = {odd: tiny_suite().config["data"]["coupon"]}
    suite = tiny_suite(data=data, seeds=2, keep_predictions=True)
    results = run_suite(suite, tmp_path / "all", Silent())
    tensors, _ = read_tensors(tmp_path / "all" / "predictions" / odd / "kd" / "1.safetensors")
    assert tensors["revenue"].shape == tensors["cost"].shape == (160, 5)
    assert {row["data"] for row in results.rows} == {odd}
    files = suite_report_of(tmp_path / "all").files()
    assert odd in files["tables.md"].decode()
    assert f"plots/{odd.replace(' ', '-')},-value-against-time.png" in files


def test_seeds_that_train_together_are_drawn_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    hybrid = CouponSimulator.hybrid

    def counted(self: CouponSimulator, seed: int) -> HybridData:
        drawn.append(seed)
        return hybrid(self, seed)

    monkeypatch.setattr(CouponSimulator, "hybrid", counted)
    watcher = Noting()
    run_suite(tiny_suite(first_seed=5, only=["coupon"]), tmp_path / "all", watcher)
    assert drawn == [5, 6, 7]
    said = [text.partition(" (")[0] for text in watcher.said if " on " in text]
    assert said == [
        "tsm-sl on coupon, seed 5",
        "kd on coupon, seed 5",
        "tsm-sl on coupon, seeds 6 to 7",
        "kd on coupon, seeds 6 to 7",
    ]
    assert "left)" in watcher.said[2]
