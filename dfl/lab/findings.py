"""`Findings`: what the lab saw, as tables, plain data, CSV and a sentence."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, final

from dfl.report import Table

__all__ = ["Finding", "Findings"]

_ENOUGH = 0.95  # cosine from which on a hypergradient is as good as the exact one
_COLUMNS = {
    "cosine": ".3f",
    "cosine_error": ".3f",
    "own_cosine": ".3f",
    "noise": ".2g",
    "value": ".4g",
    "milliseconds": ".2f",
    "megabytes": ".2f",
}


@final
@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was seen of one part; None where it was not measured.

    Args:
        family: ``"layers"`` or ``"hypergrad"``.
        name: registered name, or the caller's own.
        value: estimated revenue less the price of the cost, in currency per head.
        cosine: between gradient and reference, in [-1, 1]. Reference of a layer: central
            differences of the hard decision's loss, one weight after the other. Of a
            hypergradient: the exact one.
        cosine_error: standard deviation of that cosine over redrawn rows.
        own_cosine: of a layer, between what the gradient foretells along random directions and
            central differences of its own loss there; 1: an exact gradient. None where that loss
            is flat at so small a step: the gradient stands in for one that is 0.
        noise: variance of the gradient over redrawn rows, by its squared mean; no unit.
        milliseconds: median time of loss and gradient.
        megabytes: peak memory of loss and gradient.
        note: why something is missing, or empty.
    """

    family: Literal["layers", "hypergrad"]
    name: str
    value: float | None = None
    cosine: float | None = None
    cosine_error: float | None = None
    own_cosine: float | None = None
    noise: float | None = None
    milliseconds: float | None = None
    megabytes: float | None = None
    note: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that the lab saw on one batch.

    Args:
        layers: one finding per layer.
        hypergradients: one finding per hypergradient.
        rows: rows of the batch.
        weights: parameters of the linear model.
        repeatability: cosine between the layers' references on two random halves of the rows;
            near 0 the batch is too small to tell layers apart.
    """

    layers: Sequence[Finding]
    hypergradients: Sequence[Finding]
    rows: int
    weights: int
    repeatability: float

    @property
    def recommendation(self) -> str:
        """The layer and the hypergradient to take on this batch, in a sentence each."""
        return f"{self._layer()} {self._hypergradient()}"

    def tables(self) -> list[Table]:
        """Return a table per family, best first."""
        where = f"{self.rows:,} rows, a linear model of {self.weights} weights."
        layers = f"cosine: to differences of the hard decision's loss ({where} "
        layers += (
            f"On two halves of the rows these differences agree by {self.repeatability:.2f}.) "
        )
        layers += "own cosine: to differences of the layer's own loss; flat: that loss has none."
        hypergradients = (
            "cosine: to the exact hypergradient of ridge penalties, one per weight but the "
            f"constants ({where})"
        )
        return [
            Table("Layers", _HEADINGS, [_row(one) for one in _best_first(self.layers)], layers),
            Table(
                "Hypergradients",
                _HEADINGS,
                [_row(one) for one in _best_first(self.hypergradients)],
                hypergradients,
            ),
        ]

    def content(self) -> dict[str, Any]:
        """Return everything as plain data of JSON."""
        return {
            "rows": self.rows,
            "weights": self.weights,
            "repeatability": self.repeatability,
            "recommendation": self.recommendation,
            "layers": [asdict(one) for one in self.layers],
            "hypergradients": [asdict(one) for one in self.hypergradients],
        }

    def csv(self) -> str:
        """Return one row per part; an empty cell was not measured, ``note`` says why."""
        target = io.StringIO()
        writer = csv.DictWriter(target, [one.name for one in fields(Finding)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(one) for one in (*self.layers, *self.hypergradients))
        return target.getvalue()

    def _layer(self) -> str:
        seen = [one for one in self.layers if one.cosine is not None]
        if not seen:
            return "No layer could take this batch."
        if self.repeatability < 0.1:
            return (
                "This batch is too small or too noisy to tell layers apart (its own reference "
                f"agrees with itself by {self.repeatability:.2f}): take softmax, or more rows."
            )
        best = seen[0]
        for one in seen:
            best = one if _cosine(one) > _cosine(best) else best
        margin = 2 * (best.cosine_error or 0.0)
        level = [one for one in seen if _cosine(one) >= _cosine(best) - margin]
        taken = min(level, key=lambda one: one.milliseconds or 0.0)
        rest = ", ".join(one.name for one in level if one is not taken)
        return (
            f"Layer: take {taken.name}: cosine {_cosine(taken):.2f} at {taken.milliseconds:.2g} ms"
            + (f"; level with it, and slower: {rest}." if rest else "; no other comes near.")
        )

    def _hypergradient(self) -> str:
        seen = [one for one in self.hypergradients if one.cosine is not None]
        if not seen:
            return "No hypergradient could take this batch."
        enough = [one for one in seen if _cosine(one) >= _ENOUGH]
        if enough:
            taken = min(enough, key=lambda one: one.milliseconds or 0.0)
            return (
                f"Hypergradient: take {taken.name}, the fastest whose cosine is {_ENOUGH} or more "
                f"({_cosine(taken):.2f} at {taken.milliseconds:.2g} ms)."
            )
        taken = max(seen, key=_cosine)
        return f"Hypergradient: take {taken.name}, the nearest (cosine {_cosine(taken):.2f})."


_HEADINGS = ("name", *(name.replace("_", " ") for name in _COLUMNS), "note")


def _row(one: Finding) -> tuple[str, ...]:
    cells = [_shown(getattr(one, name), form) for name, form in _COLUMNS.items()]
    if one.family == "layers" and one.own_cosine is None and one.noise is not None:
        cells[list(_COLUMNS).index("own_cosine")] = "flat"
    return (one.name, *cells, one.note)


def _best_first(found: Sequence[Finding]) -> list[Finding]:
    return sorted(found, key=lambda one: -2.0 if one.cosine is None else one.cosine, reverse=True)


def _cosine(one: Finding) -> float:
    assert one.cosine is not None  # callers keep those that have one
    return one.cosine


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
