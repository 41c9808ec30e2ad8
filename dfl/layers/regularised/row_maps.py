"""How a person's scores become shares: what regularises the choice, and its derivative."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.layers.regularised.simplex import project_on_simplex

__all__ = ["AbstractRowMap", "Projection", "RowSoftmax", "spread"]


class AbstractRowMap(ABC):
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
class RowSoftmax(AbstractRowMap):
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
class Projection(AbstractRowMap):
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


def spread(weights: Tensor, vector: Tensor) -> Tensor:
    """Return ``J v``, the Jacobian of the shares times a vector; see `AbstractRowMap`.

    Args:
        weights: of the Jacobian. Shape ``(..., M, N)``.
        vector: shape ``(..., M, N)``.
    """
    weighted = weights * vector
    centre = weighted.sum(dim=-2) / weights.sum(dim=-2)
    return torch.addcmul(weighted, weights, centre.unsqueeze(-2), value=-1)
