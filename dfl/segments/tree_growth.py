"""`grow`: the tree that spends a budget best, from everyone's scores."""

import sys
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_count, check_number
from dfl.errors import InvalidValueError, ShapeError
from dfl.segments.base import in_floats
from dfl.segments.tree import Tree

__all__ = ["MOST_DEPTH", "TreeScores", "grow"]

MOST_DEPTH = 3
_STEPS = 25  # prices of money that are tried at most
_LARGEST = sys.float_info.max / 4  # price: there it is doubled no more
_LACKING = 1e-9  # of a budget, which rounding may add to sums of cost
_ROUNDING = 1e-9  # of the mean size of revenue: a split that earns no more is none
_WORK = 4e7  # numbers that the exact search may hold at once


@final
@dataclass(frozen=True, eq=False)
class TreeScores:
    """What a tree is grown from.

    Args:
        features: shape ``(N, F)``.
        revenue: estimate, right on average, of what each person would bring under each
            treatment, such as doubly robust scores; in currency. Shape ``(N, M)``.
        cost: likewise, of cost. Shape ``(N, M)``.

    Raises:
        ShapeError: if they do not fit each other.
        InvalidValueError: if there is nobody, or a number is not finite.
    """

    features: Tensor
    revenue: Tensor
    cost: Tensor

    def __post_init__(self) -> None:
        """Check the shapes and the numbers."""
        if self.revenue.shape != self.cost.shape or len(self.features) != len(self.revenue):
            raise ShapeError(
                "features, revenue and cost must have the same rows, and revenue and cost the same "
                f"treatments, got {tuple(self.features.shape)}, {tuple(self.revenue.shape)} and "
                f"{tuple(self.cost.shape)}."
            )
        check_count("number of people", len(self.features), at_least=1)
        for name in ("features", "revenue", "cost"):
            if not bool(getattr(self, name).isfinite().all()):
                raise InvalidValueError(f"{name} must be finite, got NaN or infinity.")


def grow(
    scores: TreeScores, budget: float, *, depth: int = 2, thresholds: int = 16, least: int = 100
) -> Tree:
    """Grow the tree whose best leaf treatments earn most within a budget.

    At a price of money the best tree has ``max sum_leaf max_j sum_{i in leaf} (revenue_ij - price
    cost_ij)``; the price is the smallest at which the treatments so chosen cost no more than the
    budget. Where the sums of all tuples of splits fit into memory, every tree over the candidate
    thresholds is tried, so the tree is the best one; otherwise each node splits where that alone
    earns most (exact on the last level).

    Args:
        scores: of a sample of people.
        budget: in currency per head.
        depth: of the tree, in 1 .. 3.
        thresholds: candidates per feature, its quantiles, >= 1; all midpoints where a feature
            has no more values than that.
        least: people in every leaf, >= 1.

    Raises:
        InvalidValueError: if an option is out of range, or the budget is below the cheapest
            treatment for everyone.

    Source:
        Athey and Wager (2021), arXiv:1702.02896, for policy trees on doubly robust scores. The
        price of money, and sums over pairs of splits by matrix products, are ours.
    """
    check_count("depth", depth, at_least=1)
    if depth > MOST_DEPTH:
        raise InvalidValueError(f"depth must be in [1, {MOST_DEPTH}], got {depth}.")
    check_count("thresholds", thresholds, at_least=1)
    check_count("least people in a leaf", least, at_least=1)
    check_number("budget", budget, finite=False)
    if (floats := in_floats(scores.features)) is not scores.features:
        scores = replace(scores, features=floats)
    cheapest = float(scores.cost.double().mean(dim=0).min())
    if budget < cheapest - _LACKING * abs(cheapest):
        raise InvalidValueError(
            f"budget must be at least the cheapest treatment for everyone, {cheapest:g} per head, "
            f"got {budget:g}."
        )
    forest = _Sums.of(scores, _candidates(scores.features, thresholds), depth, least)
    budget = max(budget, cheapest)
    budget += _LACKING * abs(budget)
    best = _within(budget, forest, depth, _first_price(scores))
    return best.tree(scores.features.shape[1], depth, forest.cuts)


def _within(budget: float, forest: "_Sums", depth: int, first: float) -> "_Found":
    """Return the best tree at the smallest price of money at which it keeps within a budget.

    What a tree is worth is a line over the price, and the best worth of all trees their upper
    envelope. So the next price tried is where a tree beyond the budget and one within it are worth
    the same: if none is worth more there, no best tree lies between them.

    Args:
        budget: in currency per head.
        forest: all trees, or those that a greedy search finds, whose prices are halved instead.
        depth: of the trees.
        first: price that is tried first after 0, > 0.
    """
    low, beyond = 0.0, forest.best(0.0, depth)
    if beyond.cost <= budget:
        return beyond
    high, best = first, forest.best(first, depth)
    while best.cost > budget and high < _LARGEST:
        low, beyond, high = high, best, 2 * high
        best = forest.best(high, depth)
    for _ in range(_STEPS):
        equal = -1.0
        if forest.exact(depth) and beyond.cost > best.cost:
            equal = (beyond.value + low * beyond.cost) - (best.value + high * best.cost)
            equal /= beyond.cost - best.cost
        price = equal if low < equal < high else (low + high) / 2
        found = forest.best(price, depth)
        if price == equal and found.value <= beyond.at(low, price) + forest.slack:
            break
        if found.cost <= budget:
            high, best = price, found
        else:
            low, beyond = price, found
    return best


def _first_price(scores: TreeScores) -> float:
    revenue, cost = scores.revenue.double().mean(0), scores.cost.double().mean(0)
    reach = float(revenue.max() - revenue.min())
    return max(reach / max(float(cost.max() - cost.min()), 1e-12), 1e-6)


@final
@dataclass(frozen=True, eq=False)
class _Cuts:
    """Candidate splits: feature and threshold of each. Shape ``(C,)``."""

    feature: Tensor
    threshold: Tensor


def _candidates(features: Tensor, thresholds: int) -> _Cuts:
    feature: list[int] = []
    threshold: list[Tensor] = []
    steps = torch.arange(1, thresholds + 1, dtype=torch.float64, device=features.device)
    steps = steps / (thresholds + 1)
    for column in range(features.shape[1]):
        values = torch.unique(features[:, column])
        middle = values[:-1] + (values[1:] - values[:-1]) / 2
        if len(middle) > thresholds:
            place = (steps * len(features)).long()
            quantile = features[:, column].sort().values[place]
            nearest = torch.searchsorted(middle, quantile).clamp(max=len(middle) - 1)
            middle = middle[torch.unique(nearest)]
        feature += [column] * len(middle)
        threshold.append(middle)
    none = features.new_zeros(0)
    places = torch.tensor(feature, dtype=torch.int64, device=features.device)
    return _Cuts(places, torch.cat([none, *threshold]))


@final
@dataclass(frozen=True, eq=False)
class _Found:
    """A subtree: value, mean cost, and the splits in the order of the nodes; -1: no split."""

    value: float
    cost: float
    splits: tuple[int, ...]

    def at(self, price: float, other: float) -> float:
        """Return what the tree that was found at a price is worth at another."""
        return self.value + (price - other) * self.cost

    def tree(self, width: int, depth: int, cuts: _Cuts) -> Tree:
        splits = cuts.feature.new_tensor(self.splits)
        none = splits < 0
        feature = torch.where(none, 0, cuts.feature[splits] if len(cuts.feature) else splits * 0)
        inf = cuts.threshold.new_full(splits.shape, torch.inf)
        threshold = (
            inf if not len(cuts.threshold) else torch.where(none, inf, cuts.threshold[splits])
        )
        reached = _reached(none, depth)
        leaf = torch.where(reached, reached.cumsum(0) - 1, 0)
        return Tree(feature, threshold, leaf, width)


def _reached(none: Tensor, depth: int) -> Tensor:
    """Say which leaves someone can reach: right children of nodes that do not split are not."""
    reached = torch.ones_like(none[:1])
    start = 0
    for level in range(depth):
        splits = ~none[start : start + 2**level]
        reached = torch.stack([reached, reached & splits], dim=1).flatten()
        start += 2**level
    return reached


@final
@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums of the scores over people beyond one, two or three splits, and the search over them.

    Args:
        cuts: candidate splits C.
        beyond: whether each person is above each threshold, float64. Shape ``(N, C)``.
        columns: revenue, cost and 1 of everyone, over N. Shape ``(N, 2 M + 1)``.
        rows: number of people N.
        least: people in every leaf.
        pairs: sums over those beyond both of two splits, ``(C, C, 2 M + 1)``, where they fit.
        triples: sums beyond three, ``(C, C, C, 2 M + 1)``, where they fit.
        slack: what sums of the same people in another order may differ by.
    """

    cuts: _Cuts
    beyond: Tensor
    columns: Tensor
    rows: int
    least: int
    pairs: Tensor | None
    triples: Tensor | None
    slack: float

    @staticmethod
    def of(scores: TreeScores, cuts: _Cuts, depth: int, least: int) -> "_Sums":
        beyond = (scores.features[:, cuts.feature] > cuts.threshold).double()
        ones = beyond.new_ones(len(beyond), 1)
        columns = torch.cat([scores.revenue.double(), scores.cost.double(), ones], dim=1)
        columns = columns / len(beyond)
        slack = _ROUNDING * float(scores.revenue.double().abs().mean(dim=0).max())
        count, width = len(cuts.feature), columns.shape[1]
        pairs = triples = None
        if depth >= 2 and 0 < count**2 * width <= _WORK:
            pairs = _products(beyond, columns)
        if depth >= 3 and 0 < count**3 * width <= _WORK:
            triples = torch.stack(
                [_products(beyond, beyond[:, [k]] * columns) for k in range(count)]
            )
        return _Sums(cuts, beyond, columns, len(beyond), least, pairs, triples, slack)

    def exact(self, depth: int) -> bool:
        """Say whether every tree over the cuts is tried."""
        return depth == 1 or (self.pairs if depth == 2 else self.triples) is not None

    def best(self, price: float, depth: int) -> _Found:
        """Return the best tree at a price of money."""
        total = self.columns.sum(dim=0)
        if depth == 3 and self.triples is not None and self.pairs is not None:
            return self._third(price, total)
        if depth == 2 and self.pairs is not None:
            return self._second(price, self.pairs, total)
        return self._greedy(price, self.beyond.new_ones(self.rows, 1), depth)

    def _leaf(self, price: float, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Return value and cost of the best treatment of groups, ``(...)``; -inf if too small."""
        arms = self.columns.shape[1] // 2
        revenue, cost = sums[..., :arms], sums[..., arms:-1]
        value, choice = (revenue - price * cost).max(dim=-1)
        small = sums[..., -1] * self.rows < self.least - 0.5
        return value.masked_fill(small, -torch.inf), cost.gather(-1, choice[..., None])[..., 0]

    def _first_best(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first value that none is above beyond rounding, and its place, ``(...)``."""
        near = value >= value.amax(dim=-1, keepdim=True) - self.slack
        place = near.to(torch.int8).argmax(dim=-1)
        return value.gather(-1, place[..., None])[..., 0], place

    def _unsplit(self, price: float, total: Tensor, depth: int) -> _Found:
        value, cost = self._leaf(price, total)
        return _Found(float(value), float(cost), (-1,) * (2**depth - 1))

    def _first(self, price: float, right: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return value, cost and split (-1: none) of the best one-split trees of groups.

        Args:
            price: of money.
            right: sums beyond each split. Shape ``(..., C, W)``.
            total: shape ``(..., W)``.
        """
        above, below = (self._leaf(price, one) for one in (right, total[..., None, :] - right))
        value, split = self._first_best(above[0] + below[0])
        cost = (above[1] + below[1]).gather(-1, split[..., None])[..., 0]
        alone = self._leaf(price, total)
        keep = alone[0] >= value - self.slack
        return (
            torch.where(keep, alone[0], value),
            torch.where(keep, alone[1], cost),
            torch.where(keep, -1, split),
        )

    def _second(self, price: float, pairs: Tensor, total: Tensor) -> _Found:
        """Return the best two-split-deep tree of one group from its sums over pairs of splits."""
        one = pairs.diagonal(dim1=0, dim2=1).mT  # (C, W): beyond each split
        right = self._first(price, pairs, one)
        left = self._first(price, one[None] - pairs, total - one)
        value, place = self._first_best(right[0] + left[0])
        root = int(place)
        best = _Found(
            float(value),
            float(right[1][root] + left[1][root]),
            (root, int(left[2][root]), int(right[2][root])),
        )
        alone = self._unsplit(price, total, 2)
        return best if best.value > alone.value + self.slack else alone

    def _third(self, price: float, total: Tensor) -> _Found:
        assert self.triples is not None  # the caller has looked
        assert self.pairs is not None
        best = self._unsplit(price, total, 3)
        for root in range(len(self.cuts.feature)):
            beyond = self.pairs[root, root]
            right = self._second(price, self.triples[root], beyond)
            left = self._second(price, self.pairs - self.triples[root], total - beyond)
            if right.value + left.value > best.value + self.slack:
                best = _joined(root, left, right)
        return best

    def _greedy(self, price: float, inside: Tensor, depth: int) -> _Found:
        """Split where that alone earns most, and go on in both halves."""
        own = inside * self.columns
        total = own.sum(dim=0)
        if not len(self.cuts.feature):
            return self._unsplit(price, total, depth)
        value, cost, split = self._first(price, self.beyond.mT @ own, total)
        if int(split) < 0:
            return self._unsplit(price, total, depth)
        if depth == 1:
            return _Found(float(value), float(cost), (int(split),))
        right = inside * self.beyond[:, [int(split)]]
        halves = (inside - right, right)
        return _joined(int(split), *(self._greedy(price, half, depth - 1) for half in halves))


def _joined(root: int, left: _Found, right: _Found) -> _Found:
    """Put two subtrees under a split; nodes are numbered level by level."""
    splits, start, size = [root], 0, 1
    while start < len(left.splits):
        splits += [*left.splits[start : start + size], *right.splits[start : start + size]]
        start, size = start + size, 2 * size
    return _Found(left.value + right.value, left.cost + right.cost, tuple(splits))


def _products(beyond: Tensor, columns: Tensor) -> Tensor:
    """Return sums of columns over people beyond both of two splits, ``(C, C, W)``."""
    return torch.stack(
        [beyond.mT @ (columns[:, [w]] * beyond) for w in range(columns.shape[1])], dim=-1
    )
