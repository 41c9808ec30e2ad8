"""Several methods on the same rows: once with paired bootstrap, or over many seeds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfl.config import Comparison, Study, read_comparison
from dfl.data import AbstractTable, HybridData
from dfl.errors import RunFolderError
from dfl.pipeline.differences import summary
from dfl.pipeline.folder import RunFolder
from dfl.pipeline.lock import locked, release
from dfl.pipeline.run import finish, fit, in_parts, on_device, predict, read_again, training_set
from dfl.pipeline.today import Today
from dfl.pipeline.watcher import Watcher
from dfl.pipeline.yardstick import Evaluation, Yardstick
from dfl.report.report import Report, comparison_report

__all__ = ["compare", "comparison_report_of", "resume_comparison"]


def compare(comparison: Comparison, path: Path | str, watcher: Watcher) -> RunFolder:
    """Train and evaluate all methods, and write a folder with one folder for each.

    With one seed each method's folder is a whole run folder, and differences come from a
    paired bootstrap over test rows. With several, all seeds of a method train at once, and
    intervals are Student's t over seeds, paired for differences.

    Args:
        comparison: what to compare.
        path: of the new folder.
        watcher: follows.

    Raises:
        RunFolderError: if the folder exists and is not empty.
        ConfigError: if parts do not fit.
        DflError: whatever data, methods and metrics raise; the comparison can be resumed.
    """
    path = Path(path)
    RunFolder.check_free(path)
    for study in comparison.studies:
        study.check()
    rows = _prepare(comparison, watcher)
    with locked(path):
        folder = RunFolder.create(path, comparison.config)
        _finish(comparison, *rows, folder, watcher)
    return folder


def resume_comparison(path: Path | str, watcher: Watcher) -> RunFolder:
    """Go on with a comparison by its own configuration; finished methods are kept.

    Raises:
        RunFolderError: if there is no folder of a comparison.
        DflError: as `compare`.
    """
    path = Path(path)
    folder = RunFolder.open(path, of="compare")
    if folder.finished:
        release(path)
        watcher.say(f"{path} is finished; nothing to do.")
        return folder
    with locked(path):
        comparison = read_again(read_comparison, folder)
        _finish(comparison, *_prepare(comparison, watcher), folder, watcher)
    return folder


def comparison_report_of(folder: RunFolder) -> Report:
    """Return the report of a comparison that came to its end.

    Raises:
        RunFolderError: if it did not.
        DataError: if a file is unreadable.
    """
    return comparison_report(folder.read_json("comparison.json"), folder.config_text)


def _prepare(comparison: Comparison, watcher: Watcher) -> tuple[list[HybridData], list[Yardstick]]:
    """Load every seed's rows, and prepare what all methods are measured by on them."""
    first, seeds = comparison.studies[0], range(comparison.seeds)
    watcher.say(f"Loading data: {first.data_name}")
    source = first.data.load() if isinstance(first.data, AbstractTable) else first.data
    data = [source.hybrid(first.seed + seed) for seed in seeds]
    watcher.say(f"Rows: {in_parts(data[0])}{', in each seed' if len(data) > 1 else ''}")
    for study in comparison.studies:
        for part in data:
            study.method.check(training_set(part, study.seed))
    one = comparison.seeds == 1
    yardsticks = [
        Yardstick.of(
            part.test,
            first.budgets,
            first.evaluation.bootstrap,
            estimator=first.evaluation.estimator,
            curve=one,
            today=None if part.obs is None else Today.of(part.obs),
        )
        for part in data
    ]
    return data, yardsticks


def _finish(
    comparison: Comparison,
    data: list[HybridData],
    yardsticks: list[Yardstick],
    folder: RunFolder,
    watcher: Watcher,
) -> None:
    evaluations: dict[str, Evaluation] = {}
    metrics: dict[str, list[Mapping[str, Any]]] = {}
    for study in comparison.studies:
        path = folder.path / study.name
        with locked(path):
            own = _own(path, study)
            if comparison.seeds == 1:
                evaluation = finish(study, data[0], yardsticks[0], own, watcher)
                evaluations[study.name] = evaluation
                metrics[study.name] = [evaluation.metrics]
            else:
                metrics[study.name] = _all_seeds(study, data, yardsticks, own, watcher)
    folder.write_json("comparison.json", summary(comparison, metrics, evaluations))
    folder.seal("comparison.json")
    folder.write_report(comparison_report_of(folder))


def _own(path: Path, study: Study) -> RunFolder:
    """Return the folder of one method, begun here or before."""
    if not (path / "config.yaml").exists():
        return RunFolder.create(path, study.config)
    folder = RunFolder(path)
    if folder.config != study.config:
        raise RunFolderError(
            f"{path} holds a run of another configuration than the comparison has for it; move it "
            "away to train the method anew."
        )
    return folder


def _all_seeds(
    study: Study,
    data: list[HybridData],
    yardsticks: list[Yardstick],
    folder: RunFolder,
    watcher: Watcher,
) -> list[Mapping[str, Any]]:
    """Train all seeds of one method at once, and return the metrics of each."""
    if not folder.has("metrics.json"):
        watcher.say(f"Training {study.name} on {len(data)} seeds")
        sets = [on_device(study, part, study.seed + seed) for seed, part in enumerate(data)]
        models = fit(study, sets, folder, watcher)
        watcher.say(f"Evaluating {study.name}")
        found = [
            yardstick.measure(predict(model, part.test), study.solver).metrics
            for model, part, yardstick in zip(models, data, yardsticks, strict=True)
        ]
        folder.write_json("metrics.json", {"seeds": found})
        folder.seal("metrics.json", "history.json", "timing.json")
    folder.drop_checkpoints()
    seeds: list[Mapping[str, Any]] = folder.read_json("metrics.json")["seeds"]
    return seeds
