"""How segments are made: clusters from some rows, their number and table from others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_choice
from dfl.data.uplift_data import UpliftData
from dfl.models import AbstractModel, Logs, Prediction
from dfl.seeds import stream
from dfl.segments.clusters import Clusters
from dfl.segments.hidden import HiddenSegments
from dfl.segments.representation import Kind, Representation
from dfl.segments.scores import Scores
from dfl.segments.shape import SHAPES, Shape
from dfl.segments.table import SegmentTable

__all__ = ["Tabulation", "chosen_segments"]


@final
@dataclass(frozen=True, kw_only=True)
class Tabulation:
    """How a segment's revenue and cost are estimated.

    Args:
        doubly_robust: whether the model's predictions take out what differs between arms by
            chance.
        shrinkage: whether cells are shrunk.
        shape: what a segment's response is held to.

    Raises:
        InvalidValueError: if the shape is unknown.
    """

    doubly_robust: bool = True
    shrinkage: bool = True
    shape: Shape = "free"

    def __post_init__(self) -> None:
        """Check the shape."""
        check_choice("shape", self.shape, SHAPES)

    def table(
        self, rows: UpliftData, segment: Tensor, segments: int, predicted: Prediction
    ) -> SegmentTable:
        """Return the table of randomised rows that made neither segments nor predictions.

        Args:
            rows: the rows.
            segment: of each, int64. Shape ``(N,)``.
            segments: number of segments K.
            predicted: of the rows.
        """
        guess = predicted if self.doubly_robust else None
        table = SegmentTable.of(rows, segment, segments, guess, shrinkage=self.shrinkage)
        return table.of_shape(self.shape)


@final
@dataclass(frozen=True, eq=False)
class _Evidence:
    """Randomised rows beside those that made the model, and what it says of them."""

    rows: UpliftData
    predicted: Prediction
    scores: Scores
    points: Tensor
    fold: Tensor | None

    def value(self, clusters: Clusters, budgets: Sequence[Budget], tabulation: Tabulation) -> float:
        """Return the mean value over folds and budgets, each fold judged by the others' tables."""
        assert self.fold is not None  # the caller has looked
        label = clusters.assign(self.points)
        arms = self.scores.arm_costs
        rows = len(self.rows)
        ends = rows * float(arms.min()), rows * float(arms.max())
        amounts = [one.total_for(rows, *ends) / rows for one in budgets]
        values = []
        for number in range(int(self.fold.max()) + 1):
            inside, outside = self.fold == number, self.fold != number
            guess = Prediction(self.predicted.revenue[outside], self.predicted.cost[outside])
            table = tabulation.table(
                self.rows.subset(outside), label[outside], clusters.groups, guess
            )
            own = label[inside].cpu()
            served = Prediction(table.revenue[own], table.cost[own])
            scores = Scores(self.scores.revenue[inside].cpu(), self.scores.cost[inside].cpu())
            values += [scores.value(served, amount) for amount in amounts]
        return sum(values) / len(values)


def chosen_segments(
    model: AbstractModel,
    made_of: UpliftData,
    rows: UpliftData,
    *,
    kind: Kind,
    layers: int,
    counts: Sequence[int],
    cell: int,
    folds: int,
    budgets: Sequence[Budget],
    tabulation: Tabulation,
    seed: int,
) -> tuple[HiddenSegments, SegmentTable, list[Logs]]:
    """Cluster people, choose the number of clusters by held-out policy value, and tabulate.

    Args:
        model: fitted.
        made_of: rows whose features are clustered.
        rows: randomised rows that neither the model nor the clusters learned from.
        kind: of the representation.
        layers: of it.
        counts: candidates for the number of clusters, before small ones are merged.
        cell: rows that each segment and treatment must have.
        folds: of the rows; each fold is judged by tables of the others.
        budgets: at which policies are compared.
        tabulation: how tables are estimated.
        seed: starting point of all randomness.

    Returns:
        Segments, their table, and the mean held-out value of each candidate.
    """
    representation = Representation.fit(model, made_of.features, kind, layers)
    points = representation(model, made_of.features)
    predicted = model.predict(rows.features)
    evidence = _Evidence(
        rows,
        predicted,
        Scores.of(rows, predicted),
        representation(model, rows.features),
        _folds(rows, folds, seed),
    )
    found: list[Clusters] = []
    logs: list[Logs] = []
    for count in sorted(set(counts)) if evidence.fold is not None else [min(counts)]:
        start = int(stream(seed, "clusters", count).initial_seed() % 2**31)
        clusters = Clusters.fit(points, count, start)
        clusters = clusters.merged(evidence.points, rows.treatment, rows.treatments, cell)
        if any(clusters.groups == one.groups for one in found):
            continue  # merged down to as many as were tried already
        found.append(clusters)
        logs.append({"segments": float(clusters.groups)})
        if evidence.fold is not None:
            logs[-1]["value"] = evidence.value(clusters, budgets, tabulation)
    best = found[max(range(len(found)), key=lambda index: logs[index].get("value", 0.0))]
    label = best.assign(evidence.points)
    table = tabulation.table(rows, label, best.groups, predicted)
    return HiddenSegments(model, representation, best), table, logs


def _folds(rows: UpliftData, folds: int, seed: int) -> Tensor | None:
    """Return the fold of each row, groups kept whole; None where a treatment has too few rows."""
    groups = torch.arange(len(rows)) if rows.groups is None else rows.groups.cpu()
    ids, group = torch.unique(groups, return_inverse=True)
    order = torch.randperm(len(ids), generator=stream(seed, "segment folds"))
    fold = (order.argsort() % folds)[group].to(rows.features.device)
    for number in range(folds):
        counts = torch.bincount(rows.treatment[fold != number], minlength=rows.treatments)
        if int(counts.min()) < 2 or not bool((fold == number).any()):
            return None
    return fold
