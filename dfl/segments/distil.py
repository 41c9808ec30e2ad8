"""Distillation: one classifier that puts people into the segments of a larger model."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfl.checks import check_choice, check_count
from dfl.segments.base import AbstractSegmenter

__all__ = ["STUDENTS", "BoostedStudent", "DenseStudent", "distilled"]

STUDENTS = ("logistic", "network", "boosting")

_HIDDEN = (64, 32)
_TREES, _TREE_DEPTH = 40, 7
_NEVER = -1e30  # the score of a segment that training had nobody in


@final
@dataclass(frozen=True, eq=False)
class DenseStudent(AbstractSegmenter):
    """Linear layers with ReLU between them; one layer is multinomial logistic regression.

    Args:
        mean: of the features, ``(F,)``.
        scale: of the features, > 0, ``(F,)``.
        weights: of each layer, ``(in, out)``.
        biases: of each layer, ``(out,)``.
    """

    mean: Tensor
    scale: Tensor
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    @property
    def features(self) -> int:
        """Number of features F."""
        return self.mean.shape[0]

    @property
    def segments(self) -> int:
        """Number of segments K."""
        return self.biases[-1].shape[0]

    def assign(self, features: Tensor) -> Tensor:
        """Return the segment of largest score."""
        found = (features.to(self.mean) - self.mean) / self.scale
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            found = torch.addmm(bias, found, weight).relu()
        return torch.addmm(self.biases[-1], found, self.weights[-1]).argmax(dim=1)

    def state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Return the layers."""
        tensors = {"mean": self.mean, "scale": self.scale}
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            tensors |= {f"weight-{index}": weight, f"bias-{index}": bias}
        return tensors, {"layers": len(self.weights)}

    @classmethod
    def of_state(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Self:
        """Return the layers that `state` described."""
        layers = range(about["layers"])
        return cls(
            tensors["mean"],
            tensors["scale"],
            tuple(tensors[f"weight-{index}"] for index in layers),
            tuple(tensors[f"bias-{index}"] for index in layers),
        )


@final
@dataclass(frozen=True, eq=False)
class BoostedStudent(AbstractSegmenter):
    """A vote of T trees, each of which names a segment.

    Args:
        feature: that each node looks at, int64. Shape ``(T, nodes)``.
        threshold: a person goes left who is no larger, float32. Same shape.
        left: node to go to; a leaf names itself, int64. Same shape.
        right: likewise.
        label: segment that each node names, int64. Same shape.
        vote: weight of each tree, ``(T,)``.
        depth: of the deepest tree.
        width: number of features F.
        count: number of segments K.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    label: Tensor
    vote: Tensor
    depth: int
    width: int
    count: int

    @property
    def features(self) -> int:
        """Number of features F."""
        return self.width

    @property
    def segments(self) -> int:
        """Number of segments K."""
        return self.count

    def assign(self, features: Tensor) -> Tensor:
        """Return the segment with most votes."""
        rows = features.float()
        score = rows.new_zeros(len(rows), self.count)
        for tree in range(len(self.vote)):
            node = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
            for _ in range(self.depth):
                value = rows.gather(1, self.feature[tree][node][:, None])[:, 0]
                goes_left = value <= self.threshold[tree][node]
                node = torch.where(goes_left, self.left[tree][node], self.right[tree][node])
            score.scatter_add_(
                1, self.label[tree][node][:, None], self.vote[tree].expand(len(rows), 1).float()
            )
        return score.argmax(dim=1)

    def state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Return the nodes."""
        names = ("feature", "threshold", "left", "right", "label", "vote")
        plain = {name: getattr(self, name) for name in ("depth", "width", "count")}
        return {name: getattr(self, name) for name in names}, plain

    @classmethod
    def of_state(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Self:
        """Return the trees that `state` described."""
        given: dict[str, Any] = {**tensors, **about}
        return cls(**given)


def distilled(
    teacher: AbstractSegmenter, features: Tensor, student: str, *, seed: int
) -> AbstractSegmenter:
    """Train a classifier to name the segment that the teacher names.

    Args:
        teacher: what is imitated.
        features: of people; no outcome is needed, so there may be many. Shape ``(N, F)``.
        student: ``"logistic"``, ``"network"`` (64 and 32 hidden units) or ``"boosting"`` (40
            trees of depth 7), all by scikit-learn; what is returned needs torch alone.
        seed: starting point of all randomness.

    Raises:
        InvalidValueError: if the student is unknown, or there is nobody.

    Source:
        arXiv:2506.00959 distils into one multi-class classifier; which one is not known.
        Boosting: Hastie et al. (2009), doi:10.4310/SII.2009.v2.n3.a8 (SAMME).
    """
    check_choice("student", student, STUDENTS)
    check_count("number of people", len(features), at_least=1)
    label = teacher.assign(features).cpu()
    seen = torch.unique(label)
    features = features.float().cpu()
    mean, spread = features.mean(dim=0), features.std(dim=0, correction=0)
    scale = torch.where(spread > 0, spread, 1)
    if len(seen) == 1:
        bias = mean.new_full((teacher.segments,), _NEVER)
        bias[seen] = 0
        return DenseStudent(mean, scale, (mean.new_zeros(len(mean), teacher.segments),), (bias,))
    if student == "boosting":
        return _boosted(features, mean, scale, label, teacher.segments, seed)
    rows = ((features - mean) / scale).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converging shows as disagreement, which is reported
        layers = _layers(rows, label.numpy(), student, seed)
    weight, bias = (torch.from_numpy(one).float() for one in layers[-1])
    if len(seen) == 2:  # one output, the score of the second against the first
        weight, bias = (torch.cat([torch.zeros_like(one), one], dim=-1) for one in (weight, bias))
    last = (
        weight.new_zeros(len(weight), teacher.segments),
        bias.new_full((teacher.segments,), _NEVER),
    )
    last[0][:, seen], last[1][seen] = weight, bias
    first = [(torch.from_numpy(w).float(), torch.from_numpy(b).float()) for w, b in layers[:-1]]
    weights, biases = zip(*first, last, strict=True)
    return DenseStudent(mean, scale, weights, biases)


def _layers(
    rows: NDArray[Any], label: NDArray[Any], student: str, seed: int
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Return weights and biases of each layer of a trained classifier."""
    if student == "logistic":
        from sklearn.linear_model import LogisticRegression

        fitted = LogisticRegression(max_iter=500).fit(rows, label)
        return [(fitted.coef_.T, fitted.intercept_)]
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(
        _HIDDEN, random_state=seed, max_iter=40, early_stopping=len(rows) > 1000
    )
    network.fit(rows, label)
    return list(zip(network.coefs_, network.intercepts_, strict=True))


def _boosted(
    features: Tensor, mean: Tensor, scale: Tensor, label: Tensor, segments: int, seed: int
) -> BoostedStudent:
    """Train trees on standardised features, whose units scikit-learn's least step then suits."""
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.tree import DecisionTreeClassifier

    base = DecisionTreeClassifier(max_depth=_TREE_DEPTH, random_state=seed)
    fitted = AdaBoostClassifier(base, n_estimators=_TREES, random_state=seed)
    fitted.fit(((features.double() - mean) / scale).float().numpy(), label.numpy())
    trees = [one.tree_ for one in fitted.estimators_]
    nodes = max(one.node_count for one in trees)

    def column(values: list[NDArray[Any]], kind: torch.dtype) -> Tensor:
        padded = [np.pad(one, (0, nodes - len(one))) for one in values]
        return torch.from_numpy(np.stack(padded)).to(kind)

    own = [np.arange(one.node_count) for one in trees]
    leaf = [one.children_left < 0 for one in trees]
    # scikit-learn compares float32 features with float64 thresholds; the largest float32 that is
    # no larger than the threshold, in units of the features, decides in the same way.
    middle, unit = mean.double().numpy(), scale.double().numpy()
    threshold = [
        _rounded_down(one.threshold * unit[one.feature] + middle[one.feature]) for one in trees
    ]
    return BoostedStudent(
        feature=column([one.feature.clip(0) for one in trees], torch.int64),
        threshold=column(threshold, torch.float32),
        left=column(
            [
                np.where(end, at, one.children_left)
                for end, at, one in zip(leaf, own, trees, strict=True)
            ],
            torch.int64,
        ),
        right=column(
            [
                np.where(end, at, one.children_right)
                for end, at, one in zip(leaf, own, trees, strict=True)
            ],
            torch.int64,
        ),
        label=column(
            [fitted.classes_[one.value[:, 0].argmax(axis=1)] for one in trees], torch.int64
        ),
        vote=torch.from_numpy(fitted.estimator_weights_[: len(trees)].copy()),
        depth=max(one.max_depth for one in trees),
        width=features.shape[1],
        count=segments,
    )


def _rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    single = threshold.astype(np.float32)
    return np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)
