"""`SegmentModel`: everyone is predicted what their segment's table says."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self, final

from torch import Tensor

from dfl.models import AbstractModel, Logs, Prediction, State
from dfl.registry import Registry
from dfl.segments.base import AbstractSegmenter, in_floats
from dfl.segments.table import SegmentTable

__all__ = ["SEGMENTERS", "SegmentModel"]

SEGMENTERS: Registry[AbstractSegmenter] = Registry(
    "segmenters",
    AbstractSegmenter,  # type: ignore[type-abstract]  # the interface itself, never instantiated
    {
        "boosted": "dfl.segments.distil:BoostedStudent",
        "dense": "dfl.segments.distil:DenseStudent",
        "hidden": "dfl.segments.hidden:HiddenSegments",
        "tree": "dfl.segments.tree:Tree",
    },
)


@final
@dataclass(frozen=True, eq=False)
class SegmentModel(AbstractModel):
    """Segments of people and one table of revenue and cost for all of them.

    Args:
        segmenter: features to segment.
        table: of the segments.
        history: what was logged per stage and epoch.
    """

    segmenter: AbstractSegmenter
    table: SegmentTable
    history: Mapping[str, list[Logs]]

    @property
    def features(self) -> int:
        """Number of features F."""
        return self.segmenter.features

    @property
    def treatments(self) -> int:
        """Number of treatments M."""
        return self.table.treatments

    def predict_rows(self, features: Tensor, *, spread: bool) -> Prediction:
        """Return the table's rows; the spread is its standard errors."""
        features = in_floats(features)
        segment = self.segmenter.assign(features)
        names = ("revenue", "cost", "revenue_error", "cost_error")
        found = [getattr(self.table, name).to(features)[segment] for name in names]
        return Prediction(*found) if spread else Prediction(*found[:2])

    def state(self) -> State:
        """Return the segmenter, the table and the history."""
        tensors, about = self.segmenter.state()
        table = {f"table/{f.name}": getattr(self.table, f.name) for f in fields(SegmentTable)}
        own = {f"segmenter/{name}": one for name, one in tensors.items()}
        kind = SEGMENTERS.name_of(type(self.segmenter))
        return State(
            "segments",
            {name: one.clone() for name, one in {**own, **table}.items()},
            {"kind": kind, "segmenter": dict(about), "history": dict(self.history)},
        )

    @classmethod
    def of_state(cls, state: State) -> Self:
        """Return the model that `state` described."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(prefix): one
                for name, one in state.tensors.items()
                if name.startswith(prefix)
            }

        kind = SEGMENTERS.load(state.about["kind"])
        return cls(
            kind.of_state(under("segmenter/"), state.about["segmenter"]),
            SegmentTable(**under("table/")),
            state.about["history"],
        )
