"""A suite: every method on every data set over many seeds, one row each in one file."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from dfl.config import Study, Suite, read_suite
from dfl.data import AbstractDataSource, AbstractTable, HybridData
from dfl.errors import (
    DataNotFoundError,
    DflError,
    InfeasibleProblemError,
    InvalidValueError,
    MissingExtraError,
    RunFolderError,
    WriteError,
)
from dfl.io import UNFINISHED, make_folder, write_tensors
from dfl.methods import AbstractModel, Monitor
from dfl.models import Prediction
from dfl.pipeline.expected_time import in_words
from dfl.pipeline.folder import versions
from dfl.pipeline.lock import LOCK, locked
from dfl.pipeline.run import on_device, predict, readable
from dfl.pipeline.suite_results import RESULTS, Row, SuiteResults
from dfl.pipeline.suite_rows import Spent, measured, row_of
from dfl.pipeline.watcher import Watcher
from dfl.pipeline.yardstick import Yardstick

__all__ = ["resume_suite", "run_suite"]

# A draw may miss a treatment, or have no choice within the budget; another seed need not.
_OF_DRAW = (InfeasibleProblemError, InvalidValueError)


def run_suite(suite: Suite, path: Path | str, watcher: Watcher) -> SuiteResults:
    """Measure a suite, and keep its rows in ``results.parquet`` of a new folder.

    All methods see the same rows in each seed. Seeds that train together are those whose
    numbers give the same quotient by ``seeds_at_once``, so that a suite which was stopped and
    resumed has the rows of one that was not. What a method cannot do, such as to converge,
    leaves a row that says so, and so does a seed whose rows miss a treatment.

    Args:
        suite: what to measure.
        path: of the folder.
        watcher: follows.

    Raises:
        RunFolderError: if the folder exists and is not empty, or is in use.
        ConfigError: if parts of a method do not fit.
        DataNotFoundError: if a file that is not optional is not there.
        WriteError: if a file could not be written.
    """
    path = Path(path)
    _check_free(path)
    runner = _Runner(suite, _sources(suite, watcher), path, watcher)
    with locked(path):
        _check_free(path)  # somebody else may have been quicker
        return runner.go(SuiteResults(path / RESULTS, suite.config).write())


def _check_free(path: Path) -> None:
    """Refuse a folder that holds more than a start leaves that was killed at once."""
    there = [one.name for one in path.iterdir()] if path.is_dir() else [path.name] * path.exists()
    if not all(name == LOCK or UNFINISHED.fullmatch(name) for name in there):
        raise RunFolderError(
            f"{path} is not empty; go on with its suite by --resume, or choose another folder."
        )


def resume_suite(path: Path | str, watcher: Watcher, suite: Suite | None = None) -> SuiteResults:
    """Go on with a suite; rows that are there stay.

    Args:
        path: of its folder.
        watcher: follows.
        suite: the suite with more seeds, methods or data sets, or None for the one of the
            folder.

    Raises:
        RunFolderError: if there is no suite, it is in use, or rows that are there were made
            with other settings.
        DataError: if the file is damaged.
        DflError: as `run_suite`.
    """
    path = Path(path)
    SuiteResults.read(path / RESULTS)  # before a lock makes a folder
    with locked(path):
        results = SuiteResults.read(path / RESULTS)
        suite = read_suite(results.config) if suite is None else suite
        results.check_made_by({cell: study.config for cell, study in suite.studies.items()})
        runner = _Runner(suite, _sources(suite, watcher), path, watcher)
        return runner.go(replace(results, config=suite.config).write())


def _sources(suite: Suite, watcher: Watcher) -> dict[str, AbstractDataSource]:
    """Open every data set, so that a missing file is known before anything is trained."""
    for text in suite.left_out:
        watcher.say(text)
    found: dict[str, AbstractDataSource] = {}
    left_out: set[str] = set()
    for (label, _), study in suite.studies.items():
        if label in found or label in left_out:
            continue
        try:
            found[label] = (
                study.data.load() if isinstance(study.data, AbstractTable) else study.data
            )
        except (DataNotFoundError, MissingExtraError) as error:
            if label not in suite.optional:
                raise
            left_out.add(label)
            watcher.say(f"{label} is left out: {error}")
    return found


@final
@dataclass(frozen=True, eq=False)
class _Task:
    """Seeds of one data set that train together, and the methods that miss some."""

    data: str
    missing: Mapping[str, Sequence[int]]


@final
@dataclass(eq=False)
class _Runner:
    """Trains what is missing, task by task, so that all cells of the suite grow together."""

    suite: Suite
    sources: Mapping[str, AbstractDataSource]
    path: Path
    watcher: Watcher
    versions: Mapping[str, object] = field(default_factory=versions)

    def __post_init__(self) -> None:
        """Refuse methods whose parts do not fit."""
        checked: list[dict[str, Any]] = []
        for study in self.suite.studies.values():
            part = {key: value for key, value in study.config.items() if key != "data"}
            if part not in checked:  # parts do not depend on the data
                study.check()
                checked.append(part)

    def go(self, results: SuiteResults) -> SuiteResults:
        """Return the results with every row of the suite."""
        tasks = self._tasks(results)
        left: Counter[tuple[str, str]] = Counter()
        for task in tasks:
            left.update({(task.data, one): len(seeds) for one, seeds in task.missing.items()})
        clock = _Clock(left)
        for task in tasks:
            self.watcher.say(f"Drawing {task.data}")
            drawn, failed = self._draw(task)
            for method, seeds in task.missing.items():
                self.watcher.say(clock.say(task.data, method, seeds))
                start = time.perf_counter()
                own = {seed: drawn[seed] for seed in seeds if seed in drawn}
                rows = self._rows(task.data, method, own) if own else []
                rows += [
                    self._undrawn(task.data, method, seed, failed[seed])
                    for seed in seeds
                    if seed in failed
                ]
                results = results.with_rows(rows).write()
                clock.note(task.data, method, len(seeds), time.perf_counter() - start)
            del drawn  # before the next rows are drawn
        self.watcher.say(f"All {len(results.rows)} rows are in {results.path}")
        return results

    def _tasks(self, results: SuiteResults) -> list[_Task]:
        tasks: list[tuple[int, _Task]] = []
        for label in self.sources:
            for seeds in self._together(label):
                missing = {
                    method: found
                    for data, method in self.suite.studies
                    if data == label and (found := results.missing(label, method, seeds))
                }
                if missing:
                    tasks.append((seeds[0], _Task(label, missing)))
        return [task for _, task in sorted(tasks, key=lambda pair: pair[0])]

    def _together(self, label: str) -> Iterator[list[int]]:
        size, seeds = self.suite.seeds_at_once[label], self.suite.seeds
        for block in range(seeds[0] // size, seeds[-1] // size + 1):
            yield [seed for seed in seeds if seed // size == block]

    def _draw(self, task: _Task) -> tuple[dict[int, tuple[HybridData, Yardstick]], dict[int, str]]:
        """Draw or split the rows of every seed, and prepare what methods are measured by.

        Returns:
            Seed to rows and measure; and to the reason where there are none.
        """
        study = next(one for (data, _), one in self.suite.studies.items() if data == task.data)
        drawn, failed = {}, {}
        for seed in sorted({seed for seeds in task.missing.values() for seed in seeds}):
            how = study.evaluation
            try:
                data = self.sources[task.data].hybrid(seed)
                yardstick = Yardstick.of(
                    data.test, study.budgets, how.bootstrap, estimator=how.estimator, curve=False
                )
            except _OF_DRAW as error:
                failed[seed] = f"its rows: {error}"
                self.watcher.say(f"{task.data}, seed {seed}, is left out: {error}")
            else:
                drawn[seed] = (data, yardstick)
        return drawn, failed

    def _undrawn(self, label: str, method: str, seed: int, reason: str) -> Row:
        study = self.suite.studies[label, method]
        row = row_of(self.suite.name, study, None, (label, method, seed), None, self.versions)
        return row | {"failed": reason}

    def _rows(
        self, label: str, method: str, drawn: Mapping[int, tuple[HybridData, Yardstick]]
    ) -> list[Row]:
        """Train a method on some seeds at once and measure it; one by one where that fails."""
        study = self.suite.studies[label, method]
        start, cpu = time.perf_counter(), time.process_time()
        try:
            models = self._fit(study, {seed: data for seed, (data, _) in drawn.items()})
            reason = None
        except (MissingExtraError, WriteError):
            raise
        except DflError as error:
            if len(drawn) > 1:
                return [
                    row for seed in drawn for row in self._rows(label, method, {seed: drawn[seed]})
                ]
            models, reason = [], str(error)
        number = len(drawn)
        spent = Spent(
            (time.process_time() - cpu) / number, (time.perf_counter() - start) / number, number
        )
        rows: list[Row] = []
        for index, (seed, (data, yardstick)) in enumerate(drawn.items()):
            row = row_of(self.suite.name, study, data, (label, method, seed), spent, self.versions)
            if reason is not None:
                rows.append(row | {"failed": reason})
                continue
            predicted = predict(models[index], data.test)
            self._keep(predicted, label, method, seed)
            last = {stage: logs[-1:] for stage, logs in models[index].history.items()}
            row["last_epoch"] = json.dumps(readable(last))
            try:
                rows.append(row | measured(study, yardstick, predicted))
            except DflError as error:
                rows.append(row | {"failed": str(error)})
        return rows

    def _fit(self, study: Study, drawn: Mapping[int, HybridData]) -> list[AbstractModel]:
        sets = [on_device(study, data, seed) for seed, data in drawn.items()]
        return study.method.fit_many(sets, monitor=Monitor(report=self.watcher.epoch))

    def _keep(self, predicted: Prediction, *cell: object) -> None:
        """Write the predictions of the test rows, where the suite wants them."""
        if self.suite.keep_predictions:
            label, method, seed = cell
            folder = self.path / "predictions" / str(label) / str(method)
            make_folder(folder)
            tensors = {"revenue": predicted.revenue, "cost": predicted.cost}
            write_tensors(folder / f"{seed}.safetensors", tensors, {})


@final
class _Clock:
    """Says how much is done, and about how long the rest will take.

    Args:
        left: labels of data set and method to seeds that are missing.
    """

    def __init__(self, left: Mapping[tuple[str, str], int]) -> None:
        self._left = dict(left)
        self._wanted = sum(left.values())
        self._spent: dict[tuple[str, str], tuple[int, float]] = {}

    def say(self, data: str, method: str, seeds: Sequence[int]) -> str:
        number = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
        done = self._wanted - sum(self._left.values())
        text = f"{method} on {data}, {number} ({done} of {self._wanted} done"
        if self._spent:
            text += f", about {in_words(self._seconds())} left"
        return f"{text})"

    def note(self, data: str, method: str, seeds: int, seconds: float) -> None:
        before = self._spent.get((data, method), (0, 0.0))
        self._spent[data, method] = (before[0] + seeds, before[1] + seconds)
        self._left[data, method] -= seeds

    def _seconds(self) -> float:
        """Expect of each method what it took so far, or what methods took on average."""
        mean = sum(s for _, s in self._spent.values()) / sum(n for n, _ in self._spent.values())
        total = 0.0
        for cell, seeds in self._left.items():
            number, seconds = self._spent.get(cell, (1, mean))
            total += seeds * seconds / number
        return total
