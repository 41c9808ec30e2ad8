"""Memory and processes: how much is held at once, and what is added up over ranks."""

from dfl.scale.chunks import CACHED, STREAMED, Chunks
from dfl.scale.ranks import over_ranks

__all__ = ["CACHED", "STREAMED", "Chunks", "over_ranks"]
