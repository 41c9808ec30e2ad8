"""`read_blocks`: effects of an experiment whose rows come in blocks and are never all in memory."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from dfl.abtest.base import Effect, effect_of
from dfl.abtest.checks.assignment import (
    LEAK_ALARM,
    Leak,
    LeakWarning,
    describe_leaks,
    require_plan,
    sample_ratio_of,
)
from dfl.abtest.reading.read_out import ReadOut, Refusal, adjusted
from dfl.abtest.streamed.moments import Moments
from dfl.errors import InvalidValueError
from dfl.stats.arrays import Integers, Matrix, Vector
from dfl.stats.intervals import interval_factor
from dfl.stats.multiple_testing import Correction
from dfl.stats.randomisation import location_p_value, means_p_value, shape_p_value
from dfl.stats.small_samples import Spread

__all__ = ["STREAMED_ESTIMATORS", "Block", "read_blocks"]

STREAMED_ESTIMATORS = ("difference-in-means", "cuped")
"""Estimators that means and cross products are enough for."""

_KEPT = 200_000  # rows of an arm whose covariates are held, twice what ranks and shapes sort
_LARGE = 5_000  # rows of each arm, above which in-memory reading corrects nothing either


@final
@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of an experiment.

    Args:
        arms: labels, as text.
        treatment: place of each row's arm in ``arms``. Whole numbers, ``(n,)``.
        metrics: name to its numerator, and its denominator or None, each finite, ``(n,)``.
        covariates: known before the experiment, finite. Shape ``(n, p)``.
    """

    arms: Sequence[str]
    treatment: Integers
    metrics: Mapping[str, tuple[Vector, Vector | None]]
    covariates: Matrix


def read_blocks(
    blocks: Iterable[Block],
    estimators: Sequence[str],
    *,
    control: str | None = None,
    shares: Mapping[str, float] | None = None,
    level: float = 0.95,
    correction: Correction = "holm",
    names: Sequence[str] = (),
) -> ReadOut:
    """Read several metrics by sums over blocks: effects as `read_out` gives them.

    Means and cross products of each arm are all that difference-in-means and CUPED use, of a
    metric or, by the delta method, of a ratio. Other estimators look at rows again and again,
    or at their order; they are refused with a line each. Memory holds one block.

    Leaks of the covariates are looked for as in memory: means by sums over all rows, ranks and
    shapes among up to 200,000 rows of each arm, every k-th.

    Args:
        blocks: all rows, in blocks of the same metrics and covariates.
        estimators: names; all but `STREAMED_ESTIMATORS` are refused.
        control: label of the control as text; None: 0, False or "control".
        shares: planned share of each arm by label; None: equal shares.
        level: confidence level of the intervals.
        correction: of p-values, as in `read_out`.
        names: of the covariates, for messages; empty: "covariate 0" and so on.

    Raises:
        InvalidValueError: if an arm has 5,000 rows or fewer (such are read in memory), there is
            no control, no second arm or no estimator that sums are enough for, or a
            denominator is negative or sums to 0.
        SampleRatioError: if the arms' sizes contradict the plan.

    Warns:
        LeakWarning: if a covariate differs between the arms more than chance allows.
    """
    level_factor = interval_factor(level)
    refusals = [
        Refusal(
            metric="all metrics",
            estimator=name,
            reason=f"it needs all rows in memory; sums are enough for "
            f"{' and '.join(STREAMED_ESTIMATORS)} alone. Name one file instead of a data set.",
        )
        for name in estimators
        if name not in STREAMED_ESTIMATORS
    ]
    asked = [name for name in estimators if name in STREAMED_ESTIMATORS]
    if not asked:
        raise InvalidValueError(str(refusals[0]) if refusals else "there must be an estimator.")
    sums, past = _summed(blocks)
    counts = {arm: one.rows for arm, one in next(iter(sums.values())).items()}
    own = _control(control, counts)
    ratio = require_plan(sample_ratio_of(counts, shares), planned=shares is not None)
    small = {arm: count for arm, count in counts.items() if count <= _LARGE}
    if small:
        raise InvalidValueError(
            f"every arm must have more than {_LARGE:,} rows to be read by sums, got {small}: "
            "errors of smaller ones are corrected row by row. Name one file."
        )
    leaks = _leaks(next(iter(sums.values())), past, own, names)
    found: list[tuple[str, str | None, str, Effect]] = []
    for metric, by_arm in sums.items():
        for name in asked:
            for arm in (one for one in by_arm if one != own):
                try:
                    read = _read(name, metric, by_arm[arm], by_arm[own])
                except InvalidValueError as error:
                    refusals.append(
                        Refusal(metric=metric, arm=arm, estimator=name, reason=str(error))
                    )
                    continue
                effect = effect_of(
                    (arm, own), read.estimate, Spread(error=read.error), level_factor, level,
                    value=read.control_value, rows=(counts[arm], counts[own]),
                    diagnostics=read.diagnostics,
                )  # fmt: skip
                found.append((metric, None, name, effect))
    if not found:
        raise InvalidValueError(refusals[-1].reason)
    return ReadOut(
        readings=adjusted(found, tuple(asked), correction),
        refusals=tuple(refusals),
        sample_ratio=ratio,
        leaks=leaks,
        correction=correction,
    )


@final
@dataclass(frozen=True)
class _Read:
    estimate: float
    error: float
    control_value: float
    diagnostics: Mapping[str, float]


@final
class _Past:
    """Covariates of an arm: their extremes, and every ``step``-th row."""

    def __init__(self, columns: int) -> None:
        self.ends = np.stack([np.full(columns, np.inf), np.full(columns, -np.inf)])
        self.kept = np.empty((0, columns))
        self.step, self.seen = 1, 0

    def add(self, rows: Matrix) -> None:
        self.ends[0] = np.minimum(self.ends[0], rows.min(axis=0, initial=np.inf))
        self.ends[1] = np.maximum(self.ends[1], rows.max(axis=0, initial=-np.inf))
        self.kept = np.concatenate([self.kept, rows[-self.seen % self.step :: self.step]])
        self.seen += len(rows)
        while len(self.kept) > _KEPT:
            self.kept, self.step = self.kept[::2].copy(), 2 * self.step


def _summed(blocks: Iterable[Block]) -> tuple[dict[str, dict[str, Moments]], dict[str, _Past]]:
    """Return moments by metric and arm: numerator, denominator, covariates; and these by arm."""
    sums: dict[str, dict[str, Moments]] = {}
    past: dict[str, _Past] = {}
    for block in blocks:
        for place, arm in enumerate(block.arms):
            rows = block.covariates[block.treatment == place]
            past.setdefault(arm, _Past(rows.shape[1])).add(rows)
        for metric, (above, below) in block.metrics.items():
            if below is not None and (bad := int((below < 0).sum())):
                raise InvalidValueError(
                    f"denominator of {metric} must be >= 0, got {bad} negative in a block; "
                    "correct the data (refunds belong to the numerator)."
                )
            columns = [above, *([] if below is None else [below]), *block.covariates.T]
            values = np.stack(columns, axis=1)
            known = sums.setdefault(metric, {})
            for place, arm in enumerate(block.arms):
                own = Moments.of(values[block.treatment == place])
                known[arm] = Moments.merged([known[arm], own]) if arm in known else own
    if not sums:
        raise InvalidValueError("there must be rows and a metric, got none.")
    return sums, past


def _leaks(
    arms: Mapping[str, Moments], past: Mapping[str, _Past], control: str, names: Sequence[str]
) -> tuple[Leak, ...]:
    """Compare the covariates of the arms, and warn of those that differ; as `find_leaks`."""
    columns = past[control].kept.shape[1]
    names = names or [f"covariate {column}" for column in range(columns)]
    pairs = [(arm, column) for arm in arms if arm != control for column in range(columns)]
    alarm = LEAK_ALARM / max(2 * len(pairs), 1)
    leaks = []
    for arm, column in pairs:
        both = Moments.merged([arms[arm], arms[control]])
        place = column - columns  # behind the metric
        square = float(both.products[place, place])
        apart = float(arms[arm].mean[place] - arms[control].mean[place])
        ends = np.stack([past[arm].ends[:, column], past[control].ends[:, column]])
        furthest = float(np.abs(ends - both.mean[place]).max())
        one, two = past[arm].kept[:, column], past[control].kept[:, column]
        by_means = means_p_value((arms[arm].rows, arms[control].rows), apart, square, furthest)
        place_p = location_p_value(one, two, alarm) if by_means is None else by_means
        p_value = min(place_p, shape_p_value(one, two))
        if p_value < alarm:
            gap = apart / math.sqrt(square / both.rows)
            leaks.append(Leak(column=names[column], arm=arm, difference=gap, p_value=p_value))
    if leaks:
        warnings.warn(describe_leaks(leaks), LeakWarning, stacklevel=3)
    return tuple(leaks)


def _control(control: str | None, counts: Mapping[str, int]) -> str:
    wanted = ("0", "False", "control") if control is None else (control,)
    found = [arm for arm in counts if arm in wanted]
    if not found or len(counts) < 2:
        raise InvalidValueError(
            f"there must be a control, {' or '.join(wanted)}, and another arm, got "
            f"{sorted(counts)}."
        )
    return found[0]


def _read(name: str, metric: str, treated: Moments, control: Moments) -> _Read:
    """Return the difference of the arms' means, with or without covariates taken out."""
    arms = [_linearised(one, ratio="/" in metric) for one in (treated, control)]
    both = Moments.merged(arms)
    value = float(arms[1].mean[0])
    diagnostics: dict[str, float] = {}
    if name == "cuped":
        slopes = _slopes(both)
        weights = np.concatenate([[1.0], -slopes])[None]
        constant = np.array([slopes @ both.mean[1:]])
        arms = [one.mapped(weights, constant) for one in arms]
        left = float(Moments.merged(arms).products[0, 0])
        diagnostics["explained_variance"] = 1 - left / float(both.products[0, 0])
        if len(slopes) == 1:
            diagnostics["theta"] = float(slopes[0])
    variance = sum(float(one.products[0, 0]) / (one.rows - 1) / one.rows for one in arms)
    size = abs(value) + math.sqrt(float(both.products[0, 0]) / both.rows)
    if not variance > (1e-14 * size) ** 2 / both.rows:
        raise InvalidValueError(
            "metric must vary within the arms, its difference has a standard error of 0; a "
            "covariate may be a copy of the metric."
        )
    estimate = float(arms[0].mean[0] - arms[1].mean[0])
    return _Read(estimate, math.sqrt(variance), value, diagnostics)


def _linearised(arm: Moments, *, ratio: bool) -> Moments:
    """Return the moments of the outcome and the covariates; a ratio by the delta method."""
    if not ratio:
        return arm
    above, below = arm.mean[:2]
    if not below > 0:
        raise InvalidValueError(
            f"denominator must sum to more than 0 in every arm, got {below * arm.rows:g}; there "
            "is no ratio."
        )
    matrix = np.delete(np.eye(len(arm.mean)), 1, axis=0)
    matrix[0, :2] = 1 / below, -above / below**2
    constant = np.zeros(len(matrix))
    constant[0] = above / below
    return arm.mapped(matrix, constant)


def _slopes(both: Moments) -> Vector:
    """Return what one unit of each covariate tells of the outcome, over both arms."""
    if len(both.mean) < 2:
        raise InvalidValueError("cuped needs covariates; without any use difference-in-means.")
    spread = np.sqrt(np.diag(both.products)[1:] / both.rows)
    if not spread.any():
        raise InvalidValueError("covariates must vary, each is the same in all rows.")
    scale = np.where(spread > 0, spread, 1)
    within = both.products[1:, 1:] / np.outer(scale, scale)
    found: Vector = np.linalg.lstsq(within, both.products[1:, 0] / scale, rcond=1e-12)[0]
    return found / scale
