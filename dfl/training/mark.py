"""`mark_of`: tells checkpoints of one training from those of another."""

import hashlib
import re

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.models import Parameters
from dfl.scale import Chunks, gathered, over_rows, rank_of, rows_apart
from dfl.training.networks import Networks

__all__ = ["mark_of"]

_TOGETHER = Chunks(1 << 20)
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
    columns = [rows.treatment, rows.revenue, rows.cost, rows.features, rows.propensity, rows.groups]
    wide = [one.reshape(len(rows), -1) for one in columns if one is not None]
    before = sum(gathered(len(rows))[: rank_of()[0]]) if rows_apart() else 0
    total = rows.treatment.new_zeros(())
    for part in _TOGETHER.of(len(rows), sum(one.shape[1] for one in wide)):
        bits = torch.cat([_bits(one[part]) for one in wide], dim=1)
        # Odd numbers tell columns and rows apart, and lose no bit of what they multiply.
        column = 2_000_003 * torch.arange(bits.shape[1], device=bits.device) + 1
        row = torch.arange(before + part.start, before + part.stop, device=bits.device)
        total += ((bits * (column | 1)).sum(dim=1) * (2 * row + 1)).sum()
    return int(over_rows(total))


def _bits(values: Tensor) -> Tensor:
    """Return whole numbers that are the bits of values."""
    if values.dtype == torch.int64:
        return values
    kind = torch.int32 if values.dtype == torch.float32 else torch.int64
    return values.contiguous().view(kind).long()
