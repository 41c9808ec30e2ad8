"""`expected_seconds`: how long a long training will take, from two short ones."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from dfl.data import UpliftData
from dfl.errors import DflError
from dfl.methods import AbstractMethod, Grounded, Training, TrainingSet
from dfl.seeds import stream

__all__ = ["expected_seconds", "in_words"]

_SMALL, _LARGE = 2, 6  # batches per epoch of the two trials
_LONG = 200  # batches per epoch from which on the trials cost little beside training


def expected_seconds(method: AbstractMethod, sets: Sequence[TrainingSet]) -> float | None:
    """Train on a few rows, twice, and draw the line through both times to all rows.

    The trials have all epochs, stages and members, and take about 4 % of the training they
    announce, or less.

    Args:
        method: what will train.
        sets: on what; left as they are.

    Returns:
        Seconds; None for a training that is short, or that cannot be tried on few rows.
    """
    # What trains; a dataclass, as all that have settings of training are.
    inner: Any = method.base if isinstance(method, Grounded) else method
    training: Any = getattr(inner, "training", None)
    rows = max(sum(len(part) for part in one.rows("both")) for one in sets)
    if not isinstance(training, Training) or rows < _LONG * training.batch_size:
        return None
    trial: Any = replace(inner, training=replace(training, min_steps=1))
    if isinstance(method, Grounded):
        trial = replace(method, base=trial)
    shares = [batches * training.batch_size / rows for batches in (_SMALL, _SMALL, _LARGE)]
    try:
        _, small, large = (_seconds(trial, sets, share) for share in shares)  # the first warms up
    except DflError:  # a treatment may be missing from so few rows
        return None
    per_share = max(large - small, 0.0) / (shares[2] - shares[1])
    return small + per_share * (1 - shares[1])


def in_words(seconds: float) -> str:
    """Return a time to two digits: ``45 s``, ``12 min``, ``3.4 h``."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"


def _seconds(method: AbstractMethod, sets: Sequence[TrainingSet], share: float) -> float:
    few = [
        TrainingSet(
            rct=_some(one.rct, share),
            obs=_some(one.obs, share),
            validation=_some(one.validation, share),
            seed=one.seed,
        )
        for one in sets
    ]
    start = time.perf_counter()
    method.fit_many(few)
    return time.perf_counter() - start


def _some(part: UpliftData | None, share: float) -> UpliftData | None:
    if part is None:
        return None
    rows = torch.randperm(len(part), generator=stream(0, "expected time"))
    kept = rows[: max(round(share * len(part)), 2)]
    return part.subset(kept.to(part.features.device))
