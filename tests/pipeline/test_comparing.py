import shutil
from pathlib import Path
from typing import Any, final

import pytest

from dfl.config import Comparison
from dfl.data import Columns, LoadedData
from dfl.errors import RunFolderError
from dfl.pipeline import (
    RunFolder,
    Silent,
    compare,
    comparison_report_of,
    resume,
    resume_comparison,
    run,
)
from dfl.pipeline.served import MODEL, Served
from tests.pipeline.tiny import Noting, tiny_study, write_shop


def comparison(seeds: int, **sections: Any) -> Comparison:
    studies = tuple(tiny_study(name, **sections) for name in ("tsm-sl", "kd-label"))
    return Comparison(studies=studies, seeds=seeds, baseline="tsm-sl")


@final
class StopError(Exception):
    """Stands for whatever ends a comparison early."""


def stop() -> None:
    raise StopError


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return compare(comparison(1), tmp_path_factory.mktemp("once") / "all", Silent())


@pytest.fixture(scope="module")
def often(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return compare(comparison(3), tmp_path_factory.mktemp("often") / "all", Silent())


def test_with_one_seed_every_method_has_a_whole_run_folder(once: RunFolder, tmp_path: Path) -> None:
    alone = run(tiny_study("kd-label"), tmp_path / "alone", Silent())
    own = RunFolder.open(once.path / "kd-label")
    assert own.finished
    assert own.read_json("metrics.json") == alone.read_json("metrics.json")


def test_with_one_seed_differences_are_paired_over_rows(once: RunFolder) -> None:
    found = once.read_json("comparison.json")
    assert [one["given"] for one in found["budgets"]] == ["share=0.3", "share=0.6"]
    for budget in found["budgets"]:
        first, second = (budget["methods"][name]["eom"] for name in ("tsm-sl", "kd-label"))
        difference = budget["methods"]["kd-label"]["eom_difference"]
        assert difference["value"] == pytest.approx(second["value"] - first["value"])
        assert difference["low"] <= difference["value"] <= difference["high"]
        assert 0 <= difference["p_value"] <= 1


def test_seeds_are_runs_of_their_own(often: RunFolder, tmp_path: Path) -> None:
    seeds = RunFolder(often.path / "tsm-sl").read_json("metrics.json")["seeds"]
    assert len(seeds) == 3
    alone = run(tiny_study(seed=2), tmp_path / "alone", Silent()).read_json("metrics.json")
    for one, other in zip(seeds[2]["budgets"], alone["budgets"], strict=True):
        # Trained beside other seeds, sums run in another order.
        assert one["eom"]["value"] == pytest.approx(other["eom"]["value"], rel=0.05)
        assert one["constant_mix"] == other["constant_mix"]


def test_one_method_of_several_seeds_is_no_run(often: RunFolder) -> None:
    path = often.path / "tsm-sl"
    before = (path / "metrics.json").read_bytes()
    for use in (lambda: resume(path, Silent()), lambda: RunFolder.open(path)):
        with pytest.raises(RunFolderError, match="one method of a comparison over 3 seeds"):
            use()
    assert (path / "metrics.json").read_bytes() == before


def test_with_seeds_intervals_are_over_seeds(often: RunFolder) -> None:
    found = often.read_json("comparison.json")
    assert found["seeds"] == 3
    assert "Student's t" in found["note"]
    for entry in found["budgets"][0]["methods"].values():
        assert entry["share_of_gain"]["low"] < entry["share_of_gain"]["high"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_resumed_comparison_keeps_what_is_done_and_gives_the_same_numbers(
    seeds: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole: RunFolder = request.getfixturevalue("once" if seeds == 1 else "often")
    with pytest.raises(StopError):  # in the teacher of the second method
        compare(comparison(seeds), tmp_path / "all", Noting(3, act=stop))
    watcher = Noting()
    again = resume_comparison(tmp_path / "all", watcher)
    assert watcher.epochs == [("teacher", 2), ("target", 1), ("target", 2)]
    for file in ("config.yaml", "comparison.json", "report.html"):
        assert (again.path / file).read_bytes() == (whole.path / file).read_bytes()
    watcher = Noting()
    resume_comparison(tmp_path / "all", watcher)
    assert watcher.said == [f"{again.path} is finished; nothing to do."]


def test_a_file_is_read_once_for_all_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, loads = Columns.load, []

    def load(self: Columns) -> LoadedData:
        loads.append(self.path)
        return read(self)

    monkeypatch.setattr(Columns, "load", load)
    data = write_shop(tmp_path / "shop.parquet")
    folder = compare(comparison(2, data=data), tmp_path / "all", Silent())
    assert len(loads) == 1
    assert "oracle" not in folder.read_json("comparison.json")["budgets"][0]["references"]
    assert len(comparison_report_of(folder).tables) == 2


def test_a_folder_that_exists(once: RunFolder) -> None:
    with pytest.raises(RunFolderError, match="already holds a run"):
        compare(comparison(1), once.path, Silent())


def test_the_folder_of_a_method_that_holds_another_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        compare(comparison(1), tmp_path / "all", Noting(3, act=stop))
    shutil.rmtree(tmp_path / "all" / "kd-label")
    run(tiny_study("kd-label", seed=5), tmp_path / "all" / "kd-label", Silent())
    with pytest.raises(RunFolderError, match="kd-label holds a run of another configuration"):
        resume_comparison(tmp_path / "all", Silent())


def test_a_comparison_itself_allocates_nothing(once: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds a comparison; name the folder of one of its"):
        Served.of(once)
    bare = RunFolder.create(tmp_path / "bare", tiny_study().config)
    shutil.copy(once.path / "tsm-sl" / MODEL, bare.path)
    bare.seal(MODEL)
    with pytest.raises(RunFolderError, match=r"has no encoder\.json: its data came without"):
        Served.of(bare)
