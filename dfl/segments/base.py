"""`AbstractSegmenter`: which segment a person belongs to."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

__all__ = ["AbstractSegmenter", "in_floats"]


class AbstractSegmenter(ABC):
    """Puts people into segments by their features. Members are frozen dataclasses."""

    @property
    @abstractmethod
    def features(self) -> int:
        """Number of features F."""

    @property
    @abstractmethod
    def segments(self) -> int:
        """Number of segments K."""

    @abstractmethod
    def assign(self, features: Tensor) -> Tensor:
        """Return the segment of people who fit in memory.

        Args:
            features: shape ``(N, F)``, finite; whole numbers and truth values, too.

        Returns:
            int64 in ``0 .. K - 1``. Shape ``(N,)``.
        """

    @abstractmethod
    def state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Return all that the segmenter is: tensors by name, and plain data of JSON."""

    @classmethod
    @abstractmethod
    def of_state(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Self:
        """Return the segmenter that `state` described.

        Raises:
            KeyError: if something is missing.
            TypeError: if something has the wrong type.
            ValueError: if something has the wrong value.
        """


def in_floats(features: Tensor) -> Tensor:
    """Return whole numbers, truth values and half precision in float32, others as they are."""
    return features.to(torch.promote_types(features.dtype, torch.float32))
