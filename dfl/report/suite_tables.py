"""Tables of a suite: method by data set, with errors and paired differences."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from dfl.report.suite_numbers import FIRST, LEVEL, SuiteNumbers
from dfl.report.tables import Table

__all__ = ["further_tables", "main_tables", "to_csv", "to_markdown"]


@final
@dataclass(frozen=True)
class _Metric:
    """A metric of the rows.

    Args:
        name: in the rows, without a budget.
        title: of its table.
        form: format of a mean.
        budget: whether it is measured at every budget.
        ratio: whether methods are compared by their ratio.
    """

    name: str
    title: str
    form: str = ".3f"
    budget: bool = True
    ratio: bool = False


_MAIN = (
    _Metric("share_of_gain", "Share of the oracle's gain over the best constant mix (truth)"),
    _Metric("true_aucc", "Area under the cost curve (truth)", budget=False),
    _Metric("eom", "Revenue per head (from logs)", ".4g"),
    _Metric("cpu_seconds", "Processor seconds of training", ".3g", budget=False, ratio=True),
)
_FURTHER = (
    _Metric("true_value", "Revenue per head (truth)", ".4g"),
    _Metric("regret", "Revenue per head below the oracle (truth)", ".3g"),
    _Metric("over_mix", "Revenue per head over the best constant mix (from logs)", ".3g"),
    _Metric("mixed", "Share of people moved to the cheapest treatment", ".3g"),
    _Metric("aucc", "Area under the cost curve (from logs)", budget=False),
    _Metric("aucc_raw", "Area under the cost curve (published form, from logs)", budget=False),
    _Metric("qini", "Qini coefficient (from logs)", ".3g", budget=False),
    _Metric("qini_normalised", "Normalised Qini coefficient (from logs)", budget=False),
)
_CSV = (
    "metric",
    "data",
    "method",
    "seeds",
    "mean",
    "standard_error",
    "difference",
    "difference_low",
    "difference_high",
)


def main_tables(numbers: SuiteNumbers) -> list[Table]:
    """Return the tables to look at first; values at the first budget."""
    tables = [_table(numbers, one, FIRST if one.budget else None) for one in _MAIN]
    return [*(table for table in tables if table.rows), *_failures(numbers)]


def further_tables(numbers: SuiteNumbers) -> list[Table]:
    """Return the tables of further metrics, and of all metrics at every budget."""
    tables = [_table(numbers, one, None) for one in _FURTHER if not one.budget]
    for budget in _budgets(numbers):
        tables += [_table(numbers, one, budget) for one in (*_MAIN, *_FURTHER) if one.budget]
    return [table for table in tables if table.rows]


def to_markdown(tables: Sequence[Table]) -> str:
    """Return tables as Markdown."""
    parts = []
    for table in tables:
        rows = [table.columns, ["---"] * len(table.columns), *table.rows]
        lines = [f"| {' | '.join(map(_in_one_line, row))} |" for row in rows]
        parts.append("\n".join([f"## {table.title}", "", table.note, "", *lines, ""]))
    return "\n".join(parts)


def _in_one_line(text: str) -> str:
    """Return a cell that breaks no row: a reason of a failure may have lines and bars."""
    return " ".join(text.replace("|", "/").split())


def to_csv(numbers: SuiteNumbers) -> str:
    """Return every mean as a line of a CSV table, with error and difference as numbers."""
    target = io.StringIO()
    lines = csv.writer(target, lineterminator="\n")
    lines.writerow(_CSV)
    for one in (*_MAIN, *_FURTHER):
        for name in [f"{one.name}@{at}" for at in _budgets(numbers)] if one.budget else [one.name]:
            for data in numbers.data:
                for method in numbers.methods:
                    if found := numbers.mean(name, data, method):
                        pair = numbers.against(name, data, method) or {}
                        mean = [found["seeds"], found["value"], found.get("standard_error")]
                        ends = [pair.get(key) for key in ("value", "low", "high")]
                        lines.writerow([name, data, method, *mean, *ends])
    return target.getvalue()


def _table(numbers: SuiteNumbers, metric: _Metric, budget: str | None) -> Table:
    """Return the table of one metric; without rows where it has no value."""
    name = metric.name if budget is None else f"{metric.name}@{budget}"
    found = {
        (data, method): mean
        for data in numbers.data
        for method in numbers.methods
        if (mean := numbers.mean(name, data, method))
    }
    data = [one for one in numbers.data if any(one == label for label, _ in found)]
    published = numbers.config.get("paper", {}) if metric in _MAIN else {}
    paper: Mapping[str, Mapping[str, str]] = published
    columns = ["method"]
    for one in data:
        columns += [one, f"{one}: {'over' if metric.ratio else 'minus'} {numbers.reference}"]
    columns += [f"paper: {heading}" for heading in paper]
    most = max((one["seeds"] for one in found.values()), default=0)
    rows = []
    for method in (one for one in numbers.methods if any(one == label for _, label in found)):
        row = [method]
        for one in data:
            pair = numbers.against(name, one, method, ratio=metric.ratio)
            row += [_mean(found.get((one, method)), metric.form, most)]
            row += [_interval(pair, metric.form if metric.ratio else f"+{metric.form}", most)]
        rows.append([*row, *(one.get(method, "") for one in paper.values())])
    where = {None: "", FIRST: " at the first budget"}.get(budget, f" at {budget}")
    kind = "Ratios" if metric.ratio else "Differences"
    note = (
        f"Mean over seeds ± its standard error, of {_seeds(most)} if not said otherwise. {kind} "
        f"are paired, with {LEVEL:.0%} intervals by Student's t."
    )
    if most == 1:
        note = f"Of one seed: nothing says how sure values and {kind.lower()} are; take more seeds."
    return Table(f"{metric.title}{where}", columns, rows, note)


def _mean(found: Mapping[str, float] | None, form: str, most: float) -> str:
    if found is None:
        return ""
    error = f" ± {found['standard_error']:{form}}" if "standard_error" in found else ""
    return f"{found['value']:{form}}{error}{_fewer(found, most)}"


def _interval(found: Mapping[str, float] | None, form: str, most: float) -> str:
    if found is None:
        return ""
    ends = f" [{found['low']:{form}}, {found['high']:{form}}]" if "low" in found else ""
    return f"{found['value']:{form}}{ends}{_fewer(found, most)}"


def _fewer(found: Mapping[str, float], most: float) -> str:
    """Say of how many seeds a cell is, where others of the table are of more."""
    return f" ({_seeds(found['seeds'])})" if found["seeds"] < most else ""


def _seeds(number: float) -> str:
    return "1 seed" if number == 1 else f"{number:.0f} seeds"


def _budgets(numbers: SuiteNumbers) -> list[str]:
    names = {name: None for row in numbers.rows for name in row if name.startswith("eom@")}
    return [name.removeprefix("eom@") for name in names]


def _failures(numbers: SuiteNumbers) -> list[Table]:
    """Return the table of what could not be trained or measured, if there is any."""
    rows = []
    for data in numbers.data:
        for method in numbers.methods:
            failed = [row for row in numbers.of(data, method) if row["failed"] is not None]
            if failed:
                of = len(numbers.of(data, method))
                rows.append([method, data, f"{len(failed)} of {of}", failed[0]["failed"]])
    columns = ("method", "data", "seeds", "the first reason")
    return [Table("What failed", columns, rows, words=2)] if rows else []
