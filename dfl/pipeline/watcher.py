"""`Watcher`: whoever follows a run."""

from typing import Protocol, final

from dfl.methods import Progress

__all__ = ["Silent", "Watcher"]


class Watcher(Protocol):
    """Is told what a run does."""

    def say(self, text: str) -> None:
        """Hear which phase begins."""

    def epoch(self, done: Progress) -> None:
        """Hear of a finished epoch; its checkpoint is on disk already."""


@final
class Silent:
    """A watcher that shows nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def epoch(self, done: Progress) -> None:
        """Show nothing."""
