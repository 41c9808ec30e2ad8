"""`SegmentTable`: what each treatment earns and costs in each segment, and how sure that is."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError, ShapeError
from dfl.models import Prediction
from dfl.segments.shape import Shape, shaped
from dfl.segments.shrinkage import shrink

__all__ = ["SegmentTable"]

_OWN_FROM = 30  # rows from which a cell's own variance is taken


@final
@dataclass(frozen=True, eq=False)
class SegmentTable:
    """Revenue and cost per head in each segment under each treatment; float64, on the CPU.

    Args:
        rows: that each cell is estimated from, int64. Shape ``(K, M)``.
        share: of the people who are in each segment, sum 1. Shape ``(K,)``.
        revenue: in currency per head. Shape ``(K, M)``.
        cost: in currency per head, >= 0. Shape ``(K, M)``.
        revenue_error: standard error, in currency per head.
        cost_error: likewise.
    """

    rows: Tensor
    share: Tensor
    revenue: Tensor
    cost: Tensor
    revenue_error: Tensor
    cost_error: Tensor

    @staticmethod
    def of(
        rows: UpliftData,
        segment: Tensor,
        segments: int,
        predicted: Prediction | None = None,
        *,
        shrinkage: bool = True,
    ) -> "SegmentTable":
        """Estimate a table from randomised rows.

        A cell's mean is weighted by inverse propensities that are made to sum to 1 in it. With
        predictions ``f`` it is doubly robust: ``mean_k f_j(x) + mean_kj (y - f_j(x))``, the first
        mean over all rows of the segment. What is shrunk is the last term, so that a segment's
        table moves away from what the model says of it only as far as its own rows show; without
        predictions it moves towards each treatment's mean. A cell of fewer than 30 rows takes its
        treatment's pooled variance within cells. Rows of a group may depend on each other: from 30
        rows on the error adds up groups.

        Args:
            rows: that neither made the segments nor the predictions.
            segment: of each row, int64 in ``0 .. segments - 1``. Shape ``(N,)``.
            segments: number of segments K.
            predicted: of these rows, or None for plain means.
            shrinkage: whether cells are shrunk, see `shrink`; those without rows always are.

        Raises:
            ShapeError: if ``segment`` does not fit the rows.
            InvalidValueError: if a segment is out of range, or as `UpliftData.weight`.
        """
        if segment.shape != (len(rows),):
            raise ShapeError(f"segment must be ({len(rows)},), got {tuple(segment.shape)}.")
        if int(segment.min()) < 0 or int(segment.max()) >= segments:
            raise InvalidValueError(
                f"segment must lie in 0 .. {segments - 1}, got {int(segment.min())} .. "
                f"{int(segment.max())}."
            )
        cells = _Cells.of(rows, segment, segments)
        guess = (None, None) if predicted is None else (predicted.revenue, predicted.cost)
        revenue = cells.table(rows.revenue, guess[0], shrinkage=shrinkage)
        cost = cells.table(rows.cost, guess[1], shrinkage=shrinkage)
        people = cells.rows.sum(dim=1).double()
        return SegmentTable(
            cells.rows, people / people.sum(), revenue[0], cost[0].clamp(min=0), revenue[1], cost[1]
        )

    @property
    def segments(self) -> int:
        """Number of segments K."""
        return self.rows.shape[0]

    @property
    def treatments(self) -> int:
        """Number of treatments M."""
        return self.rows.shape[1]

    def of_shape(self, shape: Shape) -> "SegmentTable":
        """Return the table with each segment's response held to a shape, see `shaped`.

        Treatments rise in generosity with their mean cost over all segments.

        Raises:
            InvalidValueError: as `shaped`.
        """
        order = (self.share @ self.cost).argsort(stable=True)
        revenue, cost = shaped(self.revenue, self.cost, self.rows, order, shape)
        return SegmentTable(
            self.rows, self.share, revenue, cost, self.revenue_error, self.cost_error
        )


@final
@dataclass(frozen=True, eq=False)
class _Cells:
    """Rows by segment and treatment received."""

    segment: Tensor
    treatment: Tensor
    weight: Tensor
    rows: Tensor  # (K, M)
    group: Tensor | None  # of people who may be alike, each row's

    @staticmethod
    def of(data: UpliftData, segment: Tensor, segments: int) -> "_Cells":
        treatment, label = data.treatment.cpu(), segment.cpu()
        size = segments * data.treatments
        counts = torch.bincount(label * data.treatments + treatment, minlength=size)
        rows = counts.reshape(segments, data.treatments)
        group = (
            None if data.groups is None else torch.unique(data.groups.cpu(), return_inverse=True)[1]
        )
        return _Cells(label, treatment, data.weight.cpu().double(), rows, group)

    def sums(self, values: Tensor) -> Tensor:
        """Return sums over the rows of each cell, ``(K, M)``."""
        flat = values.new_zeros(self.rows.numel())
        place = self.segment * self.rows.shape[1] + self.treatment
        return flat.index_add_(0, place, values).reshape(self.rows.shape)

    def table(
        self, outcome: Tensor, predicted: Tensor | None, *, shrinkage: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the cells' means and standard errors."""
        value = outcome.cpu().double()
        if predicted is not None:
            guess = predicted.cpu().double()
            value = value - guess.gather(1, self.treatment[:, None])[:, 0]
        mean, variance = self._means(value)
        shrunk = shrink(mean, variance.sqrt())
        kept = (self.rows > 0) & (not shrinkage)
        mean = torch.where(kept, mean, shrunk.mean)
        variance = torch.where(kept, variance, shrunk.error.square())
        if predicted is not None:
            of_all, spread = self._of_all(guess)
            mean, variance = mean + of_all, variance + spread
        return mean, variance.sqrt()

    def _means(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and their variances, 0 and infinity where a cell is empty."""
        total = self.sums(self.weight)
        there = self.rows > 0
        mean = torch.where(there, self.sums(self.weight * value) / total, 0)
        around = value - mean[self.segment, self.treatment]
        squares = self.sums(self.weight * around.square())
        freedom = (self.rows - 1).clamp(min=0).double()
        own = (squares / total * self.rows / freedom.clamp(min=1)).nan_to_num()
        within = torch.where(self.rows >= _OWN_FROM, own, _pooled(own, freedom))
        variance = within * self.sums(self.weight.square()) / total.square()
        if self.group is not None:
            together = self._of_groups(self.weight * around) / total.square()
            variance = torch.where(self.rows >= _OWN_FROM, together, variance)
        return mean, torch.where(there, variance, torch.inf)

    def _of_groups(self, values: Tensor) -> Tensor:
        """Return for each cell the sum of squares of its groups' sums, ``(K, M)``."""
        assert self.group is not None  # the caller has looked
        cell = self.segment * self.rows.shape[1] + self.treatment
        key, place = torch.unique(self.group * self.rows.numel() + cell, return_inverse=True)
        sums = values.new_zeros(len(key)).index_add_(0, place, values)
        flat = values.new_zeros(self.rows.numel())
        flat.index_add_(0, key % self.rows.numel(), sums.square())
        return flat.reshape(self.rows.shape)

    def _of_all(self, guess: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean predictions of everyone in each segment, and the variance of the mean."""
        people = self.rows.sum(dim=1)[:, None].double()
        zero = guess.new_zeros(self.rows.shape)
        mean = zero.index_add(0, self.segment, guess) / people.clamp(min=1)
        away, segment = guess - mean[self.segment], self.segment
        if self.group is not None:
            key, place = torch.unique(self.group * len(zero) + segment, return_inverse=True)
            away = away.new_zeros(len(key), away.shape[1]).index_add(0, place, away)
            segment = key % len(zero)
        squares = zero.index_add(0, segment, away.square())
        return mean, squares / people.clamp(min=1).square()


def _pooled(own: Tensor, freedom: Tensor) -> Tensor:
    """Return each treatment's variance within cells; that of all where it has none, ``(1, M)``."""
    squares, degrees = own * freedom, freedom.sum(dim=0, keepdim=True)
    every = squares.sum() / degrees.sum().clamp(min=1)
    return torch.where(degrees > 0, squares.sum(dim=0, keepdim=True) / degrees, every)
