"""`Numbering`: numbers of the labels of clusters that come in blocks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, final

import numpy as np

from dfl.errors import InvalidValueError
from dfl.stats.arrays import Integers, Labels

__all__ = ["Numbering"]


@final
@dataclass(frozen=True, eq=False)
class Numbering:
    """Every label once, in order; its number is its place.

    Whole numbers take 8 bytes a label, text the bytes of the longest one; while they are
    gathered, up to four times that.

    Args:
        known: labels in order, int64 or, if one is no whole number, UTF-8 bytes. Shape ``(C,)``.
    """

    known: Labels

    @classmethod
    def of(cls, blocks: Iterable[Labels]) -> Self:
        """Gather labels; sorted anew whenever as many have come again.

        Args:
            blocks: labels of each block, int64 or bytes, in any order, as often as they come.
        """
        known: Labels = np.empty(0, np.int64)
        waiting: list[Labels] = []
        for labels in blocks:
            waiting.append(labels)
            if sum(map(len, waiting)) > len(known):
                known, waiting = _united([known, *waiting]), []
        return cls(_united([known, *waiting]))

    def numbers(self, labels: Labels) -> Integers:
        """Return the number of each label. Shape of ``labels``.

        Raises:
            InvalidValueError: if a label was not there before.
        """
        if not len(labels):
            return np.empty(0, np.int64)
        if labels.dtype.kind != self.known.dtype.kind:
            labels = labels.astype(np.bytes_)
        own, place = np.unique(labels, return_inverse=True)  # in order they are found far quicker
        found = np.searchsorted(self.known, own)
        if found[-1] == len(self.known) or (self.known[found] != own).any():
            raise InvalidValueError("clusters changed while they were read; read them again.")
        numbers: Integers = found[place]
        return numbers


def _united(parts: list[Labels]) -> Labels:
    filled = [one for one in parts if len(one)]
    if len({one.dtype.kind for one in filled}) > 1:
        filled = [one.astype(np.bytes_) for one in filled]
    both: Labels = np.concatenate(filled) if filled else np.empty(0, np.int64)
    both.sort()  # quicker than numpy.unique, which looks each one up
    first = np.ones(len(both), np.bool_)
    np.not_equal(both[1:], both[:-1], out=first[1:])
    return both[first]
