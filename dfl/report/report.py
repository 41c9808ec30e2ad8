"""Puts a report together from what a run folder holds; writing it is the folder's work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from dfl.report.html import page
from dfl.report.plots import COMPARISON_PLOTS, RUN_PLOTS, Plot, draw
from dfl.report.tables import Table, comparison_tables, run_tables

__all__ = ["Report", "comparison_report", "run_report"]


@final
@dataclass(frozen=True, eq=False)
class Report:
    """Tables, plots and the page that holds both.

    Args:
        tables: results.
        files: path inside the run folder to content; the page comes last.
    """

    tables: Sequence[Table]
    files: Mapping[str, bytes]


def run_report(metrics: Mapping[str, Any], history: Mapping[str, Any], config: str) -> Report:
    """Return the report of one run.

    Args:
        metrics: content of ``metrics.json``.
        history: content of ``history.json``.
        config: resolved configuration as YAML.
    """
    title = f"{metrics['name']} on {metrics['data']}"
    results = {"metrics": metrics, "history": history}
    return _report(title, run_tables(metrics), RUN_PLOTS, results, config)


def comparison_report(comparison: Mapping[str, Any], config: str) -> Report:
    """Return the report of a comparison.

    Args:
        comparison: content of ``comparison.json``.
        config: resolved configuration as YAML.
    """
    title = f"Comparison on {comparison['data']}"
    tables = comparison_tables(comparison)
    return _report(title, tables, COMPARISON_PLOTS, {"comparison": comparison}, config)


def _report(
    title: str,
    tables: Sequence[Table],
    plots: Mapping[str, Plot],
    results: Mapping[str, Any],
    config: str,
) -> Report:
    images = {name: draw(plot, results) for name, plot in plots.items()}
    files = {f"plots/{name.replace(' ', '-')}.png": image for name, image in images.items()}
    files["report.html"] = page(title, tables, images, config).encode()
    return Report(tables, files)
