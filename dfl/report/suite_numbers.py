"""`SuiteNumbers`: the rows of a suite by data set, method and seed, and their means."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from dfl.stats import across

__all__ = ["FIRST", "LEVEL", "SuiteNumbers"]

LEVEL = 0.95
FIRST = "first"  # stands for the first budget that a row was measured at


@final
@dataclass(frozen=True, eq=False)
class SuiteNumbers:
    """What tables and plots of a suite are made from.

    Args:
        config: of the suite, plain data.
        rows: one per data set, method and seed.
    """

    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    @cached_property
    def data(self) -> list[str]:
        """Labels of the data sets that have rows, in the suite's order."""
        return self._in_order("data")

    @cached_property
    def methods(self) -> list[str]:
        """Labels of the methods that have rows, in the suite's order."""
        return self._in_order("method")

    @cached_property
    def reference(self) -> str:
        """Label of the method that differences are taken to: the suite's, else the first here."""
        own = str(self.config.get("reference") or next(iter(self.config["methods"])))
        return own if own in self.methods else next(iter(self.methods), own)

    def of(self, data: str, method: str | None = None) -> list[Mapping[str, Any]]:
        """Return the rows of a data set, or of one method on it."""
        return self._cells.get((data, method), [])

    def values(self, metric: str, data: str, method: str) -> dict[int, float]:
        """Return seed to value of a metric, where it is defined and finite.

        Args:
            metric: name in the rows; ``eom@first`` is ``eom`` at the row's first budget.
            data: label.
            method: label.
        """
        found = {}
        for row in self.of(data, method):
            value = row.get(metric.replace(f"@{FIRST}", f"@{row['first_budget']}"))
            if value is not None and math.isfinite(value):
                found[row["seed"]] = float(value)
        return found

    def mean(self, metric: str, data: str, method: str) -> dict[str, float] | None:
        """Return mean, and over several seeds standard error and interval; None: no value."""
        found = [*self.values(metric, data, method).values()]
        return across(found, LEVEL) | {"seeds": len(found)} if found else None

    def against(
        self,
        metric: str,
        data: str,
        method: str,
        *,
        reference: str | None = None,
        ratio: bool = False,
    ) -> dict[str, float] | None:
        """Return the paired difference to a method, or ratio; None where there is none.

        Args:
            metric: as in `values`.
            data: label.
            method: label.
            reference: label of the other method; None: the suite's `reference`.
            ratio: divide instead; seeds in which the other method has 0 are left out.
        """
        reference = self.reference if reference is None else reference
        own, other = (self.values(metric, data, one) for one in (method, reference))
        both = sorted(one for one in own.keys() & other.keys() if other[one] or not ratio)
        if method == reference or not both:
            return None
        pairs = [(own[seed], other[seed]) for seed in both]
        return across([a / b if ratio else a - b for a, b in pairs], LEVEL) | {"seeds": len(both)}

    def score(self, data: str) -> str:
        """Return the metric by which methods are ranked on a data set.

        True AUCC with two treatments, else the share of the oracle's gain; where the truth
        is not known, the estimated value.
        """
        for metric in ("true_aucc", f"share_of_gain@{FIRST}"):
            if any(self.values(metric, data, method) for method in self.methods):
                return metric
        return f"eom@{FIRST}"

    def same_but_for_size(self) -> list[list[str]]:
        """Return the groups of data sets that differ in their numbers of rows alone."""
        groups: dict[str, list[str]] = {}
        for data in self.data:
            spec = json.loads(self.of(data)[0]["config"])["data"]
            key = json.dumps({k: v for k, v in spec.items() if k not in ("sizes", "rows")})
            groups.setdefault(key, []).append(data)
        return [group for group in groups.values() if len(group) > 1]

    @cached_property
    def _cells(self) -> dict[tuple[str, str | None], list[Mapping[str, Any]]]:
        """Rows by data set, and by data set and method: tables ask for each many times."""
        cells: dict[tuple[str, str | None], list[Mapping[str, Any]]] = {}
        for row in self.rows:
            for method in (None, row["method"]):
                cells.setdefault((row["data"], method), []).append(row)
        return cells

    def _in_order(self, key: str) -> list[str]:
        there = {row[key] for row in self.rows}
        listed = self.config["data" if key == "data" else "methods"]
        return [label for label in listed if label in there]
