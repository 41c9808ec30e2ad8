"""`Clusters`: people around centres, small groups merged."""

from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from dfl.checks import check_count
from dfl.errors import InvalidValueError
from dfl.scale import CACHED

__all__ = ["Clusters"]

_MINI_BATCH_FROM = 50_000  # rows from which K-means runs on mini-batches
_STARTS = 5
_LOOKED_AT = 10_000  # rows, at least, among which different points are counted


@final
@dataclass(frozen=True, eq=False)
class Clusters:
    """Groups of the nearest centre; several centres may share a group.

    Args:
        centres: shape ``(C, D)``.
        group: of each centre, int64 in ``0 .. groups - 1``. Shape ``(C,)``.
    """

    centres: Tensor
    group: Tensor

    @property
    def groups(self) -> int:
        """Number of groups K."""
        return int(self.group.max()) + 1

    @staticmethod
    def fit(points: Tensor, count: int, seed: int) -> "Clusters":
        """Find centres by K-means, from 5 starts by K-means++; on mini-batches from 50,000 rows.

        Args:
            points: coordinates of people. Shape ``(N, D)``.
            count: number of centres, >= 1; as many as there are different points at most.
            seed: starting point of all randomness.

        Raises:
            InvalidValueError: if ``count`` is below 1, there is nobody, or a coordinate is not
                finite.

        Source:
            Arthur and Vassilvitskii (2007), k-means++; Sculley (2010),
            doi:10.1145/1772690.1772862, for mini-batches. Both by scikit-learn.
        """
        from sklearn.cluster import KMeans, MiniBatchKMeans

        check_count("number of clusters", count, at_least=1)
        check_count("number of people", len(points), at_least=1)
        if not bool(points.isfinite().all()):
            raise InvalidValueError("points must be finite, got NaN or infinity.")
        rows = points.detach().cpu().numpy()
        some = points[:: max(len(points) // _LOOKED_AT, 1)]
        few = min(count, len(torch.unique(some, dim=0)))
        options: dict[str, Any] = {"n_clusters": few, "n_init": _STARTS, "random_state": seed}
        if len(points) < _MINI_BATCH_FROM:
            fitted = KMeans(**options).fit(rows)
        else:
            fitted = MiniBatchKMeans(**options, batch_size=4096).fit(rows)
        centres = torch.from_numpy(fitted.cluster_centers_).to(points)
        return Clusters(centres, torch.arange(few, device=points.device))

    def assign(self, points: Tensor) -> Tensor:
        """Return everyone's group, int64, shape ``(N,)``."""
        middle = self.centres.mean(dim=0)  # far from 0, squares would cancel
        centres = self.centres - middle
        half = centres.square().sum(dim=1) / 2
        found = [
            self.group[((points[rows] - middle) @ centres.mT - half).argmax(dim=1)]
            for rows in CACHED.of(points.shape[0], self.centres.shape[0])
        ]
        return torch.cat(found) if found else self.group[:0]

    def merged(self, points: Tensor, treatment: Tensor, treatments: int, least: int) -> "Clusters":
        """Merge groups in which a treatment has too few rows into the nearest other group.

        The smallest cell goes first, and joins the group with the nearest centre of mass; the
        outcomes of the rows play no part.

        Args:
            points: coordinates of rows. Shape ``(N, D)``.
            treatment: that each got, int64. Shape ``(N,)``.
            treatments: number of treatments M.
            least: rows that every group and treatment must have, >= 0.

        Raises:
            InvalidValueError: if ``least`` is below 0.
        """
        check_count("least rows of a cell", least, at_least=0)
        merged = self
        label = merged.assign(points)
        cells = torch.bincount(label * treatments + treatment, minlength=self.groups * treatments)
        cells = cells.reshape(-1, treatments)
        mass = torch.stack([self.centres[self.group == k].mean(dim=0) for k in range(self.groups)])
        while len(cells) > 1 and int(cells.min()) < least:
            small = int(cells.amin(dim=1).argmin())
            distance = (mass - mass[small]).square().sum(dim=1)
            distance[small] = torch.inf
            into = int(distance.argmin())
            people = cells.sum(dim=1).to(mass)
            both = people[[small, into]].clamp(min=1)
            mass[into] = (both[0] * mass[small] + both[1] * mass[into]) / both.sum()
            cells[into] += cells[small]
            kept = torch.arange(len(cells), device=cells.device) != small
            cells, mass = cells[kept], mass[kept]
            group = torch.where(merged.group == small, into, merged.group)
            merged = replace(merged, group=group - (group > small).long())
        return merged
