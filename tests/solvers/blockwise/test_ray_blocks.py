"""One local cluster of two workers for all tests of this file: starting one takes seconds."""

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.data import DataWarning
from dfl.errors import (
    DataError,
    InvalidValueError,
    MissingExtraError,
    RunFolderError,
    UnsupportedProblemError,
)
from dfl.pipeline import allocating_blocks, dataset
from dfl.pipeline.allocating_blocks import allocate_scored
from dfl.pipeline.block_output import work_of
from dfl.pipeline.scoring import AbstractScores, ColumnScores
from dfl.solvers.blockwise import RayBlocks, TensorBlocks, ray_blocks, solve, solve_blocks
from dfl.solvers.blockwise.blocks import AbstractBlocks
from tests.cli.outcome import invoke
from tests.conftest import ROOT
from tests.solvers.instances import problem

COLUMNS = ColumnScores(("r0", "r1", "r2"), ("c0", "c1", "c2"))
BUDGET = Budget(per_head=0.4)
SMALL = 100 << 20  # bytes: of the object store, and of a worker's memory


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A cluster that reads these modules."""
    with pytest.MonkeyPatch.context() as environment, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        environment.setenv("PYTHONPATH", str(ROOT))
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        ray.init("local", num_cpus=2, object_store_memory=SMALL, **options)
        yield
        ray.shutdown()


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files of scores, seven blocks."""
    monkeypatch.setattr(dataset, "_ROWS", 150)
    monkeypatch.setattr(dataset, "_SMALL", 0)
    draw = np.random.default_rng(0)
    for number, rows in enumerate((500, 407)):
        cost = draw.random((3, rows), dtype=np.float32).cumsum(0)
        cost[0] = 0
        revenue = draw.random((3, rows), dtype=np.float32).cumsum(0)
        columns = {"id": np.arange(rows) + 1_000 * number}
        columns |= dict(zip(COLUMNS.columns, [*revenue, *cost], strict=True))
        (tmp_path / "scores").mkdir(exist_ok=True)
        file = tmp_path / "scores" / f"day-{number}.parquet"
        pq.write_table(pa.table(columns), file, row_group_size=70)
    return tmp_path / "scores"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def allocate(scores: AbstractScores, source: Path, output: Path, **options: Any) -> None:
    allocate_scored(scores, source, output, BUDGET, keep=("id",), **options)


@dataclass(frozen=True, eq=False)
class Wrapped(AbstractScores):
    """Scores of columns, and what else happens while they are read; a folder counts the reads."""

    seen: Path
    inner: ColumnScores = field(default=COLUMNS)

    columns = property(lambda self: self.inner.columns)
    text = property(lambda self: self.inner.text)
    names = property(lambda self: self.inner.names)
    kept = property(lambda self: self.inner.kept)

    def about(self) -> dict[str, Any]:
        return self.inner.about()

    def of(self, table: pa.Table) -> tuple[Tensor, Tensor]:
        self.happens(len(list(self.seen.iterdir())))
        (self.seen / f"{os.getpid()}-{len(list(self.seen.iterdir()))}").touch()
        return self.inner.of(table)

    def happens(self, before: int) -> None:
        raise NotImplementedError


class Counting(Wrapped):
    def happens(self, before: int) -> None:
        pass


class KillsItsWorker(Wrapped):
    def happens(self, before: int) -> None:
        killed = self.seen.with_name("killed")
        if before >= 4 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class FailsOnce(Wrapped):
    def happens(self, before: int) -> None:
        if before >= 9 and not self.seen.with_name("failed").exists():
            self.seen.with_name("failed").touch()
            raise DataError("a disk was away.")


class Warns(Wrapped):
    def happens(self, before: int) -> None:
        warnings.warn("a value that was never seen", DataWarning, stacklevel=2)


@pytest.mark.parametrize(
    ("kind", "most"),  # in memory; refined; people on ties in order
    [("continuous", 1 << 22), ("continuous", 40), ("priced", 0)],
)
def test_workers_find_what_one_process_finds(
    kind: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solve, "_MOST_STEPS", most)
    many = problem(5, rows=2_000, treatments=4, kind=kind)
    blocks, budget = TensorBlocks(many.revenue, many.cost, 301), Budget(total=float(many.budget))
    one, shared = (solve_blocks(each, budget) for each in (blocks, RayBlocks(blocks, memory=SMALL)))
    for name in ("multiplier", "revenue", "cost", "upper_bound", "people"):
        assert getattr(one, name) == getattr(shared, name)
    for block in range(len(blocks.sizes)):
        given = blocks.scores(block)
        assert one.choice(block, *given).equal(shared.choice(block, *given))


def test_workers_write_the_bytes_of_one_process_and_replace_them(
    scores: Path, tmp_path: Path
) -> None:
    allocate(COLUMNS, scores, tmp_path / "one")
    counting = Counting(tmp_path / "seen")
    counting.seen.mkdir()
    for again in (False, True):  # a second start must not add to the first one's rows
        allocate(counting, scores, tmp_path / "many", engine="ray", overwrite=again)
        assert contents(tmp_path / "many") == contents(tmp_path / "one")
        assert not work_of(tmp_path / "many").exists()
    table = pq.read_table(tmp_path / "many")
    assert table["row"].to_pylist() == list(range(907))
    assert table["id"].to_pylist() == [*range(500), *range(1_000, 1_407)]
    workers = {file.name.split("-")[0] for file in counting.seen.iterdir()}
    assert len(workers) == 2
    assert str(os.getpid()) not in workers


def test_a_worker_that_is_killed_costs_nothing(scores: Path, tmp_path: Path) -> None:
    allocate(COLUMNS, scores, tmp_path / "one")
    killing = KillsItsWorker(tmp_path / "seen")
    killing.seen.mkdir()
    allocate(killing, scores, tmp_path / "many", engine="ray")
    assert (tmp_path / "killed").exists()
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_an_error_of_a_worker_is_its_own_and_the_next_start_goes_on(
    scores: Path, tmp_path: Path
) -> None:
    allocate(COLUMNS, scores, tmp_path / "one")
    failing = FailsOnce(tmp_path / "seen")
    failing.seen.mkdir()
    with pytest.raises(DataError, match=r"day-\d.parquet, row groups .*: a disk was away"):
        allocate(failing, scores, tmp_path / "many", engine="ray")
    assert not (tmp_path / "many").exists()
    sketched = list((work_of(tmp_path / "many") / "passes" / "sketch-10").glob("*.npz"))
    assert len(sketched) == 7
    reads = len(list(failing.seen.iterdir()))
    allocate(failing, scores, tmp_path / "many", engine="ray")
    assert len(list(failing.seen.iterdir())) - reads <= 7 + 7  # two passes, not three
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_warnings_of_workers_arrive(scores: Path, tmp_path: Path) -> None:
    warning = Warns(tmp_path / "seen")
    warning.seen.mkdir()
    with pytest.warns(DataWarning, match="a value that was never seen"):
        allocate(warning, scores, tmp_path / "many", engine="ray")


class KillsEveryWorker(AbstractBlocks):
    sizes = (10, 10)

    def scores(self, block: int) -> tuple[Tensor, Tensor]:
        if block:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.rand(10, 2), torch.rand(10, 2)


@pytest.mark.slow
def test_a_block_that_kills_every_worker_is_given_up() -> None:
    with pytest.raises(UnsupportedProblemError, match="a block of 10 people ended all 4 workers"):
        solve_blocks(RayBlocks(KillsEveryWorker(), memory=SMALL), BUDGET)


def test_what_cannot_work_is_refused(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = TensorBlocks(torch.rand(9, 2), torch.rand(9, 2), 3)
    with pytest.raises(InvalidValueError, match="memory must be >= 1, got 0"):
        RayBlocks(blocks, memory=0)
    with pytest.raises(
        InvalidValueError, match="memory of a worker must be at most what a machine"
    ):
        solve_blocks(RayBlocks(blocks, memory=1 << 60), BUDGET)
    with pytest.raises(InvalidValueError, match="engine must be one of 'processes', 'ray', got 'x"):
        allocate(COLUMNS, scores, tmp_path / "out", engine="x")
    monkeypatch.setattr(ray_blocks, "rank_of", lambda: (0, 2))
    with pytest.raises(
        UnsupportedProblemError, match="by Ray's workers or by the processes of tor"
    ):
        solve_blocks(RayBlocks(blocks), BUDGET)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dfl-toolkit\[ray\]'"):
        allocate(COLUMNS, scores, tmp_path / "out", engine="ray")


def test_rows_that_went_elsewhere_are_missed(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = allocating_blocks.ScoredBlocks.once

    def elsewhere(self: Any, name: str, block: int, make: Any) -> Mapping[str, Any]:
        made = once(self, name, block, make)
        if (name, block) == ("written", 3):
            (self.work / "rows" / "part-00003.parquet").unlink()
        return made

    monkeypatch.setattr(allocating_blocks.ScoredBlocks, "once", elsewhere)
    with pytest.raises(RunFolderError, match=r"part-00003.parquet and 0 others were written where"):
        allocate(COLUMNS, scores, tmp_path / "out")


def test_the_command(scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # paths are relative: workers start elsewhere
    columns = ("--revenue", "r0,r1,r2", "--cost", "c0,c1,c2", "--budget-per-head", 0.4)
    here = ("allocate", "-", "scores", *columns, "--keep", "id")
    for engine in ("processes", "ray"):
        done = invoke(*here, "-o", engine, "--engine", engine)
        assert done.code == 0, done.text
    assert contents(tmp_path / "ray") == contents(tmp_path / "processes")
    refused = invoke(*here, "-o", "one.parquet", "--engine", "ray")
    assert refused.code == 2
    assert "--engine ray allocates block by block into a folder" in refused.text


PROGRAM = """
import os, sys
from pathlib import Path
from dfl.pipeline import dataset
from tests.solvers.blockwise.test_ray_blocks import KillsItsDriver, allocate
dataset._ROWS, dataset._SMALL = 150, 0
source, output, seen = map(Path, sys.argv[1:4])
scores = KillsItsDriver(seen, driver=os.getpid() if sys.argv[4] == "die" else 0)
allocate(scores, source, output, engine="ray")
"""


@dataclass(frozen=True, eq=False)
class KillsItsDriver(Wrapped):
    driver: int = 0

    def happens(self, before: int) -> None:
        if self.driver and before >= 10:
            os.kill(self.driver, signal.SIGKILL)


@pytest.mark.slow
def test_a_start_that_is_killed_with_its_own_cluster_goes_on(scores: Path, tmp_path: Path) -> None:
    allocate(COLUMNS, scores, tmp_path / "one")
    (tmp_path / "seen").mkdir()
    places = [str(one) for one in (scores, tmp_path / "many", tmp_path / "seen")]
    for word, code in (("die", -signal.SIGKILL), ("live", 0)):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *places, word],
            env=os.environ | {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert json.loads((tmp_path / "many" / "_allocation.json").read_text())["rows"] == 907
