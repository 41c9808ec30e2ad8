import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dfl.budget import Budget
from dfl.data import DataWarning
from dfl.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    InfeasibleBudgetError,
    InvalidValueError,
    RunFolderError,
    WriteError,
)
from dfl.pipeline import (
    CustomerAllocation,
    RunFolder,
    Silent,
    allocate_columns,
    allocate_dataset,
    allocate_file,
    allocating_blocks,
    dataset,
    run,
)
from dfl.pipeline.block_output import part_name, work_of
from dfl.pipeline.dataset import DataSet
from dfl.problem import AllocationProblem
from dfl.solvers import GreedyDual
from tests.conftest import ROOT
from tests.faults.injected import KilledError, killed
from tests.pipeline.test_allocating import with_spend, write_customers
from tests.pipeline.tiny import tiny_study, write_shop

REVENUE, COST = ("r0", "r1", "r2"), ("c0", "c1", "c2")
BUDGET = Budget(per_head=0.4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("run")
    return run(tiny_study(data=write_shop(path / "shop.parquet")), path / "run", Silent())


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_ROWS", 150)
    monkeypatch.setattr(dataset, "_SMALL", 0)


@pytest.fixture
def scores(tmp_path: Path, small_blocks: None) -> Path:
    """Three files of scores, eight blocks; one file has no rows."""
    draw = np.random.default_rng(0)
    for number, rows in enumerate((500, 0, 407)):
        cost = draw.random((3, rows), dtype=np.float32)
        cost[0] = 0
        revenue = draw.random((3, rows), dtype=np.float32).cumsum(0)
        columns = {"id": [f"{number}-{row}" for row in range(rows)]}
        columns |= dict(zip(REVENUE, revenue, strict=True))
        columns |= dict(zip(COST, cost.cumsum(0), strict=True))
        file = tmp_path / "scores" / f"day-{number}" / "people.parquet"
        file.parent.mkdir(parents=True)
        table = pa.table(
            columns,
            pa.schema([("id", pa.string()), *((c, pa.float32()) for c in (*REVENUE, *COST))]),
        )
        pq.write_table(table, file, row_group_size=70)
    (tmp_path / "scores" / "_ignored.parquet").write_text("no Parquet file")
    return tmp_path / "scores"


def allocate(
    path: Path, output: Path, budget: Budget = BUDGET, **options: Any
) -> CustomerAllocation:
    columns = {"revenue": REVENUE, "cost": COST, **options}
    return allocate_columns(path, output, budget, **columns)


def test_columns_of_scores_are_allocated_as_in_memory(scores: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = allocate(scores, output, keep=("id",))
    table = pq.read_table(output).to_pandas()
    given = pd.concat(pd.read_parquet(file) for file in sorted(scores.rglob("people.parquet")))
    assert list(table.columns) == [
        *("row", "id", "treatment", "treatment_name", "predicted_revenue", "predicted_cost"),
    ]
    assert table["row"].tolist() == list(range(907))
    assert table["id"].tolist() == given["id"].tolist()
    revenue, cost = (
        torch.from_numpy(given[list(one)].to_numpy(copy=True)) for one in (REVENUE, COST)
    )
    whole = GreedyDual().solve(AllocationProblem(revenue, cost, 0.4 * 907))
    assert table["treatment"].tolist() == whole.choice.tolist()
    names = np.array(REVENUE)[table["treatment"]]
    assert (names == table["treatment_name"].astype(str)).all()
    picked = cost.gather(1, whole.choice[:, None])[:, 0]
    assert table["predicted_cost"].tolist() == picked.tolist()
    totals = json.loads((output / "_allocation.json").read_text())
    assert totals["rows"] == sum(totals["people"].values()) == 907
    assert totals["upper_bound"] == pytest.approx(float(whole.upper_bound), rel=1e-9)
    assert totals["people"] == done.people
    assert len(list(output.glob("part-*.parquet"))) == 8
    assert not work_of(output).exists()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_scores_are_those_of_the_columns(tmp_path: Path, small_blocks: None, dtype: str) -> None:
    people = pd.DataFrame({"r0": 0.0, "r1": [0.3] * 200, "c0": 0.0, "c1": 0.1}).astype(dtype)
    people.to_parquet(tmp_path / "people.parquet", row_group_size=70)
    given = {"revenue": ("r0", "r1"), "cost": ("c0", "c1")}
    done = allocate(tmp_path / "people.parquet", tmp_path / "out", Budget(total=20.0), **given)
    wide = dtype == "float64"  # 200 times the float32 next to .1 are more than 20
    assert done.people == ({"r0": 0, "r1": 200} if wide else {"r0": 1, "r1": 199})
    found = pq.read_table(tmp_path / "out")
    assert found.column("predicted_cost").type == ("double" if wide else "float")
    assert found.column("predicted_cost").to_pandas().max() == people["c1"][0]


def test_files_of_several_types_are_read_as_float64(tmp_path: Path) -> None:
    given = {"revenue": ("r0", "r1"), "cost": ("c0", "c1")}
    people = pd.DataFrame({"r0": 0.0, "r1": [0.3] * 20, "c0": 0.0, "c1": 0.1})
    (tmp_path / "people").mkdir()
    people.astype("float32").to_parquet(tmp_path / "people" / "a.parquet")
    people.to_parquet(tmp_path / "people" / "b.parquet")
    allocate(tmp_path / "people", tmp_path / "out", Budget(total=4.0), **given)
    types = {pq.read_schema(one).field("predicted_cost").type for one in tmp_path.glob("out/p*")}
    assert types == {pa.float64()}


@pytest.mark.parametrize("pattern", ["day-*/*.parquet", "**/people.parquet"])
def test_a_pattern_names_files(scores: Path, tmp_path: Path, pattern: str) -> None:
    allocate(scores / pattern, tmp_path / "out")
    allocate(scores, tmp_path / "again")
    assert pq.read_table(tmp_path / "out").equals(pq.read_table(tmp_path / "again"))


def test_a_model_scores_what_one_file_gets(
    folder: RunFolder, tmp_path: Path, small_blocks: None
) -> None:
    path = write_customers(tmp_path / "c.parquet")
    pq.write_table(pq.read_table(path), path, row_group_size=90)
    budget = Budget(share=0.25)
    one = allocate_file(folder, path, tmp_path / "one.parquet", budget, keep=("id", "age"))
    many = allocate_dataset(folder, path, tmp_path / "many", budget, keep=("id", "age"))
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "one.parquet"), pd.read_parquet(tmp_path / "many")
    )
    assert one.people == many.people
    assert one.held_out == many.held_out
    assert many.budget == pytest.approx(one.budget)
    with pytest.raises(ConfigError, match="block by block, which greedy-dual alone does"):
        allocate_dataset(folder, path, tmp_path / "x", budget, solver="dual-bisection")


def test_people_unlike_the_training_rows_are_warned_of(
    folder: RunFolder, tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_customers(tmp_path / "c.parquet", age=np.linspace(1, 3, 500))
    pq.write_table(pq.read_table(path), path, row_group_size=90)
    budget = Budget(share=0.25)
    with pytest.warns(DataWarning, match=r"differ from the training rows in age by") as one:
        allocate_file(folder, path, tmp_path / "one.parquet", budget)
    make = allocating_blocks.given_columns

    def stop(start: int, *given: Any) -> Any:
        if start:
            raise Stopped
        return make(start, *given)

    monkeypatch.setattr(allocating_blocks, "given_columns", stop)
    with pytest.raises(Stopped):
        allocate_dataset(folder, path, tmp_path / "many", budget)
    monkeypatch.setattr(allocating_blocks, "given_columns", make)
    with pytest.warns(DataWarning, match=r"differ from the training rows") as many:
        done = allocate_dataset(folder, path, tmp_path / "many", budget)
    assert [str(w.message) for w in many] == [str(w.message) for w in one]
    assert done.features is not None


@pytest.mark.parametrize("budget", [Budget(total=700), Budget(share=0.3), Budget(per_head=1.3)])
def test_a_margin_is_that_of_one_file(
    folder: RunFolder, tmp_path: Path, small_blocks: None, budget: Budget
) -> None:
    run = with_spend(folder, tmp_path / "run", value=1.05, standard_error=0.02)
    path = write_customers(tmp_path / "c.parquet")
    pq.write_table(pq.read_table(path), path, row_group_size=90)
    one = allocate_file(run, path, tmp_path / "one.parquet", budget, margin=0.95)
    many = allocate_dataset(run, path, tmp_path / "many", budget, margin=0.95)
    assert many.margin == one.margin
    assert many.margin is not None
    assert many.budget == pytest.approx(one.budget, rel=1e-6)
    assert many.held_out == one.held_out
    assert float(many.allocation.cost) == pytest.approx(float(one.allocation.cost), rel=1e-6)
    assert float(many.allocation.cost) <= many.margin.share * many.budget
    said = json.loads((tmp_path / "many" / "_allocation.json").read_text())
    assert said["margin"] == dataclasses.asdict(many.margin)
    assert said["budget"] == many.budget


def test_a_margin_that_leaves_too_little_or_was_not_measured(
    folder: RunFolder, tmp_path: Path
) -> None:
    path = write_customers(tmp_path / "c.parquet")
    run = with_spend(folder, tmp_path / "run", value=1.5, standard_error=0.0)
    with pytest.raises(InfeasibleBudgetError, match=r"600 leaves 400 by the margin.*to 750 or"):
        allocate_dataset(run, path, tmp_path / "out", Budget(total=600), margin=0.95)
    without = with_spend(folder, tmp_path / "without")
    with pytest.raises(InvalidValueError, match="which this run has not measured"):
        allocate_dataset(without, path, tmp_path / "other", Budget(total=700), margin=0.95)
    assert not (tmp_path / "out").exists()
    assert not work_of(tmp_path / "other").exists()


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 4, 8, 10, 15, 18, 20, 21])
def test_a_start_after_a_kill_goes_on_and_ends_in_the_same_bytes(
    scores: Path, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocate(scores, tmp_path / "whole", keep=("id",))
    write: Callable[..., None] = allocating_blocks.write_whole
    written: list[Path] = []

    def counting(path: Path, make: Callable[[Path], object]) -> None:
        if len(written) == after:
            path.with_name(f".{path.name}.{'0' * 32}.part").write_text("half")
            raise Stopped
        written.append(path)
        write(path, make)

    monkeypatch.setattr(allocating_blocks, "write_whole", counting)
    with pytest.raises(Stopped):
        allocate(scores, tmp_path / "out", keep=("id",))
    assert not (tmp_path / "out").exists()
    first, written[:] = set(written), []
    monkeypatch.setattr(
        allocating_blocks, "write_whole", lambda p, m: (written.append(p), write(p, m))
    )
    allocate(scores, tmp_path / "out", keep=("id",))
    assert len(first & set(written)) <= 1  # rows whose count was not yet written
    names = sorted(file.name for file in (tmp_path / "whole").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "out").iterdir())
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


@pytest.mark.parametrize("damage", ["a flipped bit", "a cut", "nothing left"])
def test_what_was_damaged_after_a_kill_is_made_again(
    folder: RunFolder,
    tmp_path: Path,
    small_blocks: None,
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KilledError

    path, share = write_customers(tmp_path / "people.parquet", 200), Budget(share=0.25)
    allocate_dataset(folder, path, tmp_path / "whole", share)
    with monkeypatch.context() as patched:
        patched.setattr(allocating_blocks, "put_into_place", die)
        with pytest.raises(KilledError):
            allocate_dataset(folder, path, tmp_path / "out", share)
    work = work_of(tmp_path / "out")
    kept = [one for kind in ("scores", "passes", "rows") for one in (work / kind).rglob("*")]
    kept = [one for one in kept if one.is_file()]
    assert {file.suffix for file in kept} == {".npy", ".npz", ".parquet", ".json"}
    for file in kept:
        content = bytearray(file.read_bytes())
        content[len(content) * 3 // 4] ^= 64
        cut = {"a cut": len(content) // 2, "nothing left": 0}.get(damage)
        file.write_bytes(content[:cut])
    allocate_dataset(folder, path, tmp_path / "out", share)
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "out" / file.name).read_bytes()


IN_PROCESSES = """
import os, signal, sys
from pathlib import Path
from dfl.cli import main
from dfl.pipeline import allocating_blocks, dataset
dataset._ROWS, dataset._SMALL = 150, 0
write, dies = allocating_blocks.write_whole, sys.argv.pop(1) == "dies"
def killed(path, make):
    if dies and os.environ["RANK"] == "1" and path.parent.name.startswith("open"):
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, make)
allocating_blocks.write_whole = killed
main()
"""


def in_processes(program: Path, word: str, scores: Path, output: Path) -> int:
    """Allocate by two processes of torchrun; return its exit code."""
    columns = ["--revenue", ",".join(REVENUE), "--cost", ",".join(COST), "--keep", "id"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    start = [*torchrun, "--nproc-per-node", "2", str(program), word, "allocate", "-", str(scores)]
    return subprocess.run(
        [*start, "-o", str(output), "--budget-per-head", "0.4", *columns],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=300,
    ).returncode


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_others_and_a_start_goes_on(
    scores: Path, tmp_path: Path, processes: int
) -> None:
    allocate(scores, tmp_path / "whole", keep=("id",))
    (tmp_path / "program.py").write_text(IN_PROCESSES)
    output = tmp_path / "out"
    assert in_processes(tmp_path / "program.py", "dies", scores, output) == 1
    assert not output.exists()
    assert len(list(work_of(output).glob("passes/*/*.npz"))) >= 8  # the first pass
    if processes == 1:
        allocate(scores, output, keep=("id",))
    else:
        assert in_processes(tmp_path / "program.py", "lives", scores, output) == 0
    assert not work_of(output).exists()
    for file in (tmp_path / "whole").iterdir():
        assert (output / file.name).read_bytes() == file.read_bytes()


def test_what_is_left_of_another_allocation_is_not_gone_on_with(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    work_of(output).mkdir()
    (work_of(output) / "plan.json").write_text("{}")
    with pytest.raises(
        RunFolderError, match="unfinished allocation of other files, scores, budget"
    ):
        allocate(scores, output)
    monkeypatch.setattr(allocating_blocks.shutil, "rmtree", lambda *_, **__: None)
    (work_of(output) / "plan.json").unlink()
    allocate(scores, output)  # put into place, and killed before its folder was removed
    monkeypatch.undo()
    with pytest.raises(InvalidValueError, match="exists already; choose another folder"):
        allocate(scores, output)
    done = allocate(scores, output, Budget(per_head=0.5), overwrite=True)
    assert done.budget == pytest.approx(0.5 * 907)
    assert len(pq.read_table(output)) == 907


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def dies_at(at: int, people: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace an output, but die at a write once all is computed."""
    put = allocating_blocks.put_into_place
    with contextlib.ExitStack() as stack, monkeypatch.context() as patched:

        def dying(work: Path, to: Path, *, overwrite: bool) -> None:
            stack.enter_context(killed(output.parent, at))
            put(work, to, overwrite=overwrite)

        patched.setattr(allocating_blocks, "put_into_place", dying)
        with pytest.raises(KilledError):
            allocate(people, output, Budget(per_head=0.5), overwrite=True)


def test_a_kill_while_a_folder_is_replaced_loses_neither(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, output = scores / "day-0", tmp_path / "out"
    allocate(people, tmp_path / "old")
    allocate(people, tmp_path / "new", Budget(per_head=0.5))
    old, new = contents(tmp_path / "old"), contents(tmp_path / "new")
    for at in (0, 1, 2, 8):  # aside, into place, end of the plan, the work folder's removal
        shutil.copytree(tmp_path / "old", output)
        dies_at(at, people, output, monkeypatch)
        left = contents(output if output.exists() else work_of(output) / "old")
        assert left in (old, new), at
        allocate(people, output, Budget(per_head=0.5), overwrite=True)
        assert contents(output) == new, at
        assert not work_of(output).exists()
        shutil.rmtree(output)


def test_what_was_moved_aside_returns_when_another_allocation_begins(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, output = scores / "day-0", tmp_path / "out"
    allocate(people, output)
    old = contents(output)
    dies_at(2, people, output, monkeypatch)
    assert not output.exists()
    with pytest.raises(RunFolderError, match="holds an unfinished allocation of other"):
        allocate(people, output, Budget(per_head=0.7), overwrite=True)
    assert contents(output) == old


@pytest.mark.parametrize("named", [".", "../out"])
def test_the_folder_that_one_works_in_can_be_replaced(
    scores: Path, tmp_path: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocate(scores / "day-0", tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    allocate(Path("../scores/day-0"), Path(named), Budget(per_head=0.5), overwrite=True)
    assert json.loads((tmp_path / "out" / "_allocation.json").read_text())["budget"] == 250
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out", "scores"]


def test_a_folder_that_cannot_be_replaced_is_kept(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocate(scores, tmp_path / "out")
    old = contents(tmp_path / "out")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(WriteError, match=r"its place .*out \(Permission denied\); it lies in"):
            allocate(scores, tmp_path / "out", Budget(per_head=0.5), overwrite=True)
    assert contents(tmp_path / "out") == old
    allocate(scores, tmp_path / "out", Budget(per_head=0.5), overwrite=True)
    assert contents(tmp_path / "out") != old


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_comes_while_an_allocation_is_made_is_left_alone(
    scores: Path, tmp_path: Path, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    solve = allocating_blocks.solve_blocks

    def meanwhile(*given: Any) -> Any:
        output.mkdir()
        (output / "notes.txt").write_text("mine")
        return solve(*given)

    with monkeypatch.context() as patched:
        patched.setattr(allocating_blocks, "solve_blocks", meanwhile)
        with pytest.raises(InvalidValueError, match=r"It came while the allocation was made.*part"):
            allocate(scores, output, overwrite=overwrite)
    assert contents(output) == {"notes.txt": b"mine"}
    output.rename(tmp_path / "notes")
    assert sum(allocate(scores, output, overwrite=overwrite).people.values()) == 907


def test_a_file_that_changes_between_passes_is_refused(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = scores / "day-2" / "people.parquet"
    solve = allocating_blocks.solve_blocks

    def meanwhile(*given: Any) -> Any:
        found, table = solve(*given), pq.read_table(last)
        dearer = pa.array(3 * table["c1"].to_numpy())
        place = table.schema.get_field_index("c1")
        pq.write_table(table.set_column(place, "c1", dearer), last, row_group_size=70)
        return found

    monkeypatch.setattr(allocating_blocks, "solve_blocks", meanwhile)
    with pytest.raises(DataError, match=r"day-2/people.parquet changed after it was first looked"):
        allocate(scores, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_budget_is_another_allocation(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise Stopped

    monkeypatch.setattr(allocating_blocks.ScoredBlocks, "once", stop)
    with pytest.raises(Stopped):
        allocate(scores, tmp_path / "out", Budget(total=5_000_044))
    monkeypatch.undo()
    with pytest.raises(RunFolderError, match="of other files, scores, budget"):
        allocate(scores, tmp_path / "out", Budget(total=5_000_036))
    allocate(scores, tmp_path / "out", Budget(total=5_000_044))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"revenue": ("r0", "r1", "r1")},
            ConfigError,
            "columns of revenue must differ, .* got 'r1' more than once; leave it out, or copy it",
        ),
        ({"revenue": ("r0",)}, ConfigError, "one of revenue and one of cost for each treatment"),
        ({"cost": ("c0", "c1", "x")}, DataError, r"must have the columns \['x'\]"),
        ({"cost": ("c0", "c1", "id")}, DataError, r"row groups 0 to 1: column 'id' must hold num"),
        ({"keep": ("row",)}, InvalidValueError, "keep must not name a column that is written"),
        (
            {"budget": Budget(total=-0.0)},
            InfeasibleBudgetError,
            "at least the cost of the cheapest",
        ),
    ],
)
def test_mistakes_are_refused(
    scores: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    if "budget" in options:
        options["revenue"], options["cost"] = ("r1", "r2"), ("c1", "c2")
    with pytest.raises(error, match=message):
        allocate(scores, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_wrong_places_are_refused(scores: Path, tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"no Parquet file at .*nothing; looked for"):
        allocate(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(InvalidValueError, match="must lie in a folder that exists"):
        allocate(scores, tmp_path / "no" / "out")
    with pytest.raises(InvalidValueError, match="is no folder that an allocation wrote"):
        allocate(scores, scores, overwrite=True)
    (scores / "_allocation.json").write_text("{}")
    with pytest.raises(InvalidValueError, match="must not hold the customers' files"):
        allocate(scores, scores, overwrite=True)


def test_small_files_are_read_together_where_they_are_alike(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    people = pd.DataFrame({"r0": 0.0, "r1": draw.random(240), "c0": 0.0, "c1": draw.random(240)})
    people["city"] = np.resize(["Oslo", "Rome", None], 240)
    people["who"] = pd.Categorical([f"{row // 20}" for row in range(240)])  # per file others
    folder = tmp_path / "people"
    folder.mkdir()
    for number in range(12):
        part = people[20 * number : 20 * number + 20].copy()
        part["who"] = part["who"].cat.remove_unused_categories()
        part = part.astype({"r1": "float32"}) if number in (3, 4) else part
        part.to_parquet(folder / f"{number:02d}.parquet", row_group_size=7)
    given = {"revenue": ("r0", "r1"), "cost": ("c0", "c1"), "keep": ("city", "who")}
    columns = ("r0", "r1", "c0", "c1")
    data = DataSet.of(folder, columns, ("city", "who"))
    assert [(one.start, one.rows) for one in data.blocks] == [(0, 60), (60, 40), (100, 140)]
    assert data.where(data.blocks[1]).endswith("03.parquet to " + str(folder / "04.parquet"))
    done = allocate(folder, tmp_path / "out", Budget(total=20.0), **given)
    found = pq.read_table(tmp_path / "out").to_pandas()
    assert found["row"].tolist() == [*range(240)]
    assert found["who"].astype(str).tolist() == people["who"].astype(str).tolist()
    assert found["city"].fillna("").tolist() == people["city"].fillna("").tolist()
    people.to_parquet(tmp_path / "whole.parquet")
    whole = allocate(tmp_path / "whole.parquet", tmp_path / "again", Budget(total=20.0), **given)
    assert done.people == whole.people
    bad = pd.read_parquet(folder / "08.parquet")
    bad.loc[bad.index[5], "r1"] = np.nan
    bad.to_parquet(folder / "08.parquet")
    with pytest.raises(DataError, match=r"08.parquet, row groups 0 to 0: revenue must"):
        allocate(folder, tmp_path / "out", Budget(total=20.0), overwrite=True, **given)


def test_parts_of_more_than_99999_blocks_have_names_in_order() -> None:
    for blocks in (1, 99_999, 100_000, 100_001, 1_000_001):
        numbers = [number for number in (0, 9, 99_999, 100_000, 999_999) if number < blocks]
        names = [part_name(number, blocks) for number in numbers]
        assert names == sorted(set(names))
        assert len({*map(len, names)}) == 1
    assert part_name(7, 100_000) == "part-00007.parquet"


def test_links_are_followed_and_every_file_is_read_once(scores: Path, tmp_path: Path) -> None:
    whole = DataSet.of(scores, REVENUE, ())
    (tmp_path / "elsewhere").mkdir()
    (scores / "day-2").rename(tmp_path / "elsewhere" / "day-2")
    (scores / "day-2").symlink_to(tmp_path / "elsewhere" / "day-2")
    (scores / "latest").symlink_to(scores / "day-0")
    (scores / "day-1" / "all").symlink_to(scores)  # a circle
    (scores / "day-1" / "one.parquet").symlink_to(scores / "day-0" / "people.parquet")
    for pattern in ("", "**/[op]*.parquet"):
        found = DataSet.of(scores / pattern, REVENUE, ())
        assert (found.files, found.blocks) == (whole.files, whole.blocks)
    (scores / "day-1" / "lost.parquet").symlink_to(tmp_path / "lost")
    with pytest.raises(DataError, match=r"lost.parquet is not a readable Parquet file"):
        DataSet.of(scores, REVENUE, ())


def test_a_folder_that_cannot_be_read_is_refused(
    scores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refusing(path: str) -> Any:
        if str(path).endswith("day-1"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"day-1 is not a readable folder \(Permission denied\)"):
        DataSet.of(scores, REVENUE, ())


def test_an_output_is_never_among_the_customers(scores: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (scores / "_ignored.parquet").unlink()
    (scores / "link").symlink_to(tmp_path / "linked")
    for place, output in (
        ("", scores / "out"),
        ("", scores / "day-0" / "out"),
        ("", tmp_path / "linked" / "out"),
        ("*/*.parquet", scores / "out"),
        ("**/*.parquet", scores / "day-0" / "out"),
        ("**", scores / "out"),
    ):
        with pytest.raises(InvalidValueError, match=r"out/part-00000.parquet would be read as cus"):
            allocate(scores / place, output)
    for place, output in (
        ("", "_out"),
        ("day-0", "out-0"),
        ("day-*/*.parquet", "out-1"),
        ("**/people.parquet", "out-2"),
        ("day-0/people.parquet", "out-3"),
        ("*/*.parquet", ".out"),
    ):
        DataSet.of(scores / place, REVENUE, ()).check_outside(scores / output / "part-0.parquet")


@pytest.mark.parametrize("target", ["old", "nowhere"])
def test_an_output_is_no_link(scores: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "_allocation.json").write_text("{}")
    (tmp_path / "out").symlink_to(tmp_path / target)
    with pytest.raises(InvalidValueError, match="output must be a folder, not a link to one"):
        allocate(scores, tmp_path / "out", overwrite=True)
    assert not work_of(tmp_path / "out").exists()


def test_damaged_and_uneven_files_are_refused(scores: Path, tmp_path: Path) -> None:
    first, *_, last = sorted(scores.rglob("people.parquet"))
    table = pq.read_table(last)
    bad = table.column("r1").to_numpy().copy()
    bad[300] = np.nan
    pq.write_table(table.set_column(2, "r1", pa.array(bad)), last, row_group_size=70)
    with pytest.raises(
        DataError, match=r"day-2/people.parquet, row groups 4 to 5: revenue must be"
    ):
        allocate(scores, tmp_path / "out")
    pq.write_table(table.set_column(0, "id", pa.array(range(len(table)))), last)
    with pytest.raises(DataError, match="column 'id' must have one type in all files, got string"):
        allocate(scores, tmp_path / "out", keep=("id",))
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        allocate(scores, tmp_path / "out")
    data = DataSet.of(first, REVENUE, ())
    first.write_bytes(first.read_bytes()[:100])
    with pytest.raises(DataError, match=r"row groups 0 to 1 cannot be read"):
        data.read(data.blocks[0], REVENUE)
