"""Who each row is of, by numbers that all processes agree on."""

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.scale import gathered, rank_of, rows_apart

__all__ = ["numbered"]


def numbered(rows: UpliftData) -> tuple[Tensor, int]:
    """Return the person or group of each row, and how many there are in all.

    Args:
        rows: logged rows. Where each of several processes has rows of its own, all of them count,
            in the order of the processes, and all must ask.

    Returns:
        Numbers from 0 on, in the order of the groups' ids or, without groups, of the rows; on the
        CPU, int64, shape ``(N,)``. And their number.
    """
    if rows.groups is None:
        lengths = gathered(len(rows)) if rows_apart() else [len(rows)]
        before = sum(lengths[: rank_of()[0]])
        return torch.arange(before, before + len(rows)), sum(lengths)
    groups = rows.groups.cpu()
    if not rows_apart():
        ids, group = torch.unique(groups, return_inverse=True)
        return group, len(ids)
    ids = torch.unique(torch.cat(gathered(torch.unique(groups))))
    return torch.searchsorted(ids, groups), len(ids)
