"""`Tree`: segments as the leaves of a shallow tree that spends a budget best."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import torch
from torch import Tensor

from dfl.segments.base import AbstractSegmenter

__all__ = ["Tree"]


@final
@dataclass(frozen=True, eq=False)
class Tree(AbstractSegmenter):
    """A complete binary tree; a person goes right where a feature is above a threshold.

    Node n has the children 2n + 1 and 2n + 2; a node that does not split sends everyone left.

    Args:
        feature: that each inner node looks at, int64. Shape ``(2^depth - 1,)``.
        threshold: that it compares with, infinity where it does not split. Same shape.
        leaf: segment of each leaf, int64. Shape ``(2^depth,)``.
        width: number of features F.
    """

    feature: Tensor
    threshold: Tensor
    leaf: Tensor
    width: int

    @property
    def features(self) -> int:
        """Number of features F."""
        return self.width

    @property
    def segments(self) -> int:
        """Number of segments K: leaves that can be reached."""
        return int(self.leaf.max()) + 1

    @property
    def depth(self) -> int:
        """Splits from the root to a leaf."""
        return (self.leaf.shape[0]).bit_length() - 1

    def assign(self, features: Tensor) -> Tensor:
        """Return the segment of people."""
        node = torch.zeros(features.shape[0], dtype=torch.int64, device=features.device)
        if not self.width:
            return self.leaf[node]  # no node splits
        threshold = self.threshold.to(features.device)
        for _ in range(self.depth):
            value = features.gather(1, self.feature[node][:, None])[:, 0]
            node = 2 * node + 1 + (value > threshold[node]).long()
        return self.leaf[node - self.feature.shape[0]]

    def state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Return the nodes."""
        own = {"feature": self.feature, "threshold": self.threshold, "leaf": self.leaf}
        return own, {"width": self.width}

    @classmethod
    def of_state(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Self:
        """Return the tree that `state` described."""
        return cls(
            **{k: tensors[k] for k in ("feature", "threshold", "leaf")}, width=about["width"]
        )
