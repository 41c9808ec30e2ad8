"""`agreed`: training sets of which several processes have rows of their own, made to fit."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from dfl.data.uplift_data import UpliftData, check_every_treatment
from dfl.errors import DataError
from dfl.scale import gathered
from dfl.training.settings import TrainingSet

__all__ = ["agreed"]

_PARTS = ("rct", "obs", "validation")


def agreed(one: TrainingSet) -> TrainingSet:
    """Return this process's rows of a set, without any in parts that others alone have.

    Args:
        one: what this process has of the set. All must ask.

    Raises:
        DataError: if processes differ in seed, or in what their rows of a part are like.
        InvalidValueError: if no process has rows of some treatment in a part.
    """
    parts = {name: getattr(one, name) for name in _PARTS}
    every = gathered(({name: _likeness(part) for name, part in parts.items()}, one.seed))
    if len({seed for _, seed in every}) > 1:
        raise DataError(
            "processes that train together must be given the same seed, got "
            f"{sorted({seed for _, seed in every})}."
        )
    device = one.parts[0].features.device if one.parts else torch.device("cpu")
    found: dict[str, Any] = {
        name: _agreed(name, part, [told[name] for told, _ in every], device)
        for name, part in parts.items()
    }
    return replace(one, **found)


def _agreed(
    name: str,
    part: UpliftData | None,
    every: Sequence[dict[str, Any] | None],
    device: torch.device,
) -> UpliftData | None:
    """Return one part, without rows if others have some; see `agreed`."""
    there = [told for told in every if told is not None]
    if not there:
        return None
    alike = there[0]["alike"]
    for told in there[1:]:
        odd = {key: (alike[key], value) for key, value in told["alike"].items()}
        odd = {key: pair for key, pair in odd.items() if pair[0] != pair[1]}
        if odd:
            raise DataError(
                f"{name} rows of all processes must be alike, got "
                + "; ".join(f"{key} {one} and {other}" for key, (one, other) in odd.items())
                + "."
            )
    check_every_treatment(torch.tensor([told["counts"] for told in there]).sum(dim=0))
    return _without_rows(alike, device) if part is None else part


def _likeness(part: UpliftData | None) -> dict[str, Any] | None:
    """Return what processes must agree on, and rows per treatment; None without the part."""
    if part is None:
        return None
    alike = {
        "features": part.features.shape[1],
        "dtype": part.features.dtype,
        "treatments": part.treatments,
        "source": part.source,
        "known propensity": part.propensity is not None,
        "known groups": part.groups is not None,
    }
    return {"alike": alike, "counts": part.arm_counts.tolist()}


def _without_rows(alike: dict[str, Any], device: torch.device) -> UpliftData:
    """Return a part like the others', of no rows."""
    none = torch.empty(0, dtype=alike["dtype"], device=device)
    treatments = alike["treatments"]
    return UpliftData(
        features=none.reshape(0, alike["features"]),
        treatment=none.long(),
        revenue=none,
        cost=none,
        treatments=treatments,
        source=alike["source"],
        propensity=none.reshape(0, treatments) if alike["known propensity"] else None,
        groups=none.long() if alike["known groups"] else None,
    )
