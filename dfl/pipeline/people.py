"""Who gets what, in words: a small tree, what an allocation looks at, and groups of people."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfl.data import FeatureEncoder, UpliftData
from dfl.data.encoding.categories import CategoryColumn
from dfl.data.encoding.numbers import NumberColumn
from dfl.models import AbstractModel, Prediction
from dfl.problem import Allocation
from dfl.seeds import stream

__all__ = ["FeatureGroup", "feature_groups", "who_gets_what"]

_DEPTH = 3  # questions of the tree
_LEAST = 0.01  # share of people in a leaf
_LEARNED = 100_000  # rows that the tree is fitted to
_SHUFFLED = 1000  # rows on which features are shuffled
_COLUMNS = 100  # columns that are looked at, at most
_SHOWN = 10  # columns whose importance is kept
_QUARTERS = (0.25, 0.5, 0.75)
_FEW = 8  # values of a number up to which each is a group; categories likewise, times two


@final
@dataclass(frozen=True)
class FeatureGroup:
    """The features that one column of a table became.

    Args:
        name: of the column.
        at: their places.
        categories: one for each, where they are 0/1 features; else empty.
        marked: whether the second of two features is 1 where a number is missing.
    """

    name: str
    at: slice
    categories: tuple[str, ...] = ()
    marked: bool = False


def feature_groups(rows: UpliftData, encoder: FeatureEncoder | None) -> list[FeatureGroup]:
    """Return the columns behind the features; without an encoder each feature is one."""
    if encoder is None:
        names = rows.feature_names or [f"feature {k}" for k in range(rows.features.shape[1])]
        return [FeatureGroup(name, slice(k, k + 1)) for k, name in enumerate(names)]
    found, start = [], 0
    for column in encoder.columns:
        names = column.feature_names
        at = slice(start, start + len(names))
        own = names if isinstance(column, CategoryColumn) else ()
        labels = tuple(one.removeprefix(f"{column.name}=") for one in own)
        marked = isinstance(column, NumberColumn) and column.marks
        found.append(FeatureGroup(column.name, at, labels, marked))
        start = at.stop
    return found


def who_gets_what(
    model: AbstractModel,
    rows: UpliftData,
    predicted: Prediction,
    allocation: Allocation,
    groups: Sequence[FeatureGroup],
    names: Sequence[str],
) -> dict[str, Any]:
    """Describe an allocation of the test rows.

    Args:
        model: predicted them.
        rows: the test rows.
        predicted: revenue and cost of these rows.
        allocation: of one budget.
        groups: columns behind the features.
        names: of the treatments.

    Returns:
        ``rules``: the leaves of a tree of depth 3 fitted to the allocation, each with its
        conditions, its share of people, its most frequent treatment and how many of them get
        it; ``agreement``: share of people whose treatment the tree names rightly;
        ``importance``: share of people whose treatment changes when a column is shuffled among
        them at the allocation's price of money, largest first; ``groups``: column to its groups
        with shares of treatments and predicted cost per head.

    Source:
        Breiman (2001), doi:10.1023/A:1010933404324 (importance by permutation); a column's
        features are shuffled together, so that nobody is in two categories.
    """
    rules, agreement = _rules(rows, allocation.choice, groups, names)
    return {
        "rules": rules,
        "agreement": agreement,
        "importance": _importance(model, rows, float(allocation.multiplier), groups),
        "groups": {
            group.name: parts
            for group in groups[:_COLUMNS]
            if len(parts := _parts(rows, predicted, allocation.choice, group)) > 1
        },
    }


def _rules(
    rows: UpliftData, choice: Tensor, groups: Sequence[FeatureGroup], names: Sequence[str]
) -> tuple[list[dict[str, Any]], float]:
    """Return the leaves of a tree on the allocation, largest first, and how often it is right."""
    from sklearn.tree import DecisionTreeClassifier

    step = -(-len(rows) // _LEARNED)  # evenly spaced rows say the same
    features, chosen = rows.features[::step].cpu().numpy(), choice[::step].cpu().numpy()
    tree = DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=_LEAST, random_state=0)
    tree.fit(features, chosen)
    rules: list[dict[str, Any]] = []
    for leaf, conditions in _leaves(tree.tree_, 0, {}):
        shares = tree.tree_.value[leaf, 0] / tree.tree_.value[leaf, 0].sum()
        best = int(shares.argmax())
        rules.append(
            {
                "if": [
                    _condition(groups, feature, ends, features[:, feature])
                    for feature, ends in conditions.items()
                ],
                "people": int(tree.tree_.n_node_samples[leaf]) / len(chosen),
                "treatment": names[int(tree.classes_[best])],
                "share": float(shares[best]),
            }
        )
    rules.sort(key=lambda rule: -rule["people"])
    return rules, float((tree.predict(features) == chosen).mean())


def _leaves(
    tree: Any, node: int, seen: dict[int, tuple[float, float]]
) -> Iterator[tuple[int, dict[int, tuple[float, float]]]]:
    """Yield every leaf with the interval ``(above, at most)`` of each feature asked for."""
    feature = int(tree.feature[node])
    if feature < 0:
        yield node, seen
        return
    edge = float(tree.threshold[node])
    low, high = seen.get(feature, (-math.inf, math.inf))
    yield from _leaves(tree, int(tree.children_left[node]), seen | {feature: (low, edge)})
    yield from _leaves(tree, int(tree.children_right[node]), seen | {feature: (edge, high)})


def _condition(
    groups: Sequence[FeatureGroup],
    feature: int,
    ends: tuple[float, float],
    values: NDArray[np.floating[Any]],
) -> str:
    group = next(one for one in groups if one.at.start <= feature < one.at.stop)
    place = feature - group.at.start
    if group.categories:
        return f"{group.name} is {'' if ends[1] == math.inf else 'not '}{group.categories[place]}"
    if group.marked and place:
        return f"{group.name} is {'' if ends[1] == math.inf else 'not '}missing"
    many = group.at.stop - group.at.start > 1 and not group.marked
    name = f"{group.name} ({place + 1})" if many else group.name
    low, high = (_edge(end, values) for end in ends)
    if ends[0] == -math.inf:
        return f"{name} at most {high}"
    return f"{name} above {low}" + ("" if ends[1] == math.inf else f" and at most {high}")


def _edge(edge: float, values: NDArray[np.floating[Any]]) -> str:
    """Return a threshold with as many digits as it takes to sort all values as it does."""
    below = values <= edge
    short = (f"{edge:.{digits}g}" for digits in range(4, 17))
    return next((one for one in short if ((values <= float(one)) == below).all()), str(edge))


def _values(values: Sequence[float]) -> list[str]:
    """Return numbers with as many digits as tell them apart; whole ones whole."""
    whole = [f"{one:.0f}" if one == round(one) and abs(one) < 1e15 else "" for one in values]
    for digits in range(4, 18):
        found = [own or f"{one:.{digits}g}" for own, one in zip(whole, values, strict=True)]
        if len(set(found)) == len(found):
            break
    return found


def _importance(
    model: AbstractModel, rows: UpliftData, price: float, groups: Sequence[FeatureGroup]
) -> list[dict[str, Any]]:
    """Return the columns whose shuffling changes most people's treatment."""
    generator = stream(0, "importance")
    some = torch.randperm(len(rows), generator=generator)[:_SHUFFLED]
    features = rows.features.cpu()[some]

    def chosen(given: Tensor) -> Tensor:
        found = model.predict(given)
        return (found.revenue.double() - price * found.cost.double()).argmax(dim=1)

    usual = chosen(features)
    found: list[dict[str, Any]] = []
    for group in groups[:_COLUMNS]:
        shuffled = features.clone()
        order = torch.randperm(len(features), generator=generator)
        shuffled[:, group.at] = features[order, group.at]
        changed = float((chosen(shuffled) != usual).double().mean())
        found.append({"column": group.name, "changed": changed})
    return sorted(found, key=lambda one: -one["changed"])[:_SHOWN]


def _parts(
    rows: UpliftData, predicted: Prediction, choice: Tensor, group: FeatureGroup
) -> list[dict[str, Any]]:
    """Return the groups of one column, with what they get."""
    own = rows.features.cpu()[:, group.at].double()
    if group.categories:
        labels, member = list(group.categories), own > 0.5
        labels, member = labels[: 2 * _FEW], member[:, : 2 * _FEW]
    elif own.shape[1] == 1:
        labels, member = _levels(own[:, 0])
    elif group.marked:
        missing = own[:, 1] > 0.5
        labels, member = _levels(own[~missing, 0])
        parted = torch.zeros(len(own), len(labels) + 1, dtype=torch.bool)
        parted[~missing, :-1], parted[missing, -1] = member, True
        labels, member = [*labels, "missing"], parted
    else:
        return []
    cost = predicted.cost.gather(1, choice[:, None])[:, 0].double()
    arms = predicted.cost.shape[1]
    found = []
    for label, inside in zip(labels, member.T, strict=True):
        people = int(inside.sum())
        if people:
            counts = torch.bincount(choice[inside], minlength=arms)
            found.append(
                {
                    "group": label,
                    "people": people / len(choice),
                    "cost": float(cost[inside].mean()),
                    "shares": (counts.double() / people).tolist(),
                }
            )
    return found


def _levels(values: Tensor) -> tuple[list[str], Tensor]:
    """Return the values of a number, or its quarters, and who is in each."""
    different = torch.unique(values)
    if len(different) <= _FEW:
        return _values(different.tolist()), values[:, None] == different
    edges = np.unique(np.quantile(values.numpy(), _QUARTERS))
    place = torch.from_numpy(np.searchsorted(edges, values.numpy()))
    shown = [_edge(float(edge), values.numpy()) for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(shown)]
    labels = [f"up to {shown[0]}", *between, f"above {shown[-1]}"]
    return labels, place[:, None] == torch.arange(len(labels))
