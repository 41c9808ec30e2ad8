"""Trackers tell TensorBoard or MLflow what a run does, epoch by epoch, and what it comes to."""

import importlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

from dfl.errors import MissingExtraError, UnknownNameError
from dfl.methods import Progress
from dfl.pipeline.folder import RunFolder
from dfl.pipeline.watcher import Watcher
from dfl.registry import unknown_name

__all__ = ["TRACKERS", "AbstractTracker", "MLflow", "TensorBoard", "Tracked", "make_tracker"]

_STRANGE = re.compile(r"[^\w\-. /]")  # what MLflow takes in no name
_LONGEST = 500  # letters of an option


class AbstractTracker(ABC):
    """Is told of epochs while a run trains, and of its results; `epoch` fits ``Monitor.report``."""

    @abstractmethod
    def epoch(self, done: Progress) -> None:
        """Log the averages of a finished epoch as ``STAGE/NAME``."""

    @abstractmethod
    def finished(self, folder: RunFolder) -> None:
        """Log options and results of a finished run, and close."""


@final
class TensorBoard(AbstractTracker):
    """Writes event files: ``tensorboard --logdir FOLDER`` shows them.

    Args:
        path: folder of the event files, made with the first of them.

    Raises:
        MissingExtraError: if tensorboard is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._module = _load("torch.utils.tensorboard", "tensorboard")
        self._path = path

    @cached_property
    def _writer(self) -> Any:
        return self._module.SummaryWriter(str(self._path))

    def epoch(self, done: Progress) -> None:
        """Log the averages of a finished epoch as ``STAGE/NAME``."""
        for name, value in _known(done.logs):
            self._writer.add_scalar(f"{done.stage}/{name}", value, done.epoch)
        self._writer.flush()

    def finished(self, folder: RunFolder) -> None:
        """Log the configuration as text, and results as scalars."""
        self._writer.add_text("config", "    " + folder.config_text.replace("\n", "\n    "))
        for name, value in _results(folder.read_json("metrics.json")):
            self._writer.add_scalar(name, value)
        self._writer.close()


@final
class MLflow(AbstractTracker):
    """Logs to the server that ``MLFLOW_TRACKING_URI`` names, one MLflow run for each tracker.

    Args:
        name: of the MLflow run.
        experiment: of MLflow, made where it does not exist.

    Raises:
        MissingExtraError: if mlflow is not installed.
    """

    def __init__(self, name: str, experiment: str = "dfl") -> None:
        self._module = _load("mlflow", "mlflow")
        self._name = name
        self._experiment = experiment

    @cached_property
    def _run(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = found.experiment_id if found else None
        experiment = experiment or self._client.create_experiment(self._experiment)
        run: str = self._client.create_run(experiment, run_name=self._name).info.run_id
        return run

    @cached_property
    def _client(self) -> Any:
        return self._module.MlflowClient()

    def epoch(self, done: Progress) -> None:
        """Log the averages of a finished epoch as ``STAGE/NAME``."""
        for name, value in _known(done.logs):
            key = _plain(f"{done.stage}/{name}")
            self._client.log_metric(self._run, key, value, step=done.epoch)

    def finished(self, folder: RunFolder) -> None:
        """Log every option, the results, and the files that people read."""
        for name, value in _options(folder.config):
            self._client.log_param(self._run, _plain(name), str(value)[:_LONGEST])
        for name, value in _results(folder.read_json("metrics.json")):
            self._client.log_metric(self._run, _plain(name), value)
        for file in ("report.html", "metrics.json", "config.yaml"):
            self._client.log_artifact(self._run, str(folder.path / file))
        self._client.set_terminated(self._run)


@final
class Tracked:
    """A watcher that tells trackers too; one that fails is told no more, and training goes on.

    Args:
        watcher: hears everything, and of trackers that fail.
        trackers: hear of epochs and results.
    """

    def __init__(self, watcher: Watcher, trackers: Sequence[AbstractTracker]) -> None:
        self._watcher = watcher
        self._trackers = [*trackers]

    def say(self, text: str) -> None:
        """Pass on which phase begins."""
        self._watcher.say(text)

    def epoch(self, done: Progress) -> None:
        """Pass on a finished epoch."""
        self._watcher.epoch(done)
        self._tell(lambda tracker: tracker.epoch(done))

    def finished(self, folder: RunFolder) -> None:
        """Tell the results of a finished run."""
        self._tell(lambda tracker: tracker.finished(folder))

    def _tell(self, what: Callable[[AbstractTracker], None]) -> None:
        for tracker in [*self._trackers]:
            try:
                what(tracker)
            except Exception as error:  # a server that is away must not cost a training
                self._trackers.remove(tracker)
                self.say(f"warning: {type(tracker).__name__} is told no more: {error}")


TRACKERS: Mapping[str, Callable[[str, Path], AbstractTracker]] = {
    "mlflow": lambda name, path: MLflow(name),
    "tensorboard": lambda name, path: TensorBoard(path / "tensorboard"),
}
"""From the name of a run and its folder to a tracker."""


def make_tracker(kind: str, name: str, path: Path | str) -> AbstractTracker:
    """Return the tracker of a name.

    Args:
        kind: one of `TRACKERS`.
        name: of the run.
        path: of its folder.

    Raises:
        UnknownNameError: if there is none.
        MissingExtraError: if its package is not installed.
    """
    if kind not in TRACKERS:
        raise UnknownNameError(unknown_name("trackers", kind, TRACKERS))
    return TRACKERS[kind](name, Path(path))


def _load(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"tracking needs the package {extra!r}, which is not installed: "
            f"pip install 'dfl-toolkit[{extra}]'"
        ) from error


def _known(logs: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    return ((name, value) for name, value in logs.items() if math.isfinite(value))


def _results(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield what a run comes to at every budget."""
    for budget in metrics["budgets"]:
        for end in ("value", "low", "high"):
            yield f"{budget['given']}/{end}", budget["eom"][end]
        more = metrics["against_best_mix"].get(budget["given"])
        if more is not None:
            yield f"{budget['given']}/above best mix", more["value"]


def _options(config: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield every option of a configuration by its path, such as ``training.epochs``."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield from _options(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, config


def _plain(name: str) -> str:
    return _STRANGE.sub(" ", name)
