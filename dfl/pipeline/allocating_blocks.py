"""A budget is spent on every row of a data set that need not fit in memory."""

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, final, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

import dfl
from dfl.budget import Budget
from dfl.checks import check_choice
from dfl.config import read_solver
from dfl.errors import ConfigError, DataError, DflError, RunFolderError
from dfl.io import make_folder, write_json, write_whole
from dfl.pipeline.allocating import CustomerAllocation, held_out_at, measured, warn_of_drift
from dfl.pipeline.block_output import (
    check_output_folder,
    open_work,
    part_name,
    put_into_place,
    seal_work,
    work_of,
)
from dfl.pipeline.customers import check_kept, given_columns, schema_of
from dfl.pipeline.dataset import DataBlock, DataSet
from dfl.pipeline.folder import RunFolder
from dfl.pipeline.lock import locked
from dfl.pipeline.scoring import AbstractScores, ColumnScores, ModelScores
from dfl.pipeline.spend import Margin, margin_of
from dfl.problem import AllocationProblem
from dfl.scale import gathered, rank_of
from dfl.solvers import GreedyDual
from dfl.solvers.blockwise import (
    AbstractBlocks,
    RayBlocks,
    money_of,
    solve_blocks,
)
from dfl.solvers.blockwise.blocks import Arrays
from dfl.solvers.blockwise.ray_blocks import on_cluster

__all__ = [
    "Engine",
    "ScoredBlocks",
    "allocate_columns",
    "allocate_dataset",
    "allocate_scored",
]

Engine: TypeAlias = Literal["processes", "ray"]

# Bytes of a worker; measured: 330 MB, and 11 a number of float32.
_INTERPRETER, _PER_NUMBER = 1 << 29, 24
_FORMAT = 4  # of the files between two starts
_CODED = ["treatment", "treatment_name"]  # the columns that a dictionary makes smaller


def allocate_dataset(
    folder: RunFolder,
    customers: Path | str,
    output: Path | str,
    budget: Budget,
    *,
    solver: str | None = None,
    margin: float | None = None,
    keep: Sequence[str] = (),
    overwrite: bool = False,
    engine: Engine = "processes",
) -> CustomerAllocation:
    """Give every row of a data set a treatment, by a run's predictions; see `allocate_scored`.

    Args:
        folder: of a run with a model.
        customers: Parquet file, folder or pattern, see `DataSet.of`.
        output: folder to write.
        budget: money; a share is taken of predicted costs.
        solver: None or ``greedy-dual``.
        margin: as of `allocate_file`.
        keep: columns to carry over, such as an id.
        overwrite: whether ``output`` may replace a folder.
        engine: as of `allocate_scored`.

    Raises:
        DflError: as `allocate_scored`, and what a run folder without a model raises.
        InvalidValueError: if there is no margin to be had.
        ConfigError: if another solver is asked for, or it is unknown.

    Warns:
        DataWarning: as `allocate_file`.
    """
    scores = ModelScores.of_run(folder)
    _check_solver(folder.config["solver"] if solver is None else solver)
    metrics = measured(folder)  # now: the working directory may be the folder that is replaced
    cut = None if margin is None else partial(margin_of, metrics, level=margin)
    done = allocate_scored(
        scores, customers, output, budget, cut=cut, keep=keep, overwrite=overwrite, engine=engine
    )
    people = sum(done.people.values())
    if done.features is not None:
        warn_of_drift(metrics, done.features, people)
    return replace(done, held_out=held_out_at(metrics, done.budget / max(people, 1)))


def allocate_columns(
    customers: Path | str,
    output: Path | str,
    budget: Budget,
    *,
    revenue: Sequence[str],
    cost: Sequence[str],
    solver: str | None = None,
    keep: Sequence[str] = (),
    overwrite: bool = False,
    engine: Engine = "processes",
) -> CustomerAllocation:
    """Give every row of a data set a treatment, by columns of revenue and cost.

    Args:
        customers: as `allocate_dataset`.
        output: folder to write.
        budget: money.
        revenue: column of each treatment's revenue, in currency; its name is the treatment's.
        cost: column of each one's cost, in the same order.
        solver: None or ``greedy-dual``.
        keep: columns to carry over.
        overwrite: whether ``output`` may replace a folder.
        engine: as of `allocate_scored`.

    Raises:
        DflError: as `allocate_scored`.
        ConfigError: as `ColumnScores`; if another solver is asked for, or it is unknown.
    """
    if solver is not None:
        _check_solver(solver)
    scores = ColumnScores(tuple(revenue), tuple(cost))
    return allocate_scored(
        scores, customers, output, budget, keep=keep, overwrite=overwrite, engine=engine
    )


def allocate_scored(
    scores: AbstractScores,
    customers: Path | str,
    output: Path | str,
    budget: Budget,
    *,
    cut: Callable[[float], Margin] | None = None,
    keep: Sequence[str] = (),
    overwrite: bool = False,
    engine: Engine = "processes",
) -> CustomerAllocation:
    """Give every row of a data set a treatment, in passes over blocks of a million rows.

    Memory holds one block at a time, whatever the number of rows; see `solve_blocks`. What each
    pass makes of a block is kept in a folder beside the output, ``.NAME.part``, so the same call
    after a kill goes on at the block where it stopped and ends in the same bytes. The output
    appears whole, at the end, by one rename: ``part-00000.parquet`` and so on, one per block, in
    the order of the rows, and ``_allocation.json`` with the totals. A folder that it replaces is
    moved into ``.NAME.part`` just before, and deleted when the new one is in its place.

    Under torchrun each process works on its share of the blocks; the folder must be one that
    all of them see.

    Args:
        scores: of each row.
        customers: Parquet file, folder or pattern, see `DataSet.of`.
        output: folder to write. Columns as of `allocate_file`.
        budget: money; a share is taken of the scores' costs.
        cut: the margin at a budget per head; None: there is none.
        keep: columns to carry over.
        overwrite: whether ``output`` may replace a folder.
        engine: ``"processes"``: this one, or those of torchrun; ``"ray"``: the workers of a Ray
            cluster, see `RayBlocks`; all its machines must see the same folders.

    Returns:
        What the budget buys; nothing is known of held-out rows.

    Raises:
        DataNotFoundError: if there is no such file.
        DataError: if a file cannot be read or changes meanwhile, or a score is not a finite
            number; says where.
        InvalidValueError: if ``output`` exists, is a link, lies in no folder, holds customers or
            would be read as customers, or a kept column is named as one that is written.
        RunFolderError: if an unfinished allocation of other data, scores or budget lies beside
            the output, another process works on it, or workers wrote into another folder.
        UnsupportedProblemError: as `RayBlocks.over`.
        MissingExtraError: if Ray is asked for and not installed.
        InfeasibleBudgetError: if what the margin leaves is below the cheapest treatment for all.
        WriteError: if something could not be written.
    """
    customers, output = Path(customers), Path(output)
    check_choice("engine", engine, get_args(Engine))
    keep = tuple(dict.fromkeys(keep))
    check_kept(keep)
    data = DataSet.of(customers, scores.columns, keep)
    scores = scores.among(data.mixed)
    output = check_output_folder(output, data, overwrite=overwrite)
    asked = {
        "format": _FORMAT,
        "dfl": dfl.__version__,
        "files": data.fingerprint(),
        "scores": scores.about(),
        "budget": asdict(budget),
        "margin": None if cut is None else asdict(cut(0.0)),
        "keep": list(keep),
    }
    work = work_of(output)
    blocks = ScoredBlocks(data, scores, work)
    first = rank_of()[0] == 0
    if not first:  # the first process opens the folder and holds it until all have written
        gathered(None)
        done = _allocate(blocks, budget, cut, keep, engine)
        gathered(None)
        return done
    with locked(work), on_cluster() if engine == "ray" else contextlib.nullcontext():
        open_work(work, output, asked)
        gathered(None)
        done = _allocate(blocks, budget, cut, keep, engine)
        rows, people = work / "rows", sum(done.people.values())
        content = {"people": done.people, "rows": people, "budget": done.budget}
        content["margin"] = None if done.margin is None else asdict(done.margin)
        amounts = ("multiplier", "revenue", "cost", "upper_bound")
        content |= {name: getattr(done.allocation, name) for name in amounts}
        write_json(rows / "_allocation.json", content)
        gathered(None)
        put_into_place(work, output, overwrite=overwrite)
    shutil.rmtree(work, ignore_errors=True)
    return done


@final
@dataclass(frozen=True, eq=False)
class ScoredBlocks(AbstractBlocks):
    """Blocks of a data set with their scores; what is made of them is kept on disk.

    Args:
        data: the rows.
        score: gives scores.
        work: folder for what is kept.
    """

    data: DataSet
    score: AbstractScores
    work: Path

    @property
    def sizes(self) -> Sequence[int]:
        """Rows of each block."""
        return [block.rows for block in self.data.blocks]

    def scores(self, block: int) -> tuple[Tensor, Tensor]:
        """Return the scores, from disk where they were dear and are there.

        Raises:
            DataError: if a score is not a finite number, or a cost is negative; says where.
        """
        if not self.score.kept:
            return self._scored(self.data.blocks[block])[:2]
        path = self.work / "scores" / f"{block:06d}.npy"
        if not path.exists():
            revenue, cost, features = self._scored(self.data.blocks[block])
            if features is not None:
                self.save(self._features(block), lambda file: np.save(file, features.numpy()))
            found = np.stack([revenue.numpy(), cost.numpy()])
            self.save(path, lambda file: np.save(file, found))
        both = torch.from_numpy(np.load(path, allow_pickle=False))
        return both[0], both[1]

    def features(self, block: int) -> Arrays:
        """Return ``features``, their sums over a block's rows, once scored; nothing without any."""
        path = self._features(block)
        return {"features": np.load(path, allow_pickle=False)} if path.exists() else {}

    def once(self, name: str, block: int, make: Callable[[], Arrays]) -> Arrays:
        """Return what was made of a block, by this start or one before."""
        path = self.work / "passes" / name / f"{block:06d}.npz"
        if not path.exists():
            made: dict[str, Any] = dict(make())
            self.save(path, lambda file: np.savez(file, **made))
        with np.load(path, allow_pickle=False) as found:
            return {key: found[key] for key in found.files}

    def save(self, path: Path, write: Callable[[Path], object]) -> None:
        """Write a file, whole or not at all, and its checksum; its folder is made if need be."""
        make_folder(path.parent)

        def written(temporary: Path) -> None:
            with temporary.open("wb") as file:  # numpy appends to a name, not to a file
                write(file)  # type: ignore[arg-type]  # whoever writes takes either

        write_whole(path, written)
        seal_work(self.work, path)

    def _features(self, block: int) -> Path:
        return self.work / "scores" / f"{block:06d}.features.npy"

    def _scored(self, block: DataBlock) -> tuple[Tensor, Tensor, Tensor | None]:
        table = self.data.read(block, self.score.columns)
        try:
            revenue, cost, features = self.score.with_features(table)
            AllocationProblem(revenue, cost, float(np.finfo(np.float64).max))  # checks them
        except DflError as error:
            if len(block.pieces) > 1:
                for one in block.apart():  # says of which file, and of which row there
                    self._scored(one)
            raise DataError(f"{self.data.where(block)}: {error}") from error
        return revenue, cost, features


def _allocate(
    blocks: ScoredBlocks,
    budget: Budget,
    cut: Callable[[float], Margin] | None,
    keep: Sequence[str],
    engine: Engine,
) -> CustomerAllocation:
    """Solve and write."""
    shared: AbstractBlocks = blocks
    if engine == "ray":  # workers start in folders of their own
        files = tuple(file.absolute() for file in blocks.data.files)
        blocks = replace(blocks, data=replace(blocks.data, files=files))
        numbers = len(blocks.score.columns) + 2 * len(blocks.score.names)
        most = max(blocks.sizes, default=0)
        shared = RayBlocks(blocks, memory=_INTERPRETER + _PER_NUMBER * most * numbers)
    if cut is None:
        margin, found = None, solve_blocks(shared, budget)
        total = found.budget
    else:
        total, least = money_of(shared, budget)
        margin = cut(total / max(sum(blocks.sizes), 1))
        found = solve_blocks(shared, Budget(total=margin.within(total, least)))

    def part(number: int) -> Path:
        return blocks.work / "rows" / part_name(number, len(blocks.sizes))

    def make(number: int) -> Arrays:
        block = blocks.data.blocks[number]
        revenue, cost = blocks.scores(number)
        choice = found.choice(number, revenue, cost)
        given = given_columns(block.start, choice, revenue, cost, blocks.score.names)
        schema = schema_of(given, [blocks.data.schema.field(name) for name in keep])
        own = blocks.data.read(block, keep)
        columns = {**given, **{name: own.column(name) for name in keep}}
        table = pa.table(columns).select(schema.names)
        coded = [*_CODED, *keep]
        blocks.save(part(number), lambda file: pq.write_table(table, file, use_dictionary=coded))
        people = np.bincount(choice.numpy(), minlength=revenue.shape[1])
        return {"people": people, **blocks.features(number)}

    make_folder(blocks.work / "rows")
    every = range(len(blocks.sizes))
    counts = [one for mine in gathered(list(shared.over("written", every, make))) for one in mine]
    lost = [number for number in every if not part(number).exists()]
    if lost:
        raise RunFolderError(
            f"{part(lost[0])} and {len(lost) - 1} others were written where this process cannot "
            "see them: output must lie in a folder that all machines share."
        )
    made = [one for _, one in counts]
    people = _people(blocks.score, made)
    sums = [one["features"] for one in made if "features" in one]
    means = torch.from_numpy(sum(sums) / max(sum(people.values()), 1)) if sums else None
    return CustomerAllocation(found, total, people, None, margin, means)


def _people(scores: AbstractScores, counts: Sequence[Arrays]) -> dict[str, int]:
    none = np.zeros(len(scores.names), np.int64)
    total = sum((one["people"] for one in counts), none)
    return dict(zip(scores.names, total.tolist(), strict=True))


def _check_solver(given: object) -> None:
    if not isinstance(read_solver(given), GreedyDual):
        raise ConfigError(
            "a data set is allocated block by block, which greedy-dual alone does; say --solver "
            "greedy-dual, or give a file to write: 'dfl allocate' by a run, 'dfl plan' by columns."
        )
