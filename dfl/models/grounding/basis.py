"""`Basis`: the directions in which a correction may depend on features and treatment."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

__all__ = ["Basis"]

_CLIP = 4.0  # standard deviations


@final
@dataclass(frozen=True, eq=False)
class Basis:
    """``z(x) = [1, x standardised]``, for each of a few patterns over the treatments.

    Args:
        mean: of each feature on the randomised rows, float64. Shape ``(F,)``.
        scale: standard deviation of each, 1 where it is constant. Shape ``(F,)``.
        keep: columns of ``z`` in use. Shape ``(Q,)``.
        doses: patterns over the treatments: the standardised index, in order of cost, then one
            centred indicator per treatment, each of standard deviation 1; then the level, 1 for
            all of them. Shape ``(M, D)``.
    """

    mean: Tensor
    scale: Tensor
    keep: Tensor
    doses: Tensor

    @staticmethod
    def of(features: Tensor, mean_cost: Tensor) -> "Basis":
        """Build the basis of randomised rows, every column in use.

        Args:
            features: of the randomised rows. Shape ``(N, F)``.
            mean_cost: of each treatment, which gives their order. Shape ``(M,)``.
        """
        scale, mean = torch.std_mean(features.double(), dim=0, correction=0)
        scale = torch.where(scale > 0, scale, 1.0)
        place = mean_cost.argsort(stable=True).argsort().double()[:, None]
        doses = torch.cat([place, torch.eye(len(place)).to(place)], dim=1)
        doses = doses - doses.mean(dim=0)
        spread = doses.std(dim=0, correction=0)
        doses = doses / torch.where(spread > 0, spread, 1.0)
        doses = torch.cat([doses, torch.ones_like(place)], dim=1)
        keep = torch.arange(features.shape[1] + 1, device=features.device)
        return Basis(mean, scale, keep, doses)

    def only(self, keep: Tensor) -> "Basis":
        """Return the basis with the columns ``keep`` of ``z`` alone."""
        return Basis(self.mean, self.scale, keep, self.doses)

    def __call__(self, features: Tensor) -> Tensor:
        """Return ``z`` of people ``(N, F)``: ``(N, Q)``, float64, clipped at 4 deviations."""
        z = self.mean.new_ones(features.shape[0], features.shape[1] + 1)
        z[:, 1:] = features
        z[:, 1:].sub_(self.mean).div_(self.scale).clamp_(-_CLIP, _CLIP)
        return z if len(self.keep) == z.shape[1] else z[:, self.keep]
