"""Treatments first inside: arithmetic over a few treatments runs along the many people.

A reduction over an innermost axis of 5 or 8 treatments cannot use vector instructions; the
same reduction over ``(..., M, N)`` can, and is more than ten times faster.
"""

import torch
from torch import Tensor

__all__ = ["arms_first", "blocks"]

_BLOCK = 1 << 15  # people at a time: what is computed on the way stays in the processor's cache


def arms_first(amount: Tensor) -> Tensor:
    """Return ``(..., N, M)`` as a contiguous ``(..., M, N)``; a copy only where needed.

    Args:
        amount: any dtype. Shape ``(..., N, M)``.
    """
    turned = amount.mT
    if amount.shape[-1] > 1 and turned.is_contiguous():
        return turned
    return torch.stack(amount.unbind(dim=-1), dim=-2)  # faster than copying the transpose


def blocks(people: int, problems: int = 1, *, whole: bool = False) -> list[slice]:
    """Split people into runs whose amounts fit the processor's cache.

    Args:
        people: N.
        problems: how many problems are worked on at once.
        whole: everyone in one run, as is best where a graph is built.
    """
    size = max(people if whole else _BLOCK // max(problems, 1), 1)
    return [slice(start, min(start + size, people)) for start in range(0, max(people, 1), size)]
