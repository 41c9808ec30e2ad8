"""Turns the columns of a file into experiments, for ``dfl ab``."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, final

import numpy as np
import pyarrow as pa

from dfl.abtest import Experiment, Refusal
from dfl.abtest.streamed import Block
from dfl.errors import ConfigError, DataError, DflError
from dfl.frames import Column, Factor, Frame
from dfl.stats.arrays import Integers, Labels, Vector, matrix, require_apart

__all__ = [
    "AbColumns",
    "block_of",
    "cluster_labels",
    "end_to_end",
    "experiments_of",
    "numbered",
    "text_shares",
]

_NUMBER = {"False": "0", "True": "1"}  # what truth values are called


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
        """Return the covariates one by one; what is no column itself is a list with commas.

        Raises:
            ConfigError: if arm, metric or denominator is a covariate, a cluster or a segment, too.
        """
        names = [
            one.strip() if one not in known else one
            for text in self.covariates
            for one in ([text] if text in known else text.split(","))
        ]
        found = replace(self, covariates=tuple(names))
        found._check_roles()
        return found

    def _check_roles(self) -> None:
        """Refuse what was drawn or measured where only what was known before makes sense."""
        taken = {"--treatment": (self.treatment,), "--metric": self.metrics}
        taken["--denominator"] = self.denominators
        named: dict[str, tuple[str | None, ...]] = {"--covariates": self.covariates}
        named |= {"--clusters": (self.clusters,), "--segment": (self.segments,)}
        for (option, own), (role, columns) in product(named.items(), taken.items()):
            both = [one for one in own if one in columns]
            if both:
                raise ConfigError(
                    f"{option} must be known before the experiment, got {both[0]!r}, which is that "
                    f"of {role}; leave it out."
                )

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
        return list(dict.fromkeys([*self.labels(), *self.metrics, *below, *self.covariates]))

    def labels(self) -> list[str]:
        """Return the columns whose values are labels."""
        known = (self.treatment, self.clusters, self.segments)
        return [column for column in known if column is not None]


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
        ConfigError: if a share is no number or an arm has two, or denominators do not go with the
            metrics.
        DataError: if a column holds no numbers where it must, or misses an arm.
        DflError: whatever `Experiment` refuses of every metric.
    """
    treatment, arms = _labels(table, columns.treatment)
    plan = text_shares(shares)
    shared: dict[str, Any] = {
        "treatment": treatment,
        "control": None if control is None else arms.get(control, control),
        "shares": None if plan is None else {arms.get(arm, arm): plan[arm] for arm in plan},
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
    table: Frame, columns: AbColumns, numbers: Callable[[Labels], Integers] | None, where: str
) -> Block:
    """Return some rows of an experiment, to be read in parts.

    Args:
        table: the rows.
        columns: which column is what.
        numbers: of the labels of clusters; None: there are none.
        where: the rows are, for the reasons why metrics cannot be read.

    Raises:
        ConfigError: if denominators do not go with the metrics.
        DataError: if a covariate holds no numbers, or misses some.
        InvalidValueError: if a covariate is infinite, or a label is missing.
    """
    factor = _factor(table.column(columns.treatment))
    metrics: dict[str, tuple[Vector, Vector | None]] = {}
    failed: dict[str, DflError] = {}
    for metric, below in columns.pairs():
        name = metric if below is None else f"{metric}/{below}"
        try:
            above = _numbers(table, [metric])[:, 0]
            metrics[name] = above, None if below is None else _numbers(table, [below])[:, 0]
        except DflError as error:
            failed[name] = DataError(f"{where}: {error}")
    covariates = np.empty((len(table), 0))
    if columns.covariates:
        covariates = matrix("covariates", _numbers(table, columns.covariates), len(table))
    clusters = None
    if columns.clusters is not None and numbers is not None:
        labels, places = cluster_labels(table.column(columns.clusters))
        clusters = numbers(labels) if places is None else numbers(labels)[places]
    segments = None
    if columns.segments is not None:
        found = _factor(table.column(columns.segments))
        segments = found.labels, found.codes
    return Block(factor.labels, factor.codes, metrics, covariates, clusters, segments, failed)


def end_to_end(tables: Sequence[pa.Table], columns: AbColumns) -> Frame:
    """Put tables end to end that may hold a column by several types, as blocks of a data set may.

    Args:
        tables: of the same columns.
        columns: which column is what.

    Raises:
        DataError: if a column holds neither labels nor numbers.
    """
    for name in columns.all():
        if len({one.schema.field(name).type for one in tables}) > 1:
            held = [Frame.of(one).column(name) for one in tables]
            values = _alike(held, labels=name in columns.labels())
            tables = [
                one.set_column(one.schema.get_field_index(name), name, own)
                for one, own in zip(tables, values, strict=True)
            ]
    return Frame.concat(map(Frame.of, tables))


def _alike(held: Sequence[Column], *, labels: bool) -> list[pa.Array]:
    """Return columns by one type: whole numbers for labels that are, else floats, else text."""
    if not labels:
        with suppress(DataError):  # whoever wants numbers will say that there are none
            return [pa.array(one.numbers()) for one in held]
    whole = [_whole(one) for one in held]
    return [_texts(one) for one in held] if any(one is None for one in whole) else whole


def _whole(column: Column) -> pa.Array | None:
    """Return a column as int64, if that is what it holds."""
    _require_apart(column)
    if column.kind == "number":
        with suppress(pa.ArrowException):  # fractions, or above int64
            return column.values.cast("int64")
    return None


def _texts(column: Column) -> pa.Array:
    factor = _named(column, column.factor())
    places = np.where(factor.codes < 0, len(factor.labels), factor.codes)
    return pa.array([*factor.labels, None], pa.string()).take(pa.array(places))


def cluster_labels(column: Column) -> tuple[Labels, Integers | None]:
    """Return the label of each row, or each label once and the place of each row's.

    Args:
        column: whole numbers become one int64 per row, all else UTF-8 bytes.

    Raises:
        InvalidValueError: if a label is missing.
    """
    whole = _whole(column)
    if whole is not None and not whole.null_count:
        return whole.to_numpy(zero_copy_only=False), None
    factor = _factor(column)
    return np.array([one.encode() for one in factor.labels], np.bytes_), factor.codes


def numbered(
    control: str | None, shares: Sequence[str], held: pa.DataType
) -> tuple[str | None, tuple[str, ...]]:
    """Return how control and shares call the arms; truth values are 0 and 1.

    Args:
        control: label of the control as text, or None.
        shares: ``ARM=SHARE`` of each arm, or empty.
        held: type of the column that holds the arms.
    """
    if not pa.types.is_boolean(held):
        return control, (*shares,)
    split = [text.rpartition("=") for text in shares]
    called = tuple(_NUMBER.get(arm, arm) + equal + share for arm, equal, share in split)
    return None if control is None else _NUMBER.get(control, control), called


def text_shares(given: Sequence[str]) -> dict[str, float] | None:
    """Return the planned share of each arm by its label as text.

    Raises:
        ConfigError: if a share is no number, or an arm has two.
    """
    shares: dict[str, float] = {}
    for text in given:
        arm, _, share = text.rpartition("=")
        if arm in shares:
            raise ConfigError(f"--share must name every arm once, {arm!r} comes twice.")
        try:
            shares[arm] = float(share)
        except ValueError as error:
            raise ConfigError(f"--share takes ARM=SHARE, such as 1=0.5, got {text!r}.") from error
    return shares or None


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


def _factor(column: Column) -> Factor:
    """Return a column as labels, none of them missing.

    Raises:
        InvalidValueError: if one is missing, or ids were stored as floats and ran together.
    """
    _require_apart(column)
    return _named(column, column.known_factor())


def _require_apart(column: Column) -> None:
    if pa.types.is_floating(column.values.type):
        values = column.values.drop_null().to_numpy(zero_copy_only=False)
        require_apart(f"column {column.name!r}", values)


def _named(column: Column, factor: Factor) -> Factor:
    """Return the labels of a column, truth values as 0 and 1."""
    if not pa.types.is_boolean(column.values.type):
        return factor
    return replace(factor, labels=tuple(_NUMBER[one] for one in factor.labels))


def _labels(table: Frame, name: str) -> tuple[Any, dict[str, Any]]:
    """Return whole numbers and truth values as numbers, the rest as text; and text to label."""
    factor = _factor(table.column(name))
    known: Any = np.asarray(factor.labels)
    if factor.numeric and all(one.removeprefix("-").isdigit() for one in factor.labels):
        with suppress(OverflowError):  # text tells any number apart
            known = known.astype(np.int64)
    return known[factor.codes], dict(zip(factor.labels, known.tolist(), strict=True))
