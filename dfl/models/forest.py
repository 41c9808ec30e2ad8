"""`CausalForestModel`: effects of a causal forest on levels of a regression forest, as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, final

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from dfl.models.base import AbstractModel, Logs, Prediction, State
from dfl.scale import Chunks

__all__ = ["CausalForestModel", "Trees"]

_AT_ONCE = Chunks(1 << 16)  # places in trees, one per person and tree, in the cache


@final
@dataclass(frozen=True, eq=False)
class Trees:
    """Decision trees laid end to end, by whose leaves people are told apart.

    Args:
        feature: that a node asks for, int64. Shape ``(nodes,)``.
        threshold: at or below it a person goes left, in units of the feature, float64.
        left, right: the nodes that follow, int64; a leaf is followed by itself.
        value: what a node says, float64. Shape ``(nodes, V)``.
        root: first node of each tree, int64. Shape ``(trees,)``.
        depth: questions on the longest way, int64. Shape ``()``.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    value: Tensor
    root: Tensor
    depth: Tensor

    @staticmethod
    def of(trees: Sequence[Any], values: Sequence[Any]) -> "Trees":
        """Copy trees of scikit-learn or EconML, whose arrays have the same names.

        Args:
            trees: their attributes ``tree_``.
            values: of each tree, what its nodes say, ``(nodes, V)``.
        """
        counts = torch.tensor([tree.node_count for tree in trees])
        root = counts.cumsum(dim=0) - counts
        left: list[Tensor] = []
        right: list[Tensor] = []
        for tree, first in zip(trees, root.tolist(), strict=True):
            own = torch.arange(tree.node_count)
            for side, found in ((tree.children_left, left), (tree.children_right, right)):
                after = torch.as_tensor(side.copy())
                found.append(torch.where(after < 0, own, after) + first)
        column = {name: [torch.as_tensor(getattr(t, name).copy()) for t in trees] for name in _OWN}
        return Trees(
            feature=torch.cat(column["feature"]).clamp(min=0),
            threshold=torch.cat(column["threshold"]).double(),
            left=torch.cat(left),
            right=torch.cat(right),
            value=torch.cat([torch.as_tensor(one.copy()).double() for one in values]),
            root=root,
            depth=torch.tensor(max(tree.max_depth for tree in trees)),
        )

    def to(self, device: torch.device) -> "Trees":
        """Return the trees on a device."""
        return Trees(**{one.name: getattr(self, one.name).to(device) for one in fields(self)})

    def rescaled(self, unit: Tensor) -> "Trees":
        """Return the trees for features that are as many times as large. Shape ``(F,)``."""
        return replace(self, threshold=self.threshold * unit.double()[self.feature])

    def check(self, features: int, columns: int) -> None:
        """Refuse arrays that are no trees.

        Raises:
            ValueError: if a node asks for a feature or is followed by a node that is not there,
                or says another number of things than ``columns``; or if the depth is more than
                there are nodes.
        """
        nodes = self.feature.shape[0]
        shapes = (self.threshold, self.left, self.right, self.value[:, 0])
        sound = all(one.shape == (nodes,) for one in shapes) and self.value.shape[1] == columns
        places = (self.left, self.right, self.root)
        sound = sound and all(bool(((one >= 0) & (one < nodes)).all()) for one in places)
        sound = sound and 0 <= int(self.depth) <= nodes
        if not sound or not bool(((self.feature >= 0) & (self.feature < features)).all()):
            raise ValueError("the arrays of a forest do not fit together")

    def mean(self, features: Tensor) -> Tensor:
        """Return the mean over trees of what each person's leaf says, float64.

        Args:
            features: shape ``(N, F)``, at least one person.

        Returns:
            Shape ``(N, V)``.
        """
        rows = features.double()
        after = torch.stack((self.left, self.right), dim=1).reshape(-1)
        parts = [self._mean(rows[part], after) for part in _AT_ONCE.of(len(rows), len(self.root))]
        return torch.cat(parts)

    def _mean(self, rows: Tensor, after: Tensor) -> Tensor:
        # index_select finds places several times as fast as an index in brackets.
        at = self.root.repeat(len(rows))
        for _ in range(int(self.depth)):
            asked = rows.gather(1, self.feature.index_select(0, at).reshape(len(rows), -1))
            right = asked.reshape(-1) > self.threshold.index_select(0, at)
            at = after.index_select(0, torch.add(right, at, alpha=2))
        return embedding_bag(at.reshape(len(rows), -1), self.value, mode="mean")


_OWN = ("feature", "threshold")


@final
@dataclass(frozen=True, eq=False)
class CausalForestModel(AbstractModel):
    """Levels of revenue and cost without treatment, plus each treatment's effect on them.

    An effect is ``J(x)^-1 a(x)``: ``J`` and ``a`` are means over the trees of what the leaves of a
    generalised random forest hold, one forest for revenue and one for cost. It is one forest and
    has no members that could differ: spreads are None. Nothing is pickled; a file holds the
    trees' arrays.

    Args:
        level: says revenue and cost under treatment 0. Two values.
        effects: of revenue and of cost; ``a``, shape ``(M,)``, and ``J``, ``(M, M)``, behind it.
        fixed_cost: known constant cost per treatment, in currency; NaN where it is learned.
            Its dtype is that of predictions. Shape ``(M,)``.
        feature_count: number of features F, int64. Shape ``()``.
        history: empty but for what a method logs.

    Source:
        Athey, Tibshirani and Wager (2019), arXiv:1610.01271, generalised random forests.
    """

    level: Trees
    effects: tuple[Trees, Trees]
    fixed_cost: Tensor
    feature_count: Tensor
    history: Mapping[str, list[Logs]]

    @property
    def features(self) -> int:
        """Number of features F."""
        return int(self.feature_count)

    @property
    def treatments(self) -> int:
        """Number of treatments M."""
        return self.fixed_cost.shape[0]

    def effect(self, features: Tensor) -> Tensor:
        """Return effects of treatments 1 to M - 1 on revenue and cost, ``(N, 2, M - 1)``."""
        found = []
        for trees in self.effects:
            said = trees.mean(features).reshape(len(features), -1, self.treatments)
            linear, jacobian = said[:, 0], said[:, 1:]
            solved = torch.linalg.pinv(jacobian) @ linear[..., None]
            found.append(solved.squeeze(-1)[:, :-1])
        return torch.stack(found, dim=1)

    def predict_rows(self, features: Tensor, *, spread: bool) -> Prediction:
        """Return levels plus effects; cost at least 0, and as known where it is known."""
        rows = features.to(self.fixed_cost.device)
        if len(rows) == 0:
            nothing = self.fixed_cost.new_zeros((0, self.treatments))
            return Prediction(nothing, nothing)
        level = self.level.mean(rows)[..., None]
        outcomes = torch.cat((level, level + self.effect(rows)), dim=-1).to(self.fixed_cost)
        revenue, cost = outcomes.unbind(dim=1)
        fixed = self.fixed_cost.isnan()
        return Prediction(revenue, torch.where(fixed, cost.clamp(min=0), self.fixed_cost))

    def state(self) -> State:
        """Return the trees' arrays, and the history."""
        tensors = {"fixed_cost": self.fixed_cost, "feature_count": self.feature_count}
        for name, trees in zip(_FORESTS, (self.level, *self.effects), strict=True):
            tensors |= {f"{name}/{key}": value for key, value in vars(trees).items()}
        return State("causal-forest", tensors, {"history": dict(self.history)})

    @classmethod
    def of_state(cls, state: State) -> Self:
        """Return the model that `state` described; the trees are checked."""
        level, revenue, cost = (
            Trees(**{f.name: state.tensors[f"{name}/{f.name}"] for f in fields(Trees)})
            for name in _FORESTS
        )
        fixed, count = state.tensors["fixed_cost"], state.tensors["feature_count"]
        model = cls(level, (revenue, cost), fixed, count, state.about["history"])
        level.check(model.features, 2)
        for trees in model.effects:
            trees.check(model.features, model.treatments * (model.treatments + 1))
        return model


_FORESTS = ("level", "revenue", "cost")
