"""Turns the columns of a file into experiments, for ``dfl ab``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd

from dfl.abtest import Experiment, Refusal
from dfl.errors import ConfigError, DataError, DflError

__all__ = ["AbColumns", "experiments_of"]


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
        """Return every column that is read."""
        below = [column for _, column in self.pairs() if column is not None]
        single = [column for column in (self.clusters, self.segments) if column is not None]
        return [self.treatment, *self.metrics, *below, *self.covariates, *single]


def experiments_of(
    table: pd.DataFrame, columns: AbColumns, control: str | None, shares: Sequence[str]
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
    treatment = _labels(table, columns.treatment)
    arms = {str(arm): arm for arm in np.unique(treatment).tolist()}
    shared: dict[str, Any] = {
        "treatment": treatment,
        "control": None if control is None else arms.get(control, control),
        "shares": _shares(shares, arms),
        "names": columns.covariates,
        "covariates": _numbers(table, columns.covariates) if columns.covariates else None,
        "clusters": None if columns.clusters is None else _labels(table, columns.clusters),
        "segments": None if columns.segments is None else _labels(table, columns.segments),
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


def _numbers(table: pd.DataFrame, names: Sequence[str]) -> Any:
    """Return columns as a matrix; missing values become NaN, which `Experiment` refuses."""
    for name in names:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise DataError(
                f"column {name!r} must hold numbers, got {table[name].dtype}; turn categories "
                "into numbers first."
            )
    return table[list(names)].to_numpy(dtype=np.float64, na_value=np.nan)


def _labels(table: pd.DataFrame, name: str) -> Any:
    """Return a column of numbers as it is, and any other as text."""
    column = table[name]
    missing = int(column.isna().sum())
    if missing:
        raise DataError(
            f"column {name!r} must be known in every row, it is missing in {missing} of "
            f"{len(column)}; leave those rows out."
        )
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_integer_dtype(column):
        return column.to_numpy(dtype=np.int64)
    codes, known = pd.factorize(column)
    return np.asarray([str(one) for one in known])[codes]


def _shares(given: Sequence[str], arms: Mapping[str, Any]) -> dict[Any, float] | None:
    shares: dict[Any, float] = {}
    for text in given:
        arm, _, share = text.rpartition("=")
        try:
            shares[arms.get(arm, arm)] = float(share)
        except ValueError as error:
            raise ConfigError(f"--share takes ARM=SHARE, such as 1=0.5, got {text!r}.") from error
    return shares or None
