"""Processes beside the first one, which alone writes: they help it train, and keep nothing."""

from collections.abc import Sequence

from dfl.methods import AbstractMethod, TrainingSet
from dfl.scale import from_first, rank_of, together

__all__ = ["call_helpers", "dismiss_helpers", "have_helpers", "help_training"]


def have_helpers() -> bool:
    """Say whether other processes wait to help this one."""
    with together():
        return rank_of()[1] > 1


def call_helpers(method: AbstractMethod, sets: Sequence[TrainingSet], device: str) -> None:
    """Give the helpers all rows; they train along, as soon as ``method`` fits the same sets."""
    with together():
        from_first(lambda: (method, [one.to("cpu") for one in sets], device))


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
        task: tuple[AbstractMethod, list[TrainingSet], str] | None = from_first(lambda: None)
    if task is not None:
        method, sets, device = task
        method.fit_many([one.to(device) for one in sets])
