"""Processes beside the first one, which alone writes: they help it train, and keep nothing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from dfl.data import UpliftData
from dfl.methods import AbstractMethod, TrainingSet
from dfl.scale import from_first, handed_out, joined, rank_of, together

__all__ = ["dismiss_helpers", "have_helpers", "help_training", "helped"]


def have_helpers() -> bool:
    """Say whether other processes wait to help this one."""
    with together():
        return rank_of()[1] > 1


@contextmanager
def helped(
    method: AbstractMethod, sets: Sequence[TrainingSet], device: str
) -> Iterator[Sequence[TrainingSet]]:
    """Have the helpers train along while the block fits ``method`` to the sets that it is given.

    Each process is given a part of the rows, this one, too; all rows, where the method needs them.

    Args:
        method: what is fitted.
        sets: the training sets.
        device: where they lie.
    """
    with together():
        from_first(lambda: (method, device))
    with _joined_for(method):
        yield _handed_out(method, sets, device)


def dismiss_helpers() -> None:
    """Tell the helpers that there is nothing to train."""
    with together():
        from_first(lambda: None)


def help_training() -> None:
    """Help the first process to train, once it calls; return when it dismisses.

    Raises:
        DflError: whatever training raises.
    """
    with together():
        task: tuple[AbstractMethod, str] | None = from_first(lambda: None)
    if task is not None:
        method, device = task
        with _joined_for(method):
            method.fit_many(_handed_out(method, (), device))


@contextmanager
def _joined_for(method: AbstractMethod) -> Iterator[None]:
    """Say whether each process has rows of its own while the block runs."""
    with joined(same_rows=not method.learns_apart):
        yield


def _handed_out(
    method: AbstractMethod, sets: Sequence[TrainingSet], device: str
) -> list[TrainingSet]:
    """Return the training sets of this process, of which the first one has all rows."""
    with together():
        if method.learns_apart:
            own = handed_out(lambda rank: [_slice(one, rank, rank_of()[1]) for one in sets])
        else:
            own = from_first(lambda: [one.to("cpu") for one in sets])
    return [one.to(device) for one in own]


def _slice(one: TrainingSet, rank: int, world: int) -> TrainingSet:
    """Return the rows of one process, on the CPU: as many of each part as others have."""

    def own(part: UpliftData | None) -> UpliftData | None:
        if part is None:
            return None
        rows = torch.arange(len(part) * rank // world, len(part) * (rank + 1) // world)
        kept = replace(part, truth=None).subset(rows.to(part.features.device))
        return kept.to("cpu")

    return replace(one, rct=own(one.rct), obs=own(one.obs), validation=own(one.validation))
