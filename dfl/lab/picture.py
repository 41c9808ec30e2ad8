"""The lab's findings as a plot: how near the reference, at what time."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dfl.lab.findings import Findings
from dfl.report.plots import draw, legend, name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["picture"]


def picture(found: Findings) -> bytes:
    """Return the cosine of every part that has one, with its error and its time, as PNG."""
    return draw(_cosines, found.content())


def _cosines(axes: "Axes", results: Mapping[str, Any]) -> None:
    names: list[str] = []
    for family in ("hypergradients", "layers"):
        seen = [one for one in results[family] if one["cosine"] is not None]
        seen.sort(key=lambda one: one["cosine"])
        places = range(len(names), len(names) + len(seen))
        errors = [one["cosine_error"] or 0.0 for one in seen]
        axes.barh(places, [one["cosine"] for one in seen], xerr=errors, label=name_of(family))
        names += [f"{name_of(one['name'])}, {one['milliseconds']:.2g} ms" for one in seen]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlim(min(0.0, axes.get_xlim()[0]), 1.05)
    axes.set_xlabel("cosine to the reference gradient")
    legend(axes)
