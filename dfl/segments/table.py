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

_OWN_FROM = 30  # rows, or groups of them, from which a cell's own variance is taken


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
        groups on the error adds them up, and fewer take the pooled variance with the pooled
        correlation of two rows of a group, 1 where no cell has two groups. Errors are those of
        both terms together: a row that is predicted too little moves them the same way.

        Args:
            rows: that neither made the segments nor the predictions.
            segment: of each row, int64 in ``0 .. segments - 1``. Shape ``(N,)``.
            segments: number of segments K.
            predicted: of these rows, or None for plain means.
            shrinkage: whether cells are shrunk, see `shrink`; those without rows always are.

        Raises:
            ShapeError: if ``segment`` or ``predicted`` do not fit the rows.
            InvalidValueError: if a segment is out of range, or as `UpliftData.weight`.
        """
        if segment.shape != (len(rows),):
            raise ShapeError(f"segment must be ({len(rows)},), got {tuple(segment.shape)}.")
        wanted = (len(rows), rows.treatments)
        for name in ("revenue", "cost") if predicted is not None else ():
            if getattr(predicted, name).shape != wanted:
                raise ShapeError(
                    f"predicted {name} must be {wanted}, a row and treatment each, got "
                    f"{tuple(getattr(predicted, name).shape)}; predict these rows."
                )
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
    groups: Tensor  # of people who may be alike; rows where there are none. (K, M)
    group: Tensor | None  # each row's

    @staticmethod
    def of(data: UpliftData, segment: Tensor, segments: int) -> "_Cells":
        treatment, label = data.treatment.cpu(), segment.cpu()
        size = segments * data.treatments
        counts = torch.bincount(label * data.treatments + treatment, minlength=size)
        rows = counts.reshape(segments, data.treatments)
        group = (
            None if data.groups is None else torch.unique(data.groups.cpu(), return_inverse=True)[1]
        )
        groups = rows
        if group is not None:
            cell = label * data.treatments + treatment
            different = torch.unique(group * size + cell) % size
            groups = torch.bincount(different, minlength=size).reshape(rows.shape)
        return _Cells(label, treatment, data.weight.cpu().double(), rows, groups, group)

    def sums(self, values: Tensor) -> Tensor:
        """Return sums over the rows of each cell, ``(K, M)``."""
        flat = values.new_zeros(self.rows.numel())
        return flat.index_add_(0, self._cell, values).reshape(self.rows.shape)

    def table(
        self, outcome: Tensor, predicted: Tensor | None, *, shrinkage: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the cells' means and standard errors."""
        value = outcome.cpu().double()
        guess = None if predicted is None else predicted.cpu().double()
        if guess is not None:
            value = value - self._of_own(guess)
        mean, variance, influence = self._means(value)
        shrunk = shrink(mean, variance.sqrt())
        kept = (self.rows > 0) & (not shrinkage)
        mean = torch.where(kept, mean, shrunk.mean)
        total = torch.where(kept, variance, shrunk.error.square())
        if guess is not None:
            of_all, spread, both = self._of_all(guess, influence)
            # Guesses that run ahead of outcomes make the two terms vary against each other, those
            # that fall short together; pooled cells may not let them do so beyond what they vary.
            most = (spread * torch.where(self.rows > 0, variance, 0)).sqrt()
            both = torch.maximum(torch.minimum(both, most), -most)
            mean = mean + of_all
            total = total + spread + 2 * torch.where(kept, 1, shrunk.own) * both
        return mean, total.clamp(min=0).sqrt()

    def _means(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return means, their variances, and what each row moves its cell's mean by, ``(N,)``.

        Means and variances are 0 and infinity where a cell is empty.
        """
        total = self.sums(self.weight)
        there = self.rows > 0
        mean = torch.where(there, self.sums(self.weight * value) / total, 0)
        around = value - mean[self.segment, self.treatment]
        influence = self.weight * around / total[self.segment, self.treatment]
        own = self.sums(influence * self._together(influence, self._cell)) * _bessel(self.groups)
        squares = self.sums(self.weight * around.square()) / total
        within = _pooled((squares * _bessel(self.rows)).nan_to_num(), _freedom(self.rows))
        pooled = within * self._effective(within, own * total.square()) / total.square()
        variance = torch.where(self.groups >= _OWN_FROM, own.clamp(min=0), pooled)
        return mean, torch.where(there, variance, torch.inf), influence

    def _effective(self, within: Tensor, own: Tensor) -> Tensor:
        """Return sums of squared weights, more of them the more alike the rows of a group are.

        Args:
            within: variance of a row, ``(1, M)``.
            own: variance of each cell's weighted sum, by its groups. Shape ``(K, M)``.
        """
        alone = self.sums(self.weight.square())
        if self.group is None:
            return alone
        pairs = self.sums(self.weight * self._together(self.weight, self._cell)) - alone
        several = self.groups > 1
        seen = torch.where(several, own - within * alone, 0).sum()
        most = torch.where(several, within * pairs, 0).sum()
        alike = (seen / most).clamp(0, 1) if float(most) > 0 else within.new_ones(())
        return alone + alike * pairs

    def _of_all(self, guess: Tensor, influence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean guesses of everyone in each segment, their variances, and covariances.

        The latter are those with the cells' means, which rows move by ``influence``.
        """
        people = self.rows.sum(dim=1)[:, None].double().clamp(min=1)
        zero = guess.new_zeros(self.rows.shape)
        mean = zero.index_add(0, self.segment, guess) / people
        around = (guess - mean[self.segment]) / people[self.segment]
        together = self._together(around, self.segment)
        spread = zero.index_add(0, self.segment, around * together).clamp(min=0)
        own = self.sums(influence * self._of_own(together)) * _bessel(self.groups)
        pooled = _pooled(own * people, _freedom(self.groups)) / people
        return mean, spread, torch.where(self.groups >= _OWN_FROM, own, pooled)

    def _of_own(self, values: Tensor) -> Tensor:
        """Return each row's entry of ``(N, M)`` at the treatment it received."""
        return values.gather(1, self.treatment[:, None])[:, 0]

    def _together(self, values: Tensor, place: Tensor) -> Tensor:
        """Return for each row the sum over the rows of its group in the same place."""
        if self.group is None:
            return values
        key = self.group * self.rows.numel() + place
        key, member = torch.unique(key, return_inverse=True)
        sums = values.new_zeros(len(key), *values.shape[1:]).index_add_(0, member, values)
        return sums[member]

    @property
    def _cell(self) -> Tensor:
        """The cell of each row."""
        return self.segment * self.rows.shape[1] + self.treatment


def _freedom(count: Tensor) -> Tensor:
    return (count - 1).clamp(min=0).double()


def _bessel(count: Tensor) -> Tensor:
    return count / _freedom(count).clamp(min=1)


def _pooled(own: Tensor, freedom: Tensor) -> Tensor:
    """Return each treatment's variance within cells; that of all where it has none, ``(1, M)``."""
    squares, degrees = own * freedom, freedom.sum(dim=0, keepdim=True)
    every = squares.sum() / degrees.sum().clamp(min=1)
    return torch.where(degrees > 0, squares.sum(dim=0, keepdim=True) / degrees, every)
