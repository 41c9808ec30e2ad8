"""Profiles of segments in words, with the names that the data has."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.errors import ShapeError
from dfl.segments.tree import Tree

__all__ = ["Profile", "profiles", "tree_in_words"]

_MOST = 3  # features named
_APART = 0.25  # standard deviations from which a feature sets a segment apart
_SAME = 0.95  # correlation from which two features tell the same


@final
@dataclass(frozen=True)
class Profile:
    """Who is in a segment.

    Args:
        people: share of all people.
        traits: what sets them apart, most telling first; empty where nothing does.
    """

    people: float
    traits: tuple[str, ...]

    def __str__(self) -> str:
        """Return the traits in one line."""
        return "; ".join(self.traits) or "like everyone else"


def profiles(
    features: Tensor, segment: Tensor, segments: int, names: Sequence[str]
) -> tuple[Profile, ...]:
    """Describe each segment by the features whose mean is farthest from everyone's.

    Features count whose mean differs by a quarter of their standard deviation or more, three at
    most, and one of those that tell the same (such as two categories of a column). A feature of 0
    and 1 is told as a share of people, any other as a mean.

    Args:
        features: of people, not standardised. Shape ``(N, F)``.
        segment: of each, int64. Shape ``(N,)``.
        segments: number of segments K.
        names: of the features.

    Raises:
        ShapeError: if there is not one name for each feature.
    """
    if len(names) != features.shape[1]:
        raise ShapeError(f"names must be {features.shape[1]}, one a feature, got {len(names)}.")
    rows, label = features.double().cpu(), segment.cpu()
    people = torch.bincount(label, minlength=segments)
    sums = rows.new_zeros(segments, rows.shape[1]).index_add_(0, label, rows)
    mean = sums / people.clamp(min=1)[:, None]
    overall, spread = rows.mean(dim=0), rows.std(dim=0, correction=0)
    apart = (mean - overall) / torch.where(spread > 0, spread, torch.inf)
    scaled = (rows - overall) / torch.where(spread > 0, spread, torch.inf)
    same = (scaled.mT @ scaled / max(len(rows), 1)).abs() > _SAME
    binary = ((rows == 0) | (rows == 1)).all(dim=0)
    found = []
    for k in range(segments):
        order = apart[k].abs().argsort(descending=True, stable=True).tolist()
        told: list[int] = []
        for j in order if people[k] else []:
            if (
                abs(float(apart[k, j])) >= _APART
                and len(told) < _MOST
                and not bool(same[j, told].any())
            ):
                told.append(j)
        traits = tuple(
            _trait(names[j], float(mean[k, j]), float(overall[j]), share=bool(binary[j]))
            for j in told
        )
        found.append(Profile(float(people[k]) / max(len(label), 1), traits))
    return tuple(found)


def _trait(name: str, mean: float, overall: float, *, share: bool) -> str:
    if share:
        return f"{mean:.0%} with {name} (all: {overall:.0%})"
    apart = max(abs(mean), abs(overall)) / abs(mean - overall)
    digits = max(4, 2 + math.ceil(math.log10(apart)))  # two of the difference are seen
    own, every = (f"{one:.{digits}g}" for one in (mean, overall))
    return f"{'high' if mean > overall else 'low'} {name}: {own} on average (all: {every})"


def tree_in_words(tree: Tree, names: Sequence[str], leaves: Sequence[str]) -> tuple[str, ...]:
    """Return a tree as indented lines.

    Thresholds have as many digits as it takes to sort everyone as the tree does.

    Args:
        tree: the tree.
        names: of the features.
        leaves: what is said of each segment.

    Raises:
        ShapeError: if there is not one name for each feature.
    """
    if len(names) != tree.features:
        raise ShapeError(f"names must be {tree.features}, one a feature, got {len(names)}.")
    inner = tree.feature.shape[0]

    def lines(node: int, indent: str) -> list[str]:
        if node >= inner:
            return [f"{indent}{leaves[int(tree.leaf[node - inner])]}"]
        threshold = float(tree.threshold[node])
        if threshold == float("inf"):
            return lines(2 * node + 1, indent)
        name, deeper = names[int(tree.feature[node])], indent + "    "
        said = _same_number(tree.threshold[node])
        return [
            f"{indent}{name} up to {said}:",
            *lines(2 * node + 1, deeper),
            f"{indent}{name} above {said}:",
            *lines(2 * node + 2, deeper),
        ]

    return tuple(lines(0, ""))


def _same_number(threshold: Tensor) -> str:
    """Return the shortest text that reads back as the number, four digits where these do."""
    short = f"{float(threshold):.4g}"
    same = torch.tensor(float(short), dtype=threshold.dtype) == threshold.cpu()
    return short if bool(same) else str(threshold.cpu().numpy()[()])
