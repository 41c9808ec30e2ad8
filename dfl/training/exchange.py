"""`Exchange`: a pool whose rows lie in slices with several processes, read as one table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.scale import gathered, rank_of, sent_around

__all__ = ["Exchange"]


@final
@dataclass(frozen=True, eq=False)
class Exchange:
    """Knows with which process each row lies, and brings rows to those who read them.

    Rows are numbered as one process that had all of them would do it: data set by data set,
    in it part by part, in it process by process.

    Args:
        first: number of the first row of each block that lies in one place, ascending. ``(B,)``.
        owner: process it lies with. ``(B,)``.
        place: where it begins in that process's table. ``(B,)``.
        start, length: where each data set's rows begin and how many there are, of all processes.
        rank, world: number of this process, and how many there are.
    """

    first: Tensor
    owner: Tensor
    place: Tensor
    start: tuple[int, ...]
    length: tuple[int, ...]
    rank: int
    world: int

    @staticmethod
    def of(lengths: Sequence[Sequence[int]], device: torch.device) -> "Exchange":
        """Tell the other processes how many rows this one has, and hear of theirs.

        Args:
            lengths: rows of this process in each part of each data set.
            device: of the rows.
        """
        every = gathered(lengths)
        behind = [0] * len(every)
        blocks: list[tuple[int, int, int]] = []
        start, length, number = [], [], 0
        for dataset in range(len(lengths)):
            start.append(number)
            for part in range(len(lengths[dataset])):
                for owner, own in enumerate(every):
                    rows = own[dataset][part]
                    if rows:
                        blocks.append((number, owner, behind[owner]))
                    number, behind[owner] = number + rows, behind[owner] + rows
            length.append(number - start[-1])
        first, owner, place = torch.tensor(blocks, device=device).T.contiguous()
        return Exchange(first, owner, place, tuple(start), tuple(length), *rank_of())

    def rows(self, wanted: Sequence[Tensor], tables: Sequence[Tensor]) -> list[Tensor]:
        """Return the rows that this process reads, by one message; all must call it.

        As everyone knows what everyone reads, nothing but the rows travels.

        Args:
            wanted: numbers of the rows that each process reads. ``(n,)`` each.
            tables: what lies here of each table. Shapes ``(R, ...)``.

        Returns:
            Rows of each table, in the order wanted. Shapes ``(n, ...)``.
        """
        reads = [self._lie(numbers) for numbers in wanted]
        here = torch.cat([place[owner == self.rank] for owner, place in reads])
        given = [int((owner == self.rank).sum()) for owner, _ in reads]
        owner = reads[self.rank][0]
        taken = owner.bincount(minlength=len(reads)).tolist()
        packed = torch.cat([_bytes(table.index_select(0, here)) for table in tables], dim=1)
        came = sent_around(packed, given, taken)
        found = torch.empty_like(came).index_copy_(0, owner.argsort(stable=True), came)
        widths = [_bytes(table[:0]).shape[1] for table in tables]
        return [
            part.contiguous().view(table.dtype).reshape(len(owner), *table.shape[1:])
            for part, table in zip(torch.split(found, widths, dim=1), tables, strict=True)
        ]

    def _lie(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return with which process rows lie, and where in its table."""
        block = torch.searchsorted(self.first, numbers, right=True) - 1
        return self.owner[block], self.place[block] + numbers - self.first[block]


def _bytes(rows: Tensor) -> Tensor:
    """Return each row as bytes, ``(n, C)``."""
    return rows.reshape(len(rows), math.prod(rows.shape[1:])).view(torch.uint8)
