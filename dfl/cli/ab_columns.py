"""Turns the columns of a file into experiments, for ``dfl ab``."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import pyarrow as pa

from dfl.abtest import Experiment, Refusal
from dfl.abtest.streamed import Block
from dfl.errors import ConfigError, DataError, DflError
from dfl.frames import Column, Frame
from dfl.stats.arrays import Integers, Labels, matrix, vector

__all__ = ["AbColumns", "block_of", "cluster_labels", "experiments_of", "text_shares"]


@final
@dataclass(frozen=True, kw_only=True)
class AbColumns:
    """Which column of the file is what.

    Args:
        treatment: the arm.
        metrics: what is compared.
        denominators: none, one for all metrics, or one per metric, where "-" is none.
        covariates: known before the experiment.
        clusters: what was randomised, or None for the rows.
        segments: groups to read apart, or None.
    """

    treatment: str
    metrics: tuple[str, ...]
    denominators: tuple[str, ...]
    covariates: tuple[str, ...]
    clusters: str | None
    segments: str | None

    def resolved(self, known: Sequence[str]) -> "AbColumns":
        """Return the covariates one by one; what is no column itself is a list with commas."""
        names = [
            one.strip() if one not in known else one
            for text in self.covariates
            for one in ([text] if text in known else text.split(","))
        ]
        return replace(self, covariates=tuple(names))

    def pairs(self) -> list[tuple[str, str | None]]:
        """Return each metric with its denominator.

        Raises:
            ConfigError: if there are more or fewer denominators than metrics.
        """
        given = self.denominators or ("-",)
        if len(given) == 1:
            given *= len(self.metrics)
        if len(given) != len(self.metrics):
            raise ConfigError(
                f"--denominator takes one column for all metrics, or one per metric "
                f"({len(self.metrics)}), got {len(given)}; '-' stands for none."
            )
        return [
            (metric, None if below == "-" else below)
            for metric, below in zip(self.metrics, given, strict=True)
        ]

    def all(self) -> list[str]:
        """Return every column that is read, once."""
        below = [column for _, column in self.pairs() if column is not None]
        single = [column for column in (self.clusters, self.segments) if column is not None]
        names = [self.treatment, *self.metrics, *below, *self.covariates, *single]
        return list(dict.fromkeys(names))


def experiments_of(
    table: Frame, columns: AbColumns, control: str | None, shares: Sequence[str]
) -> tuple[dict[str, Experiment], tuple[Refusal, ...]]:
    """Return one experiment per metric, and the metrics that make none.

    A ratio is called numerator/denominator.

    Args:
        table: rows of the file.
        columns: which column is what.
        control: label of the control as text, or None for 0.
        shares: ``ARM=SHARE`` of each arm, or empty for equal shares.

    Raises:
        ConfigError: if a share is no number, or denominators do not go with the metrics.
        DataError: if a column holds no numbers where it must, or misses an arm.
        DflError: whatever `Experiment` refuses of every metric.
    """
    treatment, arms = _labels(table, columns.treatment)
    shared: dict[str, Any] = {
        "treatment": treatment,
        "control": None if control is None else arms.get(control, control),
        "shares": _shares(shares, arms),
        "names": columns.covariates,
        "covariates": _numbers(table, columns.covariates) if columns.covariates else None,
        "clusters": None if columns.clusters is None else _labels(table, columns.clusters)[0],
        "segments": None if columns.segments is None else _labels(table, columns.segments)[0],
    }
    experiments: dict[str, Experiment] = {}
    failures: list[tuple[str, DflError]] = []
    for metric, below in columns.pairs():
        name = metric if below is None else f"{metric}/{below}"
        try:
            experiments[name] = Experiment(
                metric=_numbers(table, [metric])[:, 0],
                denominator=None if below is None else _numbers(table, [below])[:, 0],
                **shared,
            )
        except DflError as error:
            failures.append((name, error))
    if not experiments:
        first_failure = failures[0][1]
        raise first_failure
    return experiments, tuple(Refusal(metric=name, reason=str(error)) for name, error in failures)


def block_of(
    table: Frame, columns: AbColumns, numbers: Callable[[Labels], Integers] | None
) -> Block:
    """Return some rows of an experiment, to be read in parts.

    Args:
        table: the rows.
        columns: which column is what.
        numbers: of the labels of clusters; None: there are none.

    Raises:
        ConfigError: if denominators do not go with the metrics.
        DataError: if a column holds no numbers where it must, or misses some.
        InvalidValueError: if a number is infinite.
    """
    factor = table.column(columns.treatment).known_factor()
    metrics = {
        metric if below is None else f"{metric}/{below}": (
            vector("metric", _numbers(table, [metric])[:, 0]),
            None if below is None else vector("denominator", _numbers(table, [below])[:, 0]),
        )
        for metric, below in columns.pairs()
    }
    covariates = np.empty((len(table), 0))
    if columns.covariates:
        covariates = matrix("covariates", _numbers(table, columns.covariates), len(table))
    clusters = None
    if columns.clusters is not None and numbers is not None:
        labels, places = cluster_labels(table.column(columns.clusters))
        clusters = numbers(labels) if places is None else numbers(labels)[places]
    segments = None
    if columns.segments is not None:
        found = table.column(columns.segments).known_factor()
        segments = found.labels, found.codes
    return Block(factor.labels, factor.codes, metrics, covariates, clusters, segments)


def cluster_labels(column: Column) -> tuple[Labels, Integers | None]:
    """Return the label of each row, or each label once and the place of each row's.

    Args:
        column: whole numbers become one int64 per row, all else UTF-8 bytes.

    Raises:
        InvalidValueError: if a label is missing.
    """
    if column.kind == "number" and not column.values.null_count:
        with suppress(pa.ArrowException):  # fractions, or above int64
            return column.values.cast("int64").to_numpy(zero_copy_only=False), None
    factor = column.known_factor()
    return np.array([one.encode() for one in factor.labels], np.bytes_), factor.codes


def text_shares(given: Sequence[str]) -> dict[str, float] | None:
    """Return the planned share of each arm by its label as text.

    Raises:
        ConfigError: if a share is no number.
    """
    return _shares(given, {})


def _numbers(table: Frame, names: Sequence[str]) -> Any:
    """Return columns as a matrix.

    Raises:
        DataError: if a column holds no numbers, or misses some; names every such column.
    """
    found = [table.column(name).numbers() for name in names]
    gaps = {name: np.isnan(one) for name, one in zip(names, found, strict=True)}
    missing = [
        f"{name!r} in {int(gap.sum())} of {len(gap)} rows, first in row {int(gap.argmax())}"
        for name, gap in gaps.items()
        if gap.any()
    ]
    if missing:
        raise DataError(f"numbers are missing: {'; '.join(missing)}; fill them or leave them out.")
    return np.stack(found, axis=1)


def _labels(table: Frame, name: str) -> tuple[Any, dict[str, Any]]:
    """Return whole numbers and truth values as numbers, the rest as text; and text to label."""
    factor = table.column(name).known_factor()
    known: Any = np.asarray(factor.labels)
    if factor.numeric and all(one.lstrip("-").isdigit() for one in factor.labels):
        known = known.astype(np.int64)
    elif factor.numeric and {*factor.labels} <= {"False", "True"}:
        known = (known == "True").astype(np.int64)
    values = known.tolist()
    by_text = dict(zip((*map(str, values), *factor.labels), values * 2, strict=True))
    return known[factor.codes], by_text


def _shares(given: Sequence[str], arms: Mapping[str, Any]) -> dict[Any, float] | None:
    shares: dict[Any, float] = {}
    for text in given:
        arm, _, share = text.rpartition("=")
        try:
            shares[arms.get(arm, arm)] = float(share)
        except ValueError as error:
            raise ConfigError(f"--share takes ARM=SHARE, such as 1=0.5, got {text!r}.") from error
    return shares or None
