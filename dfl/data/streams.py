"""Random streams: one independent generator for each purpose of a seed."""

import hashlib

import torch

__all__ = ["stream"]


def stream(seed: int, purpose: str) -> torch.Generator:
    """Return a generator on the CPU that depends on ``seed`` and ``purpose`` alone.

    Two purposes of one seed share no numbers, so making one part larger never changes
    another part.

    Args:
        seed: any whole number.
        purpose: what is drawn: ``"test"``, ``"policy"``.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
