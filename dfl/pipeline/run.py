"""One run: fit, keep the model, evaluate, report; from the start or from where it stopped."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

import dfl
from dfl.config import Study, read_study
from dfl.data import HybridData, UpliftData
from dfl.errors import (
    ConfigError,
    DflError,
    InfeasibleProblemError,
    UnsupportedProblemError,
)
from dfl.methods import Monitor, TrainingSet
from dfl.models import AbstractModel, Prediction
from dfl.pipeline.advice import rank_advice
from dfl.pipeline.expected_time import expected_seconds, in_words
from dfl.pipeline.folder import RunFolder
from dfl.pipeline.health import health
from dfl.pipeline.helpers import dismiss_helpers, have_helpers, helped
from dfl.pipeline.lock import locked, release
from dfl.pipeline.people import feature_groups, who_gets_what
from dfl.pipeline.served import ENCODER, MODEL, SEGMENTS, load_model
from dfl.pipeline.spend import arm_cost_ratios, spend_ratio
from dfl.pipeline.today import Today
from dfl.pipeline.watcher import Watcher
from dfl.pipeline.yardstick import Evaluation, Yardstick, treatment_names
from dfl.problem import AllocationProblem
from dfl.report.report import Report, run_report

__all__ = [
    "finish",
    "fit",
    "on_device",
    "predict",
    "read_again",
    "readable",
    "report_of",
    "resume",
    "run",
    "training_set",
]

T = TypeVar("T")


def run(study: Study, path: Path | str, watcher: Watcher) -> RunFolder:
    """Train and evaluate one method, and write a run folder.

    Args:
        study: what to run.
        path: of the new run folder.
        watcher: follows.

    Raises:
        RunFolderError: if the folder exists and is not empty, or is in use.
        ConfigError: if parts do not fit.
        DflError: whatever data, method and metrics raise; a run that was stopped after its
            folder was made can be resumed.
    """
    path = Path(path)
    RunFolder.check_free(path)
    study.check()
    rows = _prepare(study, watcher)
    with locked(path):
        folder = RunFolder.create(path, study.config)
        finish(study, *rows, folder, watcher)
    return folder


def resume(path: Path | str, watcher: Watcher) -> RunFolder:
    """Go on with a run by its own configuration, to the numbers it would have had.

    Args:
        path: of its folder.
        watcher: follows; hears so if the run is finished already.

    Raises:
        RunFolderError: if there is no run folder, or it is in use.
        DflError: as `run`.
    """
    path = Path(path)
    folder = RunFolder.open(path, of="run")
    if folder.finished:
        release(path)
        if have_helpers():
            dismiss_helpers()
        watcher.say(f"{path} is finished; nothing to do.")
        return folder
    with locked(path):
        study = read_again(read_study, folder)
        finish(study, *_prepare(study, watcher), folder, watcher)
    return folder


def read_again(read: Callable[[Mapping[str, Any]], T], folder: RunFolder) -> T:
    """Read the configuration of a folder, which an earlier version may have made.

    Raises:
        ConfigError: if it does not fit this version, saying which made it.
    """
    try:
        return read(folder.config)
    except ConfigError as error:
        made_by = "this version"
        with suppress(DflError):
            made_by = f"dfl {folder.made_by}"
        raise ConfigError(
            f"{folder.path / 'config.yaml'}: {error} The folder was made by {made_by}, this is dfl "
            f"{dfl.__version__}; CHANGELOG.md says which names have changed."
        ) from error


def _prepare(study: Study, watcher: Watcher) -> tuple[HybridData, Yardstick]:
    """Load the rows, check them, and prepare what a model is measured by on them."""
    watcher.say(f"Loading data: {study.data_name}")
    data = study.data.hybrid(study.seed)
    watcher.say(f"Rows: {in_parts(data)}")
    study.method.check(training_set(data, study.seed))
    if advice := rank_advice(study.method, data):
        watcher.say(advice)
    today = None if data.obs is None else Today.of(data.obs)
    how = study.evaluation
    yardstick = Yardstick.of(
        data.test, study.budgets, how.bootstrap, estimator=how.estimator, today=today
    )
    return data, yardstick


def in_parts(data: HybridData) -> str:
    """Say how many rows each part has."""
    return ", ".join(f"{rows:,} {part}" for part, rows in data.rows.items())


def finish(
    study: Study, data: HybridData, yardstick: Yardstick, folder: RunFolder, watcher: Watcher
) -> Evaluation:
    """Do what is left of a run, and return the evaluation of its model.

    The model is always read back from its file before it is evaluated, so that a resumed
    run and one on an accelerator report what the file gives on any machine.
    """
    if not folder.has(MODEL):
        watcher.say(f"Training {study.name}")
        (model,) = fit(study, [on_device(study, data, study.seed)], folder, watcher)
        kept = [MODEL, "history.json", "timing.json"]
        if data.encoder is not None:
            names = {"treatment_names": list(treatment_names(data.test))}
            folder.write_json(ENCODER, data.encoder.to_dict() | names)
            kept.append(ENCODER)
        model.save(folder.path / MODEL)
        folder.seal(*kept)
    elif have_helpers():
        dismiss_helpers()
    folder.drop_checkpoints()
    watcher.say(f"Evaluating {study.name}")
    model = load_model(folder)
    predicted = predict(model, data.test)
    evaluation = yardstick.measure(predicted, study.solver)
    if not folder.finished:
        metrics = _metrics(study, data, evaluation) | {
            **_spend(study, data, predicted),
            "model": model.account(data.test.feature_names, treatment_names(data.test)),
        }
        metrics |= _described(study, data, model, predicted)
        folder.write_json("metrics.json", metrics)
        folder.seal("metrics.json")
        folder.write_report(report_of(folder))
    return evaluation


def report_of(folder: RunFolder) -> Report:
    """Return the report of a run that has its metrics.

    Raises:
        RunFolderError: if it has not.
        DataError: if a file is unreadable, or not what a run writes.
    """
    metrics, history = folder.read_json("metrics.json"), folder.read_json("history.json")
    segments = folder.read_json(SEGMENTS) if folder.has(SEGMENTS) else None
    return run_report(metrics, history, folder.config_text, segments)


def predict(model: AbstractModel, rows: UpliftData) -> Prediction:
    """Return a model's predictions for logged rows, on the CPU."""
    found = model.predict(rows.features.cpu())
    return Prediction(found.revenue.cpu(), found.cost.cpu())


def training_set(data: HybridData, seed: int) -> TrainingSet:
    """Return the training rows where they lie."""
    return TrainingSet(rct=data.rct, obs=data.obs, validation=data.validation, seed=seed)


def on_device(study: Study, data: HybridData, seed: int) -> TrainingSet:
    """Return the training rows on the study's device."""
    return training_set(data, seed).to(study.device)


def fit(
    study: Study, sets: Sequence[TrainingSet], folder: RunFolder, watcher: Watcher
) -> list[AbstractModel]:
    """Fit one model per training set, all at once, with checkpoints in the folder.

    Writes ``timing.json`` and, of the first model, ``history.json``. Other processes help, where
    torchrun has started some.
    """
    monitor = Monitor(report=watcher.epoch, folder=folder.checkpoints)
    resumed = any(folder.checkpoints.iterdir())
    with_help = have_helpers()
    expected = None if resumed or with_help else expected_seconds(study.method, sets)
    if expected is not None:
        watcher.say(f"Training will take about {in_words(expected)} on this machine")
    together = helped(study.method, sets, study.device) if with_help else nullcontext(sets)
    with together as own:
        start = time.perf_counter()
        models = study.method.fit_many(own, monitor=monitor)
    seconds = time.perf_counter() - start
    folder.write_json("timing.json", {"training_seconds": seconds, "after_resuming": resumed})
    folder.write_json("history.json", readable(models[0].history))
    return models


def readable(history: Mapping[str, Any]) -> dict[str, Any]:
    """Return a history as JSON can hold it: what was not measured is null instead of NaN."""
    return {
        stage: [{k: v if math.isfinite(v) else None for k, v in logs.items()} for logs in epochs]
        for stage, epochs in history.items()
    }


def _spend(study: Study, data: HybridData, predicted: Prediction) -> dict[str, object]:
    """Return what predicted costs are worth: of allocations by budget, and by treatment."""
    level, names = study.evaluation.level, treatment_names(data.test)
    spend = {
        str(budget): spend_ratio(data.test, predicted, study.solver, budget, level)
        for budget in study.budgets
    }
    arms = arm_cost_ratios(data.test, predicted, level)
    return {"spend": spend, "arm_costs": dict(zip(names, arms, strict=True))}


def _described(
    study: Study, data: HybridData, model: AbstractModel, predicted: Prediction
) -> dict[str, object]:
    """Return who gets what at the first budget that can be met, and the health of the run."""
    test, level = data.test, study.evaluation.level
    groups = feature_groups(test, data.encoder)
    names = tuple(one.name for one in groups)
    if data.encoder is not None:
        names = data.encoder.feature_names
    for budget in study.budgets:
        problem = (predicted.revenue, predicted.cost, budget.total_of(predicted.cost))
        try:
            found = study.solver.solve(AllocationProblem(*problem))
        except (InfeasibleProblemError, UnsupportedProblemError):
            continue  # by predicted costs; those observed meet it
        who = who_gets_what(model, test, predicted, found, groups, treatment_names(test))
        return {
            "who": {"given": str(budget), **who},
            "health": health(data, predicted, found.choice, level, names),
        }
    return {}


def _metrics(study: Study, data: HybridData, evaluation: Evaluation) -> dict[str, object]:
    card = data.card
    return {
        "name": study.name,
        "data": study.data_name,
        "source": None
        if card is None
        else f"{card.title}. {card.citation}. Licence: {card.licence}.",
        "seed": study.seed,
        "rows": data.rows,
        "left_out": [*map(list, data.left_out)],
        **evaluation.metrics,
    }
