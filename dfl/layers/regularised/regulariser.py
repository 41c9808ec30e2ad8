"""What regularises a person's choice: the shares that scores become, and their derivative."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import final

import torch
from torch import Tensor

from dfl.kernels import by_triton

__all__ = [
    "AbstractRegulariser",
    "Entropy",
    "SquaredNorm",
    "jacobian_product",
    "project_on_simplex",
]

_NETWORK_UP_TO = 32  # treatments; a sorting network grows as M log(M)^2
_IN_KERNEL = 1024  # treatments that one program of a kernel holds
_SORT_UP_TO = 8192  # scores; so few are sorted faster than the network's calls are made


class AbstractRegulariser(ABC):
    """Solves ``max_x scores . x + bonus(x)`` over the simplex, for each person.

    Scores are in units of the temperature, shape ``(..., M, N)``. The Jacobian of the shares
    has the form ``J v = weights * (v - sum(weights * v) / sum(weights))``, symmetric.
    """

    @abstractmethod
    def shares(self, scores: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Return the optimum, columns on the simplex. Shape ``(..., M, N)``.

        Args:
            scores: shape ``(..., M, N)``; with ``out`` they are used up.
            out: where to write it, or None for a new tensor.
        """

    @abstractmethod
    def weights(self, shares: Tensor) -> Tensor:
        """Return the weights of the Jacobian at an optimum, >= 0. Shape ``(..., M, N)``."""

    @abstractmethod
    def bonus(self, shares: Tensor) -> Tensor:
        """Return what the optimum earns beside the scores, per person. Shape ``(..., N)``."""


@final
@dataclass(frozen=True)
class Entropy(AbstractRegulariser):
    """``bonus = - sum_j x_j log x_j``: the softmax."""

    def shares(self, scores: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Return the softmax over treatments."""
        return torch.softmax(scores, dim=-2, out=out)

    def weights(self, shares: Tensor) -> Tensor:
        """Return the shares themselves."""
        return shares

    def bonus(self, shares: Tensor) -> Tensor:
        """Return the entropy."""
        entropy: Tensor = torch.special.entr(shares)
        return entropy.sum(dim=-2)


@final
@dataclass(frozen=True)
class SquaredNorm(AbstractRegulariser):
    """``bonus = - sum_j x_j^2 / 2``: the projection on the simplex."""

    def shares(self, scores: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Return the projection of the scores."""
        return project_on_simplex(scores, out=out)

    def weights(self, shares: Tensor) -> Tensor:
        """Return 1 where a treatment has a share, 0 elsewhere."""
        return shares.sign()

    def bonus(self, shares: Tensor) -> Tensor:
        """Return minus half the squared length."""
        return -shares.square().sum(dim=-2) / 2


def jacobian_product(weights: Tensor, vector: Tensor) -> Tensor:
    """Return ``J v``, the Jacobian of the shares times a vector; see `AbstractRegulariser`.

    Args:
        weights: of the Jacobian. Shape ``(..., M, N)``.
        vector: shape ``(..., M, N)``.
    """
    weighted = weights * vector
    centre = weighted.sum(dim=-2) / weights.sum(dim=-2)
    return torch.addcmul(weighted, weights, centre.unsqueeze(-2), value=-1)


def project_on_simplex(
    scores: Tensor,  # (..., M, N)
    *,
    out: Tensor | None = None,
) -> Tensor:  # (..., M, N)
    """Return, for each column, the nearest point whose entries are >= 0 and add up to 1.

    ``x_j = max(scores_j - t, 0)`` with ``t = max_k (sum of the k largest - 1) / k``: the
    piecewise linear ``sum_j max(scores_j - t, 0)`` is the largest, over all subsets, of the
    sums of ``scores_j - t``, and the best subset of each size is that of the largest scores.
    Where there are many columns, the k largest come from a network of pairwise minima and
    maxima of whole rows, many times faster than a sort.

    Args:
        scores: finite. Shape ``(..., M, N)``; with ``out`` they are used up.
        out: where to write the projection, or None for a new tensor.

    Returns:
        Shape of ``scores``; columns add up to 1 up to rounding, whatever the magnitude.

    Source:
        Held, Wolfe and Crowder (1974), doi:10.1007/BF01580223 (the threshold); Batcher
        (1968), doi:10.1145/1468075.1468121 (the network).
    """
    if by_triton(scores) and scores.ndim <= 3 and scores.shape[-2] <= _IN_KERNEL:
        from dfl.kernels.simplex import project

        return project(scores, torch.empty_like(scores) if out is None else out)
    top = scores.amax(dim=-2, keepdim=True)  # sums of large scores would round
    below = scores - top if out is None else scores.sub_(top)
    sort = scores.shape[-2] > _NETWORK_UP_TO or scores.numel() <= _SORT_UP_TO
    threshold = _by_sorting(below) if sort else _by_network(below)
    return torch.clamp_min(below.sub_(threshold), 0, out=out)


def _by_sorting(scores: Tensor) -> Tensor:
    """Return the threshold of each column ``(..., 1, N)``."""
    share, minus = _equal_shares(scores.shape[-2], scores.dtype, scores.device)
    sums = scores.sort(dim=-2, descending=True).values.cumsum(dim=-2)
    return torch.addcmul(minus, share, sums).amax(dim=-2, keepdim=True)


def _by_network(scores: Tensor) -> Tensor:
    """Return the threshold of each column ``(..., 1, N)``; rows are sorted against each other."""
    rows = list(scores.clone().unbind(dim=-2))
    spare = torch.empty_like(rows[0])
    for first, second in _comparisons(len(rows)):
        torch.maximum(rows[first], rows[second], out=spare)
        torch.minimum(rows[first], rows[second], out=rows[second])
        rows[first], spare = spare, rows[first]
    total = rows[0]
    threshold = total - 1
    for count, row in enumerate(rows[1:], start=2):
        total.add_(row)
        torch.maximum(threshold, (total - 1).mul_(1 / count), out=threshold)
    return threshold.unsqueeze(-2)


@cache
@torch.inference_mode(mode=False)
def _equal_shares(most: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ``1 / k`` and ``-1 / k`` for each number of treatments k. Shapes ``(most, 1)``."""
    share = torch.arange(1, most + 1, dtype=dtype, device=device).reciprocal().unsqueeze(-1)
    return share, -share


@cache
def _comparisons(size: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs that Batcher's odd-even merge sort compares, in order."""
    pairs = []
    run = 1
    while run < size:
        step = run
        while step >= 1:
            for start in range(step % run, size - step, 2 * step):
                for low in range(start, min(start + step, size - step)):
                    if low // (2 * run) == (low + step) // (2 * run):
                        pairs.append((low, low + step))
            step //= 2
        run *= 2
    return tuple(pairs)
