"""Plots of a suite: value against budget, RCT size and time; critical differences."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dfl.report.plots import Plot, legend, name_of, style_of
from dfl.report.suite_numbers import LEVEL, SuiteNumbers
from dfl.stats import ranks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["suite_plots"]

_WORDS = {
    "true_aucc": "area under the cost curve (truth)",
    "share_of_gain": "share of the oracle's gain (truth)",
    "eom": "revenue per head (from logs)",
}


def suite_plots(numbers: SuiteNumbers) -> dict[str, Plot]:
    """Return caption to plot; those for which there is something to draw."""
    plots: dict[str, Plot] = {}
    for data in numbers.data:
        if len(_budgets(numbers, data)) > 1:
            plots[f"{data}, value against budget"] = partial(_against_budget, numbers, data)
        if len(numbers.methods) > 1 and any(
            _at_time(numbers, data, one) for one in numbers.methods
        ):
            plots[f"{data}, value against time"] = partial(_against_time, numbers, data)
        if (found := _by_seed(numbers, data)) is not None:
            words = f"{data}, {found[1].shape[0]} seeds"
            plots[f"{data}, critical differences"] = partial(_ranked, found, words)
    for group in numbers.same_but_for_size():
        plots[f"{group[0]} and other sizes, value against RCT rows"] = partial(
            _against_rows, numbers, group
        )
    if (found := _by_data(numbers)) is not None:
        words = f"{found[1].shape[0]} data sets"
        plots["all data sets, critical differences"] = partial(_ranked, found, words)
    return plots


def _style(numbers: SuiteNumbers, method: str) -> dict[str, Any]:
    return {**style_of(numbers.methods.index(method)), "label": name_of(method)}


def _against_budget(numbers: SuiteNumbers, data: str, axes: "Axes", _: Mapping[str, Any]) -> None:
    """Draw every method's mean at every budget."""
    score = numbers.score(data).partition("@")[0]
    score = "share_of_gain" if score == "true_aucc" else score
    budgets = _budgets(numbers, data)
    for method in numbers.methods:
        found = {at: numbers.mean(f"{score}@{name}", data, method) for at, name in budgets.items()}
        known = {at: one["value"] for at, one in sorted(found.items()) if one}
        axes.plot([*known], [*known.values()], **_style(numbers, method))
    kind = str(numbers.of(data)[0]["first_budget"]).partition("=")[0]
    axes.set(xlabel=f"budget, {kind} ({data})", ylabel=_WORDS[score])
    legend(axes)


def _against_time(numbers: SuiteNumbers, data: str, axes: "Axes", _: Mapping[str, Any]) -> None:
    """Draw every method's mean score against its mean processor time."""
    for method in numbers.methods:
        if point := _at_time(numbers, data, method):
            axes.errorbar(*point, linestyle="", **_style(numbers, method))
    _log(axes)
    axes.set(xlabel=f"processor seconds of training ({data})", ylabel=_word(numbers.score(data)))
    legend(axes)


def _at_time(numbers: SuiteNumbers, data: str, method: str) -> tuple[float, float, float] | None:
    """Return mean time, mean score and its error; None where one is not known."""
    time, value = (numbers.mean(one, data, method) for one in ("cpu_seconds", numbers.score(data)))
    if not (time and value):
        return None
    return time["value"], value["value"], value.get("standard_error", 0.0)


def _against_rows(
    numbers: SuiteNumbers, group: Sequence[str], axes: "Axes", _: Mapping[str, Any]
) -> None:
    """Draw every method's mean score against the number of randomised training rows."""
    score = numbers.score(group[0])
    for method in numbers.methods:
        points = []
        for data in group:
            value = numbers.mean(score, data, method)
            rows = [one for row in numbers.of(data, method) if (one := row["rct_rows"]) is not None]
            if value:
                points.append((sum(rows) / len(rows), value["value"]))
        points.sort()
        axes.plot([x for x, _ in points], [y for _, y in points], **_style(numbers, method))
    _log(axes)
    axes.set(xlabel="randomised training rows", ylabel=_word(score))
    legend(axes)


def _ranked(
    found: tuple[list[str], np.ndarray[Any, Any]], words: str, axes: "Axes", _: Mapping[str, Any]
) -> None:
    """Draw mean ranks; bars that do not meet belong to methods that differ."""
    methods, scores = found
    ranked = ranks(scores, level=LEVEL)
    order = sorted(range(len(methods)), key=lambda index: -ranked.mean[index])
    for height, index in enumerate(order):
        half = ranked.critical_difference / 2
        axes.errorbar(ranked.mean[index], height, xerr=half, fmt="o", color="C0", capsize=2)
    axes.set_yticks(range(len(order)), [name_of(methods[index]) for index in order], fontsize=7)
    axes.set(
        xlim=(0.5, len(order) + 0.5),
        xlabel=f"mean rank, 1 the best ({words}; Friedman p = {ranked.p_value:.2g}).\nMethods "
        f"whose bars do not meet differ (Nemenyi, {LEVEL:.0%}).",
    )


def _by_seed(numbers: SuiteNumbers, data: str) -> tuple[list[str], np.ndarray[Any, Any]] | None:
    """Return methods, and their scores in the seeds that all of them have ``(seeds, methods)``."""
    score = numbers.score(data)
    methods = [one for one in numbers.methods if numbers.values(score, data, one)]
    scores = _shared(numbers, data, methods)
    return (methods, scores) if len(scores) >= 2 and len(methods) >= 3 else None


def _by_data(numbers: SuiteNumbers) -> tuple[list[str], np.ndarray[Any, Any]] | None:
    """Return methods, and their mean scores on every data set ``(data sets, methods)``.

    The means are over the seeds that all of them have: who failed in the hard ones would lead.
    """
    there = {
        data: [one for one in numbers.methods if numbers.values(numbers.score(data), data, one)]
        for data in numbers.data
    }
    found = [one for one in there.values() if one]
    methods = [one for one in numbers.methods if all(one in methods for methods in found)]
    scores = [_shared(numbers, data, methods) for data in numbers.data if there[data]]
    table = [one.mean(axis=0) for one in scores if len(one)]
    return (methods, np.array(table)) if len(table) >= 3 and len(methods) >= 3 else None


def _shared(numbers: SuiteNumbers, data: str, methods: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return the scores in the seeds that all of these methods have ``(seeds, methods)``."""
    score = numbers.score(data)
    found = [numbers.values(score, data, method) for method in methods]
    seeds = sorted(set.intersection(*map(set, found))) if found else []
    return np.array([[one[seed] for one in found] for seed in seeds])


def _budgets(numbers: SuiteNumbers, data: str) -> dict[float, str]:
    """Return budget to its name, of those of one kind with the first one."""
    rows = numbers.of(data)
    kind = str(rows[0]["first_budget"]).partition("=")[0]
    names = {name.removeprefix("eom@") for row in rows for name in row if name.startswith("eom@")}
    given = {name for name in names if any(row.get(f"eom@{name}") is not None for row in rows)}
    return {float(one.partition("=")[2]): one for one in given if one.partition("=")[0] == kind}


def _log(axes: "Axes") -> None:
    """Make the horizontal axis logarithmic, its labels plain numbers."""
    from matplotlib.ticker import NullFormatter  # loads on use

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _word(score: str) -> str:
    return _WORDS[score.partition("@")[0]]
