"""The lab's findings as a plot: how near the reference, at what time."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from dfl.lab.findings import Findings
from dfl.report.plots import draw, legend, name_of

__all__ = ["picture"]

_MARKERS = {"layers": "o", "hypergradients": "s"}


def picture(found: Findings) -> bytes:
    """Return cosine against time of every part that has both, as PNG."""
    return draw(_cosine_against_time, found.content())


def _cosine_against_time(axes: Axes, results: Mapping[str, Any]) -> None:
    for family, marker in _MARKERS.items():
        seen = [one for one in results[family] if one["cosine"] is not None]
        axes.errorbar(
            [one["milliseconds"] for one in seen],
            [one["cosine"] for one in seen],
            yerr=[one["cosine_error"] or 0.0 for one in seen],
            fmt=marker,
            capsize=2,
            label=name_of(family),
        )
        for one in seen:
            at = (one["milliseconds"], one["cosine"])
            axes.annotate(
                name_of(one["name"]), at, xytext=(4, 4), textcoords="offset points", fontsize=7
            )
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds per gradient")
    axes.set_ylabel("cosine to the reference gradient")
    legend(axes, loc="lower right")
