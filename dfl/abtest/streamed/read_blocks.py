"""`read_blocks`: effects of an experiment whose rows come in blocks and are never all in memory."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import final

from dfl.abtest.base import AbstractEstimator, Effect, effect_of
from dfl.abtest.checks.aa import AaResult, aa_of
from dfl.abtest.checks.assignment import (
    LeakWarning,
    describe_leaks,
    require_plan,
    sample_ratio_of,
)
from dfl.abtest.cuped import Cuped
from dfl.abtest.reading.read_out import Findings, ReadOut
from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.rows.contrast import Contrast
from dfl.abtest.streamed.by_sums import is_by_sums, read_by_sums
from dfl.abtest.streamed.gathered import Gathered
from dfl.abtest.streamed.kept import Block, KeptRows, label_order
from dfl.abtest.streamed.leaks import leaks_of
from dfl.checks import check_count
from dfl.errors import DflError, InvalidValueError
from dfl.stats.intervals import interval_factor
from dfl.stats.moments import Moments
from dfl.stats.multiple_testing import Correction, check_correction
from dfl.stats.small_samples import Spread

__all__ = ["read_blocks"]

_LARGE = 5_000  # rows of each arm, above which in-memory reading corrects nothing either


def read_blocks(
    blocks: Iterable[Block],
    estimators: Mapping[str, AbstractEstimator],
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
    clusters, segments and A/A tests the columns are written to temporary files, 8 bytes a number,
    and read in parts as often as need be; memory holds one block, the rows that models of a
    prediction learn from (see `CrossFit`), and about 80 bytes a cluster. A segment of few rows is
    read with the corrections that few rows need.

    Leaks are looked for as in memory: of covariates, means by sums over all rows, ranks and shapes
    among up to 200,000 rows of each arm, every k-th, or by the means of all clusters; of segments,
    by counts of all rows or clusters. A metric that cannot be read is refused by its name.

    Args:
        blocks: all rows, in blocks of the same metrics and covariates.
        estimators: name to estimator.
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
            read in memory), there is no control, no second arm, no metric or no estimator, a
            cluster lies in two arms, a number is out of range, or nothing at all can be read.
        SampleRatioError: if the arms' sizes contradict the plan.
        WriteError: if there is no room for temporary files.

    Warns:
        LeakWarning: if covariates or segments differ between the arms more than chance allows.
    """
    interval_factor(level)
    check_correction(correction)
    check_count("seed", seed, at_least=0)
    check_count("splits", splits, at_least=0 if splits == 0 else 2)
    if not estimators:
        raise InvalidValueError("there must be an estimator, got none.")
    predicted = not all(map(is_by_sums, estimators.values()))
    data = Gathered.of(blocks, keep=bool(splits) or predicted)
    own = _control(control, data.counts)
    ratio = require_plan(sample_ratio_of(data.units, shares), planned=shares is not None)
    _require_large(data)
    leaks = leaks_of(data, own, names)
    if leaks:
        warnings.warn(describe_leaks(leaks), LeakWarning, stacklevel=2)
    findings = Findings()
    for metric, reason in data.failed.items():
        findings.refuse(metric, None, reason)
    aa: dict[str, dict[str, AaResult | str]] = {}
    for metric, sums in data.sums.items():
        rows = data.rows.get(metric)
        if rows is not None and predicted:
            rows = rows.with_prediction(cross_fit or CrossFit())
        whole = _Source(sums, data.ratio(metric), rows, own, level)
        findings.read(metric, None, estimators, whole.treated_arms, whole.effect)
        for segment, part in () if rows is None else rows.by_segment():
            source = _Source({}, data.ratio(metric), part, own, level)
            try:
                arms = source.treated_arms
            except InvalidValueError as error:
                findings.refuse(metric, segment, error)
            else:
                findings.read(metric, segment, estimators, arms, source.effect)
        if splits and rows is not None:
            smallest, untreated = min(data.units.values()), rows.only(own)
            aa[metric] = {
                name: _aa(estimator, untreated, smallest, level, runs=splits, seed=seed)
                for name, estimator in estimators.items()
            }
    return ReadOut(
        readings=findings.adjusted(correction),
        refusals=tuple(findings.refusals),
        sample_ratio=ratio,
        leaks=leaks,
        correction=correction,
        splits=aa,
    )


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
    """One metric, of all rows or of a segment; read by sums, or from the rows that were kept.

    Args:
        sums: arm to its moments; empty for a segment.
        ratio: whether the metric has a denominator.
        rows: what was kept, or None.
        control: label of the control.
        level: confidence level of the intervals.
    """

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

    @property
    def treated_arms(self) -> tuple[str, ...]:
        """Labels of the arms that are there, but the control.

        Raises:
            InvalidValueError: if there is none, or no control.
        """
        arms = (*self._sums,) if self._rows is None or self._sums else self._rows.present_arms
        if self._control not in arms or len(arms) < 2:
            raise InvalidValueError(
                f"there must be rows of the control, {self._control}, and of another arm, got "
                f"{sorted(arms, key=label_order)}."
            )
        return tuple(arm for arm in arms if arm != self._control)

    def effect(self, estimator: AbstractEstimator, arm: str) -> Effect:
        """Return the effect of an arm."""
        labels, rows, level = (arm, self._control), self._rows, self._level
        by_sums = is_by_sums(estimator) and self._sums
        if rows is None or (by_sums and rows.clusters is None):
            treated, control = (self._sums[one] for one in labels)
            read = read_by_sums(
                treated, control, ratio=self._ratio, adjust=isinstance(estimator, Cuped)
            )
            return effect_of(
                labels, read.estimate, Spread(error=read.error), interval_factor(level), level,
                value=read.control_value, rows=(treated.rows, control.rows),
                diagnostics=read.diagnostics,
            )  # fmt: skip
        if arm not in self._pairs:
            self._pairs[arm] = rows.only(*labels)
        contrast = self._pairs[arm].against(arm, estimator.linearisation)
        return estimator.read(contrast, labels, level=level, value=rows.value_of(self._control))


def _aa(
    estimator: AbstractEstimator,
    untreated: KeptRows,
    smallest: int,
    level: float,
    *,
    runs: int,
    seed: int,
) -> AaResult | str:
    """Return the A/A test of an estimator, or why it could not be made."""

    def effect(contrast: Callable[[], Contrast]) -> Effect:
        return estimator.read(contrast(), ("1", "0"), level=level, value=0.0)

    try:
        dealt = untreated.split(smallest, estimator.linearisation, runs=runs, seed=seed)
        return aa_of((partial(effect, contrast) for contrast in dealt), level)
    except DflError as error:
        return str(error)
