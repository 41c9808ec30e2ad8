"""One stage of training: epochs, the best network of each kept, checkpoints, progress."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, final

import torch
from torch import Tensor

from dfl.checks import checks_put_off
from dfl.errors import NotConvergedError
from dfl.models import Logs, Parameters
from dfl.scale import check_bare, from_first, over_ranks, rank_of, together
from dfl.training.mark import mark_of
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.optimiser import StackedAdam
from dfl.training.rows import Batch, RowPool
from dfl.training.settings import Training
from dfl.training.shares import check_same, share_of

__all__ = ["Companion", "Level", "Stage", "below"]


class Level(Protocol):
    """A loss that prepares itself for each epoch."""

    def start_epoch(self, parameters: Parameters) -> None:
        """Prepare an epoch that starts from these parameters of the networks."""

    def logs(self) -> Logs:
        """Return averages over the epoch."""


class Companion(Protocol):
    """Something that learns beside the networks: the bridge of a bilevel method."""

    optimiser: StackedAdam

    def start_epoch(self, epoch: int, parameters: Parameters) -> None:
        """Prepare an epoch, counted from 0, that starts from these parameters of the networks."""

    def before_step(self, step: int, parameters: Parameters, batch: Batch) -> None:
        """Learn, if it is time to, before the networks take step number ``step``."""

    def logs(self) -> Logs:
        """Return averages over the epoch."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Stage:
    """Trains networks on a pool of rows with one loss.

    Args:
        name: of the stage, in logs and checkpoints.
        networks: the networks.
        pool: their training rows.
        training: settings of the optimiser.
        loss: ``(parameters, batch) -> (K,)``.
        criterion: ``parameters -> (K,)``, smaller is better, taken at the start and after
            each epoch; each network keeps its best. None, or a None from it, keeps the last.
        companion: learns beside the networks, or None.
        level: part of the loss that is told of each epoch's start, or None.
        by_rows: whether the loss is a mean over rows, plus terms free of rows, so that processes
            can each take it on rows of their own; else each takes it on all rows.
    """

    name: str
    networks: Networks
    pool: RowPool
    training: Training
    loss: Callable[[Parameters, Batch], Tensor]
    criterion: Callable[[Parameters], Tensor | None] | None = None
    companion: Companion | None = None
    level: Level | None = None
    by_rows: bool = False
    monitor: Monitor = field(default_factory=Monitor)

    @together()
    def run(self, initial: Parameters) -> Parameters:
        """Train from ``initial``, or from the monitor's checkpoint, and return the best.

        Raises:
            NotConvergedError: if the loss or the criterion is not finite.
            WriteError: if a checkpoint could not be written.
            UnsupportedProblemError: if networks are wrapped for training in several processes,
                or these were given rows of their own.
            DataError: if they were given different rows, or a checkpoint is unreadable or of
                another training.
            ProcessError: if one of them has gone.
        """
        check_bare("the network", initial)
        check_same(self.pool, initial)
        optimiser = StackedAdam(
            initial,
            learning_rate=self.training.learning_rate,
            weight_decay=self.networks.weight_decay,
            averaged_steps=self.training.averaging * self.training.epochs * self._steps(),
        )
        best = _Best(optimiser.frozen(), self.networks.size)
        done = self._restore(optimiser, best)
        if done == 0:
            best.offer(optimiser.frozen(), self._score(optimiser))
        for epoch in range(done, self.training.epochs):
            logs = self._epoch(epoch, optimiser)
            score = self._score(optimiser)
            best.offer(optimiser.frozen(), score)
            if score is not None:
                logs["validation"] = float(score.mean())
            name = self.networks.name + self.name
            tensors = self._tensors(optimiser, best)
            self.monitor.record(name, epoch + 1, self.training.epochs, tensors, logs)
        return best.parameters

    def _score(self, optimiser: StackedAdam) -> Tensor | None:
        score = None if self.criterion is None else self.criterion(optimiser.frozen())
        if score is None:
            return None
        score = score.cpu()
        self.networks.check_score(self.name, score)
        return score

    def _steps(self) -> int:
        """Return the number of steps of an epoch."""
        return self.pool.steps(
            self.networks.plan.dataset,
            batch_size=self.training.batch_size,
            min_steps=self.training.min_steps_per_epoch,
        )

    def _epoch(self, epoch: int, optimiser: StackedAdam) -> Logs:
        generators = self.networks.generators(self.name, epoch)
        if self.companion is not None:
            self.companion.start_epoch(epoch, optimiser.parameters)
        if self.level is not None:
            self.level.start_epoch(optimiser.parameters)
        total, steps = self.networks.weight_decay.new_zeros(self.networks.size), 0
        batches = self.pool.epoch(
            self.networks.plan.dataset,
            generators,
            batch_size=self.training.batch_size,
            min_steps=self.training.min_steps_per_epoch,
        )
        share_of_epoch = 1 / self._steps()
        with checks_put_off(total.device):
            for step, batch in enumerate(batches):
                done = (epoch + step * share_of_epoch) / self.training.epochs
                optimiser.scale_rate(self.training.rate_after(done))
                if self.companion is not None:
                    self.companion.before_step(step, optimiser.parameters, batch)
                own, share = share_of(batch) if self.by_rows else (batch, 1 / rank_of()[1])
                loss = share * self.loss(optimiser.parameters, own)
                optimiser.step(loss)
                total, steps = total + loss.detach(), steps + 1
        total = over_ranks(total)
        mean = float(total.mean() / steps)
        if not math.isfinite(mean):
            raise NotConvergedError(
                f"training of {self.name!r} diverged in epoch {epoch + 1}: the loss is not "
                f"finite. Lower learning_rate (now {self.training.learning_rate:g}), or check "
                "the outcomes for extreme values."
            )
        logs = {"loss": mean}
        for one in (self.companion, self.level):
            logs |= {} if one is None else one.logs()
        return logs

    def _tensors(self, optimiser: StackedAdam, best: "_Best") -> dict[str, Tensor]:
        tensors = {f"networks/{key}": value for key, value in optimiser.state().items()}
        tensors |= {f"best/{key}": value for key, value in best.parameters.items()}
        if self.companion is not None:
            state = self.companion.optimiser.state()
            tensors |= {f"companion/{key}": value for key, value in state.items()}
        return {**tensors, "score": best.score}

    def _restore(self, optimiser: StackedAdam, best: "_Best") -> int:
        name, learning = self.networks.name + self.name, [optimiser.parameters]
        if self.companion is not None:
            learning.append(self.companion.optimiser.parameters)
        self.monitor.history[name] = []
        kept = from_first(lambda: self.monitor.folder is not None)
        mark = mark_of(self.networks, *learning) if kept else ""
        found = from_first(lambda: self.monitor.restore(name, mark))
        if found is None:
            return 0
        done, tensors = found
        optimiser.restore(below(tensors, "networks/"))
        held = below(tensors, "best/")
        best.parameters = {n: held[n].to(v.device) for n, v in optimiser.parameters.items()}
        best.score = tensors["score"]
        if self.companion is not None:
            self.companion.optimiser.restore(below(tensors, "companion/"))
        return done


@final
class _Best:
    """The best parameters so far, per network; infinite score while there is no criterion."""

    def __init__(self, parameters: Parameters, size: int) -> None:
        self.parameters = parameters
        self.score = torch.full((size,), float("inf"), dtype=torch.float32)

    def offer(self, parameters: Parameters, score: Tensor | None) -> None:
        """Take the networks whose score, on the CPU, is smaller than before; all without one."""
        if score is None:
            self.parameters = parameters
            return
        better = score < self.score
        self.score = torch.where(better, score, self.score)
        for name, value in parameters.items():
            mask = better.to(value.device).reshape(-1, *(1,) * (value.ndim - 1))
            self.parameters[name] = torch.where(mask, value, self.parameters[name])


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, by what follows it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
