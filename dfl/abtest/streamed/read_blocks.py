"""`read_blocks`: effects of an experiment whose rows come in blocks and are never all in memory."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import final

from dfl.abtest.base import AbstractEstimator, Effect, effect_of
from dfl.abtest.checks.aa import AaResult, aa_of
from dfl.abtest.checks.assignment import (
    LeakWarning,
    describe_leaks,
    require_plan,
    sample_ratio_of,
)
from dfl.abtest.cupac import Cupac
from dfl.abtest.cuped import Cuped
from dfl.abtest.difference_in_means import DifferenceInMeans
from dfl.abtest.huber import Huber
from dfl.abtest.mlrate import Mlrate
from dfl.abtest.reading.read_out import ReadOut, Refusal, adjusted
from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.state import State
from dfl.abtest.streamed.by_sums import BY_SUMS, read_by_sums
from dfl.abtest.streamed.gathered import Gathered
from dfl.abtest.streamed.kept import Block, KeptRows
from dfl.abtest.streamed.leaks import leaks_of
from dfl.abtest.streamed.moments import Moments
from dfl.abtest.winsorised import Winsorised
from dfl.checks import check_count
from dfl.errors import DflError, InvalidValueError
from dfl.stats.intervals import interval_factor
from dfl.stats.multiple_testing import Correction
from dfl.stats.small_samples import Spread

__all__ = ["STREAMED_ESTIMATORS", "read_blocks"]

_ESTIMATORS: Mapping[str, AbstractEstimator] = {
    "difference-in-means": DifferenceInMeans(),
    "cuped": Cuped(),
    "cupac": Cupac(),
    "mlrate": Mlrate(),
    "winsorised": Winsorised(),
    "huber": Huber(),
    "state": State(),
}

STREAMED_ESTIMATORS = (*_ESTIMATORS,)
"""Estimators that need no more than a part of the rows at a time."""

_LARGE = 5_000  # rows of each arm, above which in-memory reading corrects nothing either


def read_blocks(
    blocks: Iterable[Block],
    estimators: Sequence[str],
    *,
    control: str | None = None,
    shares: Mapping[str, float] | None = None,
    level: float = 0.95,
    correction: Correction = "holm",
    names: Sequence[str] = (),
    cross_fit: CrossFit | None = None,
    splits: int = 0,
    seed: int = 0,
) -> ReadOut:
    """Read several metrics from blocks of rows: effects as `read_out` gives them.

    Means and cross products of each arm are all that difference-in-means and CUPED use, of a
    metric or, by the delta method, of a ratio; memory holds one block. For the others, for
    clusters and for A/A tests the columns are written to temporary files, 8 bytes a number, and
    read in parts as often as need be; memory holds one block, the rows that models of a
    prediction learn from (see `CrossFit`), and about 80 bytes a cluster. Estimators that look at
    all rows at once are refused with a line each.

    Leaks of the covariates are looked for as in memory: means by sums over all rows, ranks and
    shapes among up to 200,000 rows of each arm, every k-th; or by the means of all clusters.

    Args:
        blocks: all rows, in blocks of the same metrics and covariates.
        estimators: names; all but `STREAMED_ESTIMATORS` are refused.
        control: label of the control as text; None: 0, False or "control".
        shares: planned share of each arm by label; None: equal shares.
        level: confidence level of the intervals.
        correction: of p-values, as in `read_out`.
        names: of the covariates, for messages; empty: "covariate 0" and so on.
        cross_fit: makes the predictions; None: two folds of histogram gradient boosting.
        splits: of the control, in an A/A test of each estimator on each metric, >= 2; 0: none.
        seed: of the A/A tests.

    Raises:
        InvalidValueError: if an arm has 5,000 rows or fewer and rows were randomised (such are
            read in memory), there is no control, no second arm or no estimator that can read
            parts, a denominator is negative or sums to 0, a cluster lies in two arms, or a number
            is out of range.
        SampleRatioError: if the arms' sizes contradict the plan.
        WriteError: if there is no room for temporary files.

    Warns:
        LeakWarning: if a covariate differs between the arms more than chance allows.
    """
    interval_factor(level)
    check_count("seed", seed, at_least=0)
    check_count("splits", splits, at_least=0 if splits == 0 else 2)
    asked, refusals = _readable(estimators)
    predicted = not {*asked} <= {*BY_SUMS}
    data = Gathered.of(blocks, keep=bool(splits) or predicted)
    own = _control(control, data.counts)
    ratio = require_plan(sample_ratio_of(data.units, shares), planned=shares is not None)
    _require_large(data)
    leaks = leaks_of(data, own, names)
    if leaks:
        warnings.warn(describe_leaks(leaks), LeakWarning, stacklevel=2)
    found: list[tuple[str, str | None, str, Effect]] = []
    aa: dict[str, dict[str, AaResult | str]] = {}
    for metric in data.sums:
        rows = data.rows.get(metric)
        if rows is not None and predicted:
            rows = rows.with_prediction(cross_fit or CrossFit())
        source = _Source(data.sums[metric], data.ratio(metric), rows, own, level)
        for name, arm in product(asked, (one for one in data.counts if one != own)):
            try:
                found.append((metric, None, name, source.effect(name, arm)))
            except DflError as error:
                where = arm if len(data.counts) > 2 else None
                refusals.append(
                    Refusal(metric=metric, arm=where, estimator=name, reason=str(error))
                )
        if splits and rows is not None:
            smallest, untreated = min(data.units.values()), rows.only(own)
            aa[metric] = {
                name: _aa(name, untreated, smallest, level, runs=splits, seed=seed)
                for name in asked
            }
    if not found:
        raise InvalidValueError(refusals[-1].reason)
    return ReadOut(
        readings=adjusted(found, tuple(asked), correction),
        refusals=tuple(refusals),
        sample_ratio=ratio,
        leaks=leaks,
        correction=correction,
        splits=aa,
    )


def _readable(estimators: Sequence[str]) -> tuple[list[str], list[Refusal]]:
    """Return the estimators that need no more than parts of the rows, and a line for the others."""
    refusals = [
        Refusal(
            metric="all metrics",
            estimator=name,
            reason=f"it needs all rows in memory; {', '.join(STREAMED_ESTIMATORS)} do not. Name "
            "one file instead of a data set.",
        )
        for name in estimators
        if name not in STREAMED_ESTIMATORS
    ]
    asked = [name for name in estimators if name in STREAMED_ESTIMATORS]
    if not asked:
        raise InvalidValueError(str(refusals[0]) if refusals else "there must be an estimator.")
    return asked, refusals


def _require_large(data: Gathered) -> None:
    """Refuse arms of rows whose errors would have to be corrected row by row."""
    small = {arm: count for arm, count in data.counts.items() if count <= _LARGE}
    if small and data.clusters is None:
        raise InvalidValueError(
            f"every arm must have more than {_LARGE:,} rows to be read in parts, got {small}: "
            "errors of smaller ones are corrected row by row. Name one file."
        )


def _control(control: str | None, counts: Mapping[str, int]) -> str:
    wanted = ("0", "False", "control") if control is None else (control,)
    found = [arm for arm in counts if arm in wanted]
    if not found or len(counts) < 2:
        raise InvalidValueError(
            f"there must be a control, {' or '.join(wanted)}, and another arm, got "
            f"{sorted(counts)}."
        )
    return found[0]


@final
class _Source:
    """One metric, from which effects are read: by sums, or from the rows that were kept."""

    def __init__(
        self,
        sums: Mapping[str, Moments],
        ratio: bool,
        rows: KeptRows | None,
        control: str,
        level: float,
    ) -> None:
        self._sums, self._ratio, self._rows = sums, ratio, rows
        self._control, self._level = control, level
        self._pairs: dict[str, KeptRows] = {}

    def effect(self, name: str, arm: str) -> Effect:
        """Return the effect of an arm."""
        labels, rows, level = (arm, self._control), self._rows, self._level
        if rows is None or (name in BY_SUMS and rows.clusters is None):
            treated, control = (self._sums[one] for one in labels)
            read = read_by_sums(name, treated, control, ratio=self._ratio)
            return effect_of(
                labels, read.estimate, Spread(error=read.error), interval_factor(level), level,
                value=read.control_value, rows=(treated.rows, control.rows),
                diagnostics=read.diagnostics,
            )  # fmt: skip
        if arm not in self._pairs:
            self._pairs[arm] = rows.only(*labels)
        estimator = _ESTIMATORS[name]
        contrast = self._pairs[arm].against(arm, estimator.linearisation)
        mean = self._sums[self._control].mean
        value = float(mean[0] / mean[1] if self._ratio else mean[0])
        return estimator.read(contrast, labels, level=level, value=value)


def _aa(
    name: str, untreated: KeptRows, smallest: int, level: float, *, runs: int, seed: int
) -> AaResult | str:
    """Return the A/A test of an estimator, or why it could not be made."""
    estimator = _ESTIMATORS[name]

    def effects() -> Iterator[Effect]:
        for contrast in untreated.split(smallest, estimator.linearisation, runs=runs, seed=seed):
            yield estimator.read(contrast, ("1", "0"), level=level, value=0.0)

    try:
        return aa_of(effects(), level)
    except DflError as error:
        return str(error)
