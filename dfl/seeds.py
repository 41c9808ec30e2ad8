"""Random streams: one independent generator for each purpose of a seed."""

import hashlib
import operator

import torch
from torch import Tensor

from dfl.checks import is_whole
from dfl.errors import InvalidValueError

__all__ = ["normal", "stream", "uniform"]


def stream(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a generator on the CPU that depends on ``seed`` and ``purpose`` alone.

    Two purposes of one seed share no numbers, so making one part larger never changes
    another part; and a generator made anew for each network, stage and epoch, instead of one
    whose state is carried along, makes a resumed run the same as one that was never stopped.

    Args:
        seed: any whole number.
        purpose: what is drawn, in as many words and numbers as it takes: ``"test"``, or
            ``"teacher", epoch``.

    Raises:
        InvalidValueError: if the seed is no whole number.
    """
    if not is_whole(seed):
        raise InvalidValueError(f"seed must be a whole number, got {seed!r}.")
    text = "/".join(map(str, (operator.index(seed), *purpose)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def uniform(*shape: int, generator: torch.Generator) -> Tensor:
    """Return numbers in [0, 1), float32 whatever torch's default: a seed means the same numbers."""
    return torch.rand(shape, generator=generator, dtype=torch.float32)


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    """Return standard normal numbers, float32 likewise."""
    return torch.randn(shape, generator=generator, dtype=torch.float32)
