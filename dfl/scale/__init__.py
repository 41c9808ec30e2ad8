"""Size: how much is held at once, what adds up over blocks and ranks, units that round nothing."""

from dfl.scale.chunks import CACHED, STREAMED, Chunks
from dfl.scale.parts import PARTS, Empty, no_room, on_disk, some_rows
from dfl.scale.powers import power_of_two
from dfl.scale.ranks import (
    all_over_ranks,
    alone,
    check_bare,
    from_first,
    gathered,
    handed_out,
    joined,
    leads,
    over_ranks,
    over_rows,
    rank_of,
    rows_apart,
    sent_around,
    together,
)
from dfl.scale.sketch import Bracket, Sketch

__all__ = [
    "CACHED",
    "PARTS",
    "STREAMED",
    "Bracket",
    "Chunks",
    "Empty",
    "Sketch",
    "all_over_ranks",
    "alone",
    "check_bare",
    "from_first",
    "gathered",
    "handed_out",
    "joined",
    "leads",
    "no_room",
    "on_disk",
    "over_ranks",
    "over_rows",
    "power_of_two",
    "rank_of",
    "rows_apart",
    "sent_around",
    "some_rows",
    "together",
]
