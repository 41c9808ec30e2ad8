"""Puts a report together from what a run folder holds; writing it is the folder's work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from dfl.errors import DataError
from dfl.report.headline import comparison_headline, run_headline
from dfl.report.html import Section, page, plain_sections, to_bytes
from dfl.report.plots import COMPARISON_PLOTS, Plot, draw, plot_files, run_plots
from dfl.report.sections import numbers_of, run_sections
from dfl.report.suite_numbers import SuiteNumbers
from dfl.report.suite_plots import suite_plots
from dfl.report.suite_tables import further_tables, main_tables, to_csv, to_markdown
from dfl.report.tables import Table, comparison_tables, run_tables

__all__ = ["Report", "comparison_report", "run_report", "suite_report"]

_MISSHAPEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)


@final
@dataclass(frozen=True, eq=False)
class Report:
    """Tables, plots and the page that holds both; plots are drawn when files are asked for.

    Args:
        title: of the page.
        tables: results.
        plots: caption to plot.
        results: what the plots show.
        config: resolved configuration as YAML.
        further: tables that the page has and the terminal leaves out.
        texts: name to content of further files.
        lead: the first sentences of the page.
        sections: of the page; empty for tables, then plots, then the configuration.
        numbers: what the page's script moves over, or None.
    """

    title: str
    tables: Sequence[Table]
    plots: Mapping[str, Plot]
    results: Mapping[str, Any]
    config: str
    further: Sequence[Table] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    lead: Sequence[str] = ()
    sections: Sequence[Section] = ()
    numbers: Mapping[str, Any] | None = None

    def files(self) -> dict[str, bytes]:
        """Draw the plots, and return path inside the run folder to content; the page is last.

        A plot that cannot be drawn is left out, and the page says why.
        """
        images, failed = {}, []
        for name, plot in self.plots.items():
            try:
                images[name] = draw(plot, self.results)
            except Exception as error:  # a picture must never cost the numbers
                failed.append((name, f"{type(error).__name__}: {error}"))
        tables = [*self.tables, *self.further]
        sections = [*(self.sections or plain_sections(tables, [*self.plots], self.config))]
        if failed:
            table = Table("Plots that could not be drawn", ("plot", "reason"), failed, words=2)
            sections.insert(-1, Section("", tables=[table]))
        files = {name: to_bytes(text) for name, text in self.texts.items()} | plot_files(images)
        whole = page(self.title, sections, images, lead=self.lead, numbers=self.numbers)
        files["report.html"] = to_bytes(whole)
        return files


def run_report(
    metrics: Mapping[str, Any],
    history: Mapping[str, Any],
    config: str,
    segments: Mapping[str, Any] | None = None,
) -> Report:
    """Return the report of one run.

    Args:
        metrics: content of ``metrics.json``.
        history: content of ``history.json``.
        config: resolved configuration as YAML.
        segments: content of ``segments.json``, or None.

    Raises:
        DataError: if the metrics are not those of a run.
    """
    results = {"metrics": metrics, "history": history}
    try:
        title = f"{metrics['name']} on {metrics['data']}"
        return Report(
            title,
            run_tables(metrics),
            run_plots(metrics),
            results,
            config,
            lead=run_headline(metrics),
            sections=run_sections(metrics, config, segments),
            numbers=numbers_of(metrics),
        )
    except _MISSHAPEN as error:
        raise DataError(f"metrics.json does not hold the metrics of a run ({error!r}).") from error


def comparison_report(comparison: Mapping[str, Any], config: str) -> Report:
    """Return the report of a comparison.

    Args:
        comparison: content of ``comparison.json``.
        config: resolved configuration as YAML.

    Raises:
        DataError: if it is not that of a comparison.
    """
    results = {"comparison": comparison}
    try:
        title = f"Comparison on {comparison['data']}"
        tables, lead = comparison_tables(comparison), comparison_headline(comparison)
    except _MISSHAPEN as error:
        raise DataError(f"comparison.json does not hold a comparison ({error!r}).") from error
    return Report(title, tables, COMPARISON_PLOTS, results, config, lead=lead)


def suite_report(
    config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], config_text: str
) -> Report:
    """Return the report of a suite, of as much of it as is measured.

    Args:
        config: of the suite, plain data.
        rows: one per data set, method and seed.
        config_text: the configuration as YAML.

    Raises:
        DataError: if they are not those of a suite.
    """
    numbers = SuiteNumbers(config, rows)
    try:
        main, further = main_tables(numbers), further_tables(numbers)
        texts = {"tables.md": to_markdown([*main, *further]), "tables.csv": to_csv(numbers)}
        plots = suite_plots(numbers)
    except _MISSHAPEN as error:
        raise DataError(f"the rows are not those of a suite ({error!r}).") from error
    title = f"Suite {config['name']}"
    return Report(title, main, plots, {}, config_text, further, texts)
