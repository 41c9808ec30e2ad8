"""Size: how much is held at once, what adds up over blocks and ranks, units that round nothing."""

from dfl.scale.chunks import CACHED, STREAMED, Chunks
from dfl.scale.powers import power_of_two
from dfl.scale.ranks import alone, check_bare, gathered, joined, over_ranks, rank_of
from dfl.scale.sketch import Bracket, Sketch

__all__ = [
    "CACHED",
    "STREAMED",
    "Bracket",
    "Chunks",
    "Sketch",
    "alone",
    "check_bare",
    "gathered",
    "joined",
    "over_ranks",
    "power_of_two",
    "rank_of",
]
