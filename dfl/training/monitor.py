"""`Monitor`: reports progress, and keeps checkpoints from which training goes on."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from torch import Tensor

from dfl.errors import DataError
from dfl.io import read_tensors, write_tensors
from dfl.models import Logs
from dfl.scale import leads

__all__ = ["Monitor", "Progress"]


@final
@dataclass(frozen=True)
class Progress:
    """One finished epoch.

    Args:
        stage: what is being trained: ``"teacher"``, ``"target"``.
        epoch: epochs done.
        epochs: epochs in all.
        logs: averages of the epoch.
    """

    stage: str
    epoch: int
    epochs: int
    logs: Mapping[str, float]


@final
@dataclass(frozen=True, eq=False)
class Monitor:
    """Watches training; by default it stays silent and keeps nothing.

    Args:
        report: called after each epoch, or None.
        folder: where checkpoints are kept, one file per stage, or None. A folder is one
            training's: that of another seed, method or data is refused.
        history: what was logged, by stage; a stage that begins anew forgets what it had.
    """

    report: Callable[[Progress], None] | None = None
    folder: Path | str | None = None
    history: dict[str, list[Logs]] = field(default_factory=dict)
    _marks: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def restore(self, stage: str, mark: str) -> tuple[int, dict[str, Tensor]] | None:
        """Return epochs done and tensors of a stage, or None where there is no checkpoint.

        Args:
            stage: its name.
            mark: of what is trained, and on what; checkpoints carry it from now on.

        Raises:
            DataError: if the checkpoint is unreadable, or carries another mark.
        """
        self._marks[stage] = mark
        if self.folder is None or not (path := self._path(stage)).exists():
            return None
        try:
            tensors, metadata = read_tensors(path)
            epoch, history = int(metadata["epoch"]), json.loads(metadata["history"])
        except (DataError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"checkpoint {path} is unreadable ({error}); delete it to train this stage anew."
            ) from error
        if metadata.get("mark") != mark:
            raise DataError(
                f"checkpoint {path} is of another training, whose seed, rows, method or version of "
                "dfl differs: give a folder of its own, or delete this one to train anew."
            )
        self.history[stage] = history
        return epoch, tensors

    def record(
        self, stage: str, epoch: int, epochs: int, tensors: Mapping[str, Tensor], logs: Logs
    ) -> None:
        """Keep a checkpoint of a finished epoch and report it; of several processes, the first.

        Raises:
            WriteError: if the checkpoint could not be written; the one before stays.
        """
        self.history.setdefault(stage, []).append(logs)
        if self.folder is not None and leads():
            metadata = {
                "epoch": str(epoch),
                "history": json.dumps(self.history[stage]),
                "mark": self._marks[stage],
            }
            write_tensors(self._path(stage), tensors, metadata)
        if self.report is not None and leads():
            self.report(Progress(stage, epoch, epochs, logs))

    def _path(self, stage: str) -> Path:
        assert self.folder is not None  # both callers have looked
        return Path(self.folder) / f"{stage}.safetensors"
