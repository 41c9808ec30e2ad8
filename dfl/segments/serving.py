"""`ServedSegments`: features to segment to treatment, from one file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from dfl.data import FeatureEncoder
from dfl.errors import DataError, DataNotFoundError, InvalidValueError, ShapeError
from dfl.io import read_tensors, write_tensors
from dfl.scale import STREAMED
from dfl.segments.base import AbstractSegmenter
from dfl.segments.model import SEGMENTERS
from dfl.segments.plan import SegmentPlan

__all__ = ["ServedSegments"]

_FORMAT = 1
_PLAN = ("budgets", "choice", "revenue", "cost", "violation")


@final
@dataclass(frozen=True, eq=False)
class ServedSegments:
    """All that serving needs: who is in which segment, and what each segment gets at a budget.

    Args:
        segmenter: features to segment; a distilled one is quick and small.
        plan: treatments by budget and segment.
        treatment_names: one for each treatment.
        encoder: how a table becomes features, where the model came from one.

    Raises:
        ShapeError: if the parts do not belong together.
    """

    segmenter: AbstractSegmenter
    plan: SegmentPlan
    treatment_names: tuple[str, ...]
    encoder: FeatureEncoder | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit."""
        if self.plan.choice.shape[1] != self.segmenter.segments:
            raise ShapeError(
                f"plan must be for the segmenter's {self.segmenter.segments} segments, got "
                f"{self.plan.choice.shape[1]}."
            )
        if int(self.plan.choice.max()) >= len(self.treatment_names):
            raise ShapeError(
                f"treatment_names must name every treatment of the plan, got "
                f"{len(self.treatment_names)} names and a treatment {int(self.plan.choice.max())}."
            )
        names = None if self.encoder is None else self.encoder.feature_names
        if names is not None and len(names) != self.segmenter.features:
            raise ShapeError(
                f"encoder must make {self.segmenter.features} features, got {len(names)}."
            )

    @torch.no_grad()
    def segment(self, features: Tensor) -> Tensor:
        """Return everyone's segment, int64, shape ``(N,)``.

        Args:
            features: shape ``(N, F)``.

        Raises:
            ShapeError: if ``features`` is not ``(N, F)``.
            InvalidValueError: if a feature is not finite.
        """
        width = self.segmenter.features
        if features.ndim != 2 or features.shape[1] != width:
            raise ShapeError(f"features must be (N, {width}), got {tuple(features.shape)}.")
        if not bool(features.isfinite().all()):
            raise InvalidValueError("features must be finite, got NaN or infinity.")
        parts = [self.segmenter.assign(features[rows]) for rows in STREAMED.of(len(features))]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)

    def treatment(self, features: Tensor, budget: float) -> Tensor:
        """Return everyone's treatment at a budget, int64, shape ``(N,)``.

        Args:
            features: shape ``(N, F)``.
            budget: in currency per head; the plan's largest that is no larger is served.

        Raises:
            ShapeError: as `segment`.
            InvalidValueError: as `segment`, or if the budget is below all of the plan's.
        """
        return self.plan.choice[self.plan.level(budget)][self.segment(features)]

    def save(self, path: Path | str) -> None:
        """Write one safetensors file with a checksum, whole or not at all.

        Raises:
            WriteError: if it could not be written.
        """
        tensors, about = self.segmenter.state()
        held = {f"segmenter/{name}": one.clone() for name, one in tensors.items()}
        held |= {f"plan/{name}": getattr(self.plan, name).clone() for name in _PLAN}
        written = {
            "format": _FORMAT,
            "kind": SEGMENTERS.name_of(type(self.segmenter)),
            "segmenter": dict(about),
            "treatment_names": list(self.treatment_names),
            "encoder": None if self.encoder is None else self.encoder.to_dict(),
        }
        write_tensors(Path(path), held, {"dfl.segments": json.dumps(written)})

    @staticmethod
    def load(path: Path | str) -> "ServedSegments":
        """Read what `save` wrote, and check that it is what was written.

        Raises:
            DataNotFoundError: if there is no such file.
            DataError: if the file is unreadable, altered, of another format or no such file.
        """
        path = Path(path)
        if not path.exists():
            raise DataNotFoundError(f"no segments at {path}; make them with 'dfl segment'.")
        try:
            tensors, metadata = read_tensors(path)
            written: Mapping[str, Any] = json.loads(metadata["dfl.segments"])
            if written["format"] != _FORMAT:
                raise DataError(f"format {written['format']}, this version reads {_FORMAT}")

            def under(prefix: str) -> dict[str, Tensor]:
                return {
                    name.removeprefix(prefix): one
                    for name, one in tensors.items()
                    if name.startswith(prefix)
                }

            segmenter = SEGMENTERS.load(written["kind"])
            encoder = written["encoder"]
            return ServedSegments(
                segmenter.of_state(under("segmenter/"), written["segmenter"]),
                SegmentPlan(**under("plan/")),
                tuple(written["treatment_names"]),
                None if encoder is None else FeatureEncoder.from_dict(encoder),
            )
        except (DataError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path} does not hold served segments ({error}).") from error
