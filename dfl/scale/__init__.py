"""Size: how much is held at once, what is added up over ranks, units that round nothing."""

from dfl.scale.chunks import CACHED, STREAMED, Chunks
from dfl.scale.powers import power_of_two
from dfl.scale.ranks import over_ranks

__all__ = ["CACHED", "STREAMED", "Chunks", "over_ranks", "power_of_two"]
