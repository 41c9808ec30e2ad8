"""`mark_of`: tells checkpoints of one training from those of another."""

import hashlib
import re

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.models import Parameters
from dfl.scale import gathered, over_rows, rank_of, rows_apart
from dfl.training.networks import Networks

__all__ = ["mark_of"]

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of an object without words of its own


def mark_of(networks: Networks, *parameters: Parameters) -> str:
    """Return a hash of method, seeds, weight decays, shapes of parameters, and rows.

    Rows count to the last bit and in their order, but not by how many processes they are spread
    over. Where each process has rows of its own, all must ask.

    Args:
        networks: what is trained.
        parameters: of the networks, and of what learns beside them.
    """
    parts = [part for one in networks.sets for part in one.parts]
    told = (
        _ADDRESS.sub("", networks.method),
        networks.plan,
        [(name, tuple(value.shape)) for one in parameters for name, value in one.items()],
        [_sum_of(part) for part in parts],
    )
    return hashlib.blake2b(repr(told).encode(), digest_size=16).hexdigest()


def _sum_of(rows: UpliftData) -> int:
    """Return a sum over all rows of whole numbers, so that no rounding depends on its order."""
    columns = [rows.treatment, rows.revenue, rows.cost, *rows.features.T]
    columns += [] if rows.propensity is None else [*rows.propensity.T]
    columns += [] if rows.groups is None else [rows.groups]
    row = torch.zeros_like(rows.treatment)
    for column in columns:
        row = 1_000_003 * row + _bits(column)
    before = sum(gathered(len(rows))[: rank_of()[0]]) if rows_apart() else 0
    place = torch.arange(before, before + len(rows), device=row.device)
    return int(over_rows((row * (2 * place + 1)).sum()))


def _bits(column: Tensor) -> Tensor:
    """Return whole numbers that are the bits of a column."""
    if column.dtype == torch.int64:
        return column
    kind = torch.int32 if column.dtype == torch.float32 else torch.int64
    return column.contiguous().view(kind).long()
