"""`HiddenSegments`: clusters of a model's representation of people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

from torch import Tensor

from dfl.models import AbstractModel, State, model_of
from dfl.segments.base import AbstractSegmenter
from dfl.segments.clusters import Clusters
from dfl.segments.representation import Representation

__all__ = ["HiddenSegments"]


@final
@dataclass(frozen=True, eq=False)
class HiddenSegments(AbstractSegmenter):
    """The model represents a person, and the nearest centre says the segment.

    Args:
        model: fitted; its networks give the hidden representation.
        representation: in what coordinates.
        clusters: in these coordinates.
    """

    model: AbstractModel
    representation: Representation
    clusters: Clusters

    @property
    def features(self) -> int:
        """Number of features F."""
        return self.model.features

    @property
    def segments(self) -> int:
        """Number of segments K."""
        return self.clusters.groups

    def assign(self, features: Tensor) -> Tensor:
        """Return the segment of people."""
        return self.clusters.assign(self.representation(self.model, features))

    def state(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Return the model, the coordinates and the centres."""
        tensors, about = self.model.state().within("model/")
        own = {
            "mean": self.representation.mean,
            "axes": self.representation.axes,
            "centres": self.clusters.centres,
            "group": self.clusters.group,
        }
        plain = {"kind": self.representation.kind, "layers": self.representation.layers}
        return {**tensors, **own}, {**about, **plain}

    @classmethod
    def of_state(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Self:
        """Return the segments that `state` described."""
        model = model_of(State("hidden", tensors, about).nested("model/"))
        representation = Representation(
            about["kind"], about["layers"], tensors["mean"], tensors["axes"]
        )
        return cls(model, representation, Clusters(tensors["centres"], tensors["group"]))
