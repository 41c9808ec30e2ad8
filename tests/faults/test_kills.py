"""A run or comparison that dies, or finds the disk full, at any of its writes."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dfl.config import Comparison
from dfl.errors import RunFolderError, WriteError
from dfl.pipeline import (
    RunFolder,
    Silent,
    compare,
    holds_suite,
    resume,
    resume_comparison,
    resume_suite,
    run,
    run_suite,
)
from tests.faults.injected import KilledError, counting, full_disk, killed
from tests.pipeline.tiny import tiny_study, write_shop
from tests.pipeline.tiny_suite import numbers, tiny_suite

Start = Callable[[Path], RunFolder]


def of_run(data: dict[str, Any]) -> tuple[Start, Start]:
    study = tiny_study("tsm-sl", data=data)
    return lambda path: run(study, path, Silent()), lambda path: resume(path, Silent())


def of_comparison(data: dict[str, Any], seeds: int) -> tuple[Start, Start]:
    studies = tuple(tiny_study(name, data=data) for name in ("tsm-sl", "kd-label"))
    comparison = Comparison(studies=studies, seeds=seeds, baseline="tsm-sl")
    return (
        lambda path: compare(comparison, path, Silent()),
        lambda path: resume_comparison(path, Silent()),
    )


MAKERS: dict[str, Callable[[dict[str, Any]], tuple[Start, Start]]] = {
    "run": of_run,
    "compare": lambda data: of_comparison(data, 1),
    "compare-2-seeds": lambda data: of_comparison(data, 2),
}
FEW, ALL = 3, pytest.mark.faults
EVERY = [pytest.param(name, None, marks=ALL) for name in MAKERS]
# Times differ from run to run; manifests hold checksums of the times.
DIFFERENT = {"timing.json", "manifest.json"}


def contents(folder: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: b"" if path.name in DIFFERENT else path.read_bytes() for name, path in files.items()
    }


def go_on(start: Start, again: Start, path: Path) -> RunFolder:
    """Do what the messages say: resume, or start again where nothing was begun."""
    try:
        return again(path)
    except RunFolderError as error:
        if not re.search("run it again without --resume|is not a run folder", str(error)):
            raise
        return start(path)


@pytest.fixture(scope="module")
def job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> "Job":
    folder = tmp_path_factory.mktemp("whole")
    start, again = MAKERS[request.param](write_shop(folder / "shop.parquet"))
    with counting(folder / "run") as seen:
        start(folder / "run")
    assert seen.seen > 50
    return start, again, contents(folder / "run"), seen.seen


Job = tuple[Start, Start, dict[str, bytes], int]


def points(writes: int, how_many: int | None) -> list[int]:
    """Every write, or some, the very first and last among them."""
    if how_many is None:
        return list(range(writes))
    return sorted({round(k * (writes - 1) / (how_many - 1)) for k in range(how_many)})


@pytest.mark.parametrize(
    ("job", "how_many"), [("run", 5), ("compare", FEW), *EVERY], indirect=["job"]
)
def test_a_process_that_dies_at_a_write_costs_nothing(
    job: Job, how_many: int | None, tmp_path: Path
) -> None:
    start, again, whole, writes = job
    for at in points(writes, how_many):
        path = tmp_path / f"at-{at}"
        with pytest.raises(KilledError), killed(path, at):
            start(path)
        assert go_on(start, again, path).finished
        assert contents(path) == whole, at


@pytest.mark.parametrize(("job", "how_many"), [("run", FEW), *EVERY], indirect=["job"])
def test_a_full_disk_is_a_line_and_costs_nothing(
    job: Job, how_many: int | None, tmp_path: Path
) -> None:
    start, again, whole, writes = job
    for at in points(writes, how_many):
        path = tmp_path / f"at-{at}"
        with suppress(WriteError), full_disk(path, at):
            start(path)  # what cannot be removed is no reason to fail
        assert go_on(start, again, path).finished
        assert contents(path) == whole, at


@pytest.mark.parametrize(
    ("job", "how_many"), [("run", 2), pytest.param("compare", 6, marks=ALL)], indirect=["job"]
)
def test_a_process_that_dies_again_while_it_goes_on(
    job: Job, how_many: int, tmp_path: Path
) -> None:
    start, again, whole, writes = job
    for first in points(writes, how_many):
        for second in points(20, how_many):
            path = tmp_path / f"at-{first}-{second}"
            with suppress(KilledError), killed(path, first):
                start(path)
            with suppress(KilledError), killed(path, second):
                go_on(start, again, path)
            assert go_on(start, again, path).finished
            assert contents(path) == whole, (first, second)


@pytest.mark.parametrize("how_many", [5, pytest.param(None, marks=ALL)])
@pytest.mark.parametrize("fault", [killed, full_disk])
def test_a_suite_loses_the_training_it_was_at_and_no_more(
    how_many: int | None, fault: Callable[[Path, int], Any], tmp_path: Path
) -> None:
    suite = tiny_suite(only=["coupon"], keep_predictions=True)
    with counting(tmp_path / "whole") as seen:
        whole = run_suite(suite, tmp_path / "whole", Silent())
    assert seen.seen > 20
    for at in points(seen.seen, how_many):
        path = tmp_path / f"at-{at}"
        with suppress(KilledError, WriteError), fault(path, at):
            run_suite(suite, path, Silent())
        if holds_suite(path):
            again = resume_suite(path, Silent())
        else:
            again = run_suite(suite, path, Silent())
        assert numbers(again.rows) == numbers(whole.rows), at
        kept = [contents(folder / "predictions") for folder in (path, tmp_path / "whole")]
        assert kept[0] == kept[1], at
