"""`Scaling`: features and outcomes in units a network learns well, and back to currency."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError
from dfl.models.row_statistics import (
    constant_per_arm,
    mean_and_spread,
    modes,
    quantiles,
    root_mean_square,
)

__all__ = ["Scaling"]


@final
@dataclass(frozen=True, eq=False)
class Scaling:
    """Means and scales of one training set; or of several, stacked along a leading axis.

    A treatment whose logged cost never varies over at least 100 rows (a letter at 15 cents,
    say) has a known cost: it is served as that constant, not learned.

    Args:
        feature_mean: ``(..., F)``, in units of each feature.
        feature_scale: standard deviation, 1 where a feature is constant. ``(..., F)``.
        revenue_mean: mean over all rows, in currency. ``(...)``.
        revenue_scale: standard deviation over all rows, in currency. ``(...)``.
        cost_scale: root mean square over all rows, in currency. ``(...)``.
        fixed_cost: known constant cost per treatment, in currency; NaN where it is learned.
            ``(..., M)``.
        knots: quantiles of each feature at equal steps, from which its rank is read off; none
            without ranks. ``(..., F, Q)`` or ``(..., F, 0)``.
        mode: most frequent value of each feature, NaN where it has less than a twentieth of the
            rows, and without ranks. ``(..., F)``.
    """

    feature_mean: Tensor
    feature_scale: Tensor
    revenue_mean: Tensor
    revenue_scale: Tensor
    cost_scale: Tensor
    fixed_cost: Tensor
    knots: Tensor
    mode: Tensor

    @staticmethod
    def fit(*parts: UpliftData, ranks: bool = False) -> "Scaling":
        """Return the scaling of all given rows together, those of all processes that share them.

        Args:
            parts: rows, at least one in all.
            ranks: whether a network is also given each feature's rank among these rows, and
                whether it is off its most frequent value.

        Raises:
            InvalidValueError: if revenue is the same in every row, or every cost is zero.
        """
        features = torch.cat([part.features for part in parts])
        revenue = torch.cat([part.revenue for part in parts])
        cost = torch.cat([part.cost for part in parts])
        treatment = torch.cat([part.treatment for part in parts])
        feature_mean, spread = mean_and_spread(features)
        revenue_mean, revenue_scale = mean_and_spread(revenue)
        cost_scale = root_mean_square(cost)
        if not bool(revenue_scale > 0):
            raise InvalidValueError(
                "revenue must vary, got the same value in every training row; check the column."
            )
        if not bool(cost_scale > 0):
            raise InvalidValueError(
                "cost must be positive somewhere, got 0 in every training row; with no cost "
                "there is no budget to spend."
            )
        columns = features.T
        return Scaling(
            feature_mean=feature_mean,
            feature_scale=torch.where(spread > 0, spread, torch.ones_like(spread)),
            revenue_mean=revenue_mean,
            revenue_scale=revenue_scale,
            cost_scale=cost_scale,
            fixed_cost=constant_per_arm(cost, treatment, parts[0].treatments),
            knots=quantiles(columns) if ranks else columns.new_empty(len(columns), 0),
            mode=modes(columns) if ranks else torch.full_like(spread, torch.nan),
        )

    @staticmethod
    def stack(scalings: Sequence["Scaling"]) -> "Scaling":
        """Put several scalings along a new leading axis."""
        return Scaling(
            *(torch.stack([getattr(s, f.name) for s in scalings]) for f in fields(Scaling))
        )

    def standardise(self, features: Tensor) -> Tensor:
        """Return features with mean 0 and scale 1, and what else a network is given of them.

        Rank: twice the share of training rows below, ties counted half, less 1. Off the mode: 1,
        else -1. So a value that most rows share, and tails that a mean and a scale say little
        of, are easy to tell.

        Args:
            features: shape ``(..., N, F)``.

        Returns:
            Shape ``(..., N, width)``.
        """
        mean, scale = self.feature_mean.unsqueeze(-2), self.feature_scale.unsqueeze(-2)
        plain = (features - mean) / scale
        if not self.knots.shape[-1]:
            return plain
        columns = features.mT.contiguous()
        below = torch.searchsorted(self.knots, columns)
        upto = torch.searchsorted(self.knots, columns, right=True)
        rank = (below + upto).mT.to(plain) / self.knots.shape[-1] - 1
        off = 2 * (features != self.mode.unsqueeze(-2)).to(plain) - 1
        return torch.cat((plain, rank, off), dim=-1)

    @property
    def width(self) -> int:
        """Number of columns that `standardise` returns."""
        features = self.feature_mean.shape[-1]
        return 3 * features if self.knots.shape[-1] else features

    def outcomes(self, revenue: Tensor, cost: Tensor) -> Tensor:
        """Return observed outcomes in network units, shape ``(..., N, 2)``."""
        scaled_revenue = (revenue - self.revenue_mean[..., None]) / self.revenue_scale[..., None]
        return torch.stack((scaled_revenue, cost / self.cost_scale[..., None]), dim=-1)

    def currency(self, outcomes: Tensor) -> tuple[Tensor, Tensor]:
        """Turn network outputs ``(..., N, 2, M)`` into revenue and cost ``(..., N, M)``."""
        revenue = outcomes[..., 0, :] * self.revenue_scale[..., None, None]
        revenue = revenue + self.revenue_mean[..., None, None]
        cost = outcomes[..., 1, :] * self.cost_scale[..., None, None]
        fixed = self.fixed_cost.unsqueeze(-2)
        return revenue, torch.where(fixed.isnan(), cost, fixed.nan_to_num())
