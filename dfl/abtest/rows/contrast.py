"""`Contrast`: one arm against the control, one number per row; ratios are linearised."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, final

import numpy as np

from dfl.abtest.regression.cross_fit import CrossFit
from dfl.checks import check_choice, check_number
from dfl.errors import InvalidValueError, ShapeError
from dfl.scale import PARTS, Empty, some_rows
from dfl.stats.arrays import Booleans, Integers, Matrix, Vector, require_numbered
from dfl.stats.leverage import leverage, unit_leverage
from dfl.stats.small_samples import Arm, Spread, spread_of
from dfl.stats.soundness import refuse_copy, require_squares, require_varying, unmoved

__all__ = [
    "Contrast",
    "Linearisation",
    "check_linearisation",
    "linearise",
    "linearise_arms",
    "ratio_of",
]

Linearisation: TypeAlias = Literal["delta", "pooled", "control"]

_DIGITS = 1e-3  # share of the range by which float64 may round a metric
_SAMPLE = 1_000  # rows, whose quartiles are taken: of the size alone of rounding errors
_LARGE = 5_000  # independent units of each arm, above which nothing has to be corrected
_SUMMED = 100_000  # clusters, up to which covariates are added up in each
_DRAWN = 0.9  # share of a unit's outcome that slopes may take at most


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Contrast:
    """What every estimator reads: treated and control units with one outcome each.

    Args:
        treated: which rows are treated. Shape ``(n,)``.
        outcome: the metric, or the linearised ratio; finite. Shape ``(n,)``.
        covariates: known before the experiment, finite. Shape ``(n, p)``, or None.
        prediction: of the outcome from covariates, out of fold. Shape ``(n,)``, or None.
        clusters: number 0, 1, ... of the unit that was randomised, where a row is less than
            that; errors then hold for rows that depend on each other within it. Shape
            ``(n,)``, or None.
        events: denominator of a ratio that was linearised arm by arm, what each row weighs in
            its arm; None: each row weighs the same. Shape ``(n,)``.
        empty: makes arrays of one number per row on the way, in memory or on disk.

    Raises:
        ShapeError: if shapes do not agree.
        InvalidValueError: if clusters are not numbered 0, 1, ... or lie in two arms, an arm has
            less than 2 units, or the outcome varies by nothing, rounding errors or too much.
    """

    treated: Booleans
    outcome: Vector
    covariates: Matrix | None = None
    prediction: Vector | None = None
    clusters: Integers | None = None
    events: Vector | None = None
    empty: Empty = np.empty

    def __post_init__(self) -> None:
        """Check shapes and that there is something to compare."""
        rows = self.outcome.shape[0]
        for name in ("treated", "covariates", "prediction", "clusters", "events"):
            column = getattr(self, name)
            if column is not None and column.shape[0] != rows:
                raise ShapeError(f"{name} must have {rows} rows, got {column.shape[0]}.")
        if self.clusters is not None:
            require_numbered("clusters", self.clusters, rows)
        for arm, units in (("treated", self.treated_units), ("control", self.control_units)):
            if units < 2:
                raise InvalidValueError(
                    f"the {arm} arm must have at least 2 units, got {units}; its error cannot be "
                    "estimated."
                )
        if self.clusters is not None:
            both = [self._members(of_treated=arm) for arm in (True, False)]
            if torn := int((both[0] & both[1]).sum()):
                raise InvalidValueError(f"clusters must lie in one arm each, {torn} do not.")
        if self._range == 0:
            raise unmoved(float(self.outcome[0]), self.rows)
        rounds = float(np.spacing(max(-self.outcome.min(), self.outcome.max())))
        if rounds > _DIGITS * self._range:
            raise InvalidValueError(
                f"metric lies near {float(self.outcome[0]):.3g} and varies by {self._range:.3g}: "
                f"float64 rounds it by {rounds:.2g}. Subtract a constant from every row."
            )
        require_squares("metric", self._range)

    @property
    def rows(self) -> int:
        """Number of rows in both arms."""
        return int(self.outcome.shape[0])

    @cached_property
    def _range(self) -> float:
        return float(np.ptp(self.outcome))

    @cached_property
    def treated_rows(self) -> int:
        """Number of treated rows."""
        return int(np.count_nonzero(self.treated))

    @cached_property
    def treated_units(self) -> int:
        """Number of treated units: clusters where there are any, else rows."""
        if self.clusters is None:
            return self.treated_rows
        return int(np.count_nonzero(self._members(of_treated=True)))

    @cached_property
    def control_units(self) -> int:
        """Number of units in the control arm: clusters where there are any, else rows."""
        if self.clusters is None:
            return self.rows - self.treated_rows
        return int(np.count_nonzero(self._members(of_treated=False)))

    @property
    def corrected(self) -> bool:
        """Whether errors make up for few units, or for clusters; see `spread`."""
        return self.clusters is not None or min(self.treated_units, self.control_units) <= _LARGE

    @cached_property
    def indicator(self) -> Vector:
        """1.0 for treated rows, 0.0 for the others. Shape ``(n,)``."""
        return self.treated.astype(np.float64)

    def _members(self, *, of_treated: bool) -> Booleans:
        """Return which clusters have rows in an arm, or which rows. Shape ``(units,)``."""
        if self.clusters is None:
            return self.treated if of_treated else ~self.treated
        found = np.zeros(self._unit_count, np.bool_)
        for part in PARTS.of(self.rows):
            found[self.clusters[part][self.treated[part] == of_treated]] = True
        return found

    @cached_property
    def _unit_count(self) -> int:
        return self.rows if self.clusters is None else int(self.clusters.max()) + 1

    def variance(self, influence: Vector) -> float:
        """Return the variance of an estimate from what each row adds to it.

        ``sum_c (sum_{i in c} influence_i)^2 / n^2`` over clusters ``c``, times ``C / (C - 1)``
        for ``C`` clusters; without clusters every row is its own and the factor is 1.

        Args:
            influence: derivative of ``n`` times the estimate with respect to the weight of
                each row. Shape ``(n,)``.
        """
        if self.clusters is None:
            return float(influence @ influence) / self.rows**2
        sums = np.bincount(self.clusters, weights=influence)
        count = self.treated_units + self.control_units
        return float(sums @ sums) / self.rows**2 * count / (count - 1)

    def standard_error(self, *influences: Vector, size: float | None = None) -> float:
        """Return the root of the summed variances of uncorrelated parts of an estimate.

        Args:
            influences: of the parts. Shape ``(n,)`` each.
            size: of the outcomes that the estimate rests on, where it bounds the others; None: all.

        Raises:
            InvalidValueError: if nothing varies, so that there is no error to speak of.
        """
        variance = sum(self.variance(influence) for influence in influences)
        # Below that, all digits are rounding errors of the largest outcome.
        if not variance > (1e-15 * (self._range if size is None else size)) ** 2 / self.rows:
            refuse_copy()
        return math.sqrt(variance)

    def require_units(self, least: int) -> None:
        """Refuse arms that are too small for an estimator.

        Raises:
            InvalidValueError: if one has less than ``least`` units.
        """
        for arm, units in (("treated", self.treated_units), ("control", self.control_units)):
            if units < least:
                raise InvalidValueError(
                    f"the {arm} arm must have at least {least} units for this estimator, got "
                    f"{units}: its intervals would be too short; use difference-in-means."
                )

    def spread(
        self, error: float, influence: Vector, *, bessel: bool, design: Matrix | None
    ) -> Spread:
        """Return the error, corrected where units are few, uneven or skewed, and its law.

        Args:
            error: standard error for large samples.
            influence: what it was made of. Shape ``(n,)``.
            bessel: whether the influence makes up for the arms' means, see `mean_difference`.
            design: regressors that were fitted, beside the arms' means. Shape ``(k, n)``.

        Raises:
            InvalidValueError: if one unit outweighs its arm, or there are too few.
        """
        if not self.corrected:
            return Spread(error=error)
        plain = self.variance(influence)
        if not plain > 0:
            return Spread(error=error)
        own, size, used = np.zeros(self._unit_count), np.zeros(self._unit_count), np.zeros(2)
        clusters = self._cluster_slopes(design)
        for part, leverages in leverage(design if clusters is None else None, self.rows):
            treated, mean = self.treated[part], self._mean_leverage(part)
            unit: Any = part if self.clusters is None else self.clusters[part]
            slopes = np.clip(leverages - mean, 0, _DRAWN) if clusters is None else clusters[unit]
            scaled = influence[part] / (self.rows * np.sqrt(1 - slopes))
            if bessel and self.clusters is None:
                scaled *= np.sqrt(1 - mean)
            np.add.at(own, unit, scaled)
            np.add.at(size, unit, 1.0 if self.events is None else self.events[part])
            if clusters is None:
                used += float(slopes[treated].sum()), float(slopes[~treated].sum())
        if clusters is not None:
            used += [float(clusters[self._members(of_treated=arm)].sum()) for arm in (True, False)]
        arms = []
        for of_treated, slope in zip((True, False), used.tolist(), strict=True):
            members = self._members(of_treated=of_treated)
            arms.append(Arm(parts=own[members], size=size[members], used=slope))
        found = spread_of(*arms)
        return replace(found, error=error * found.error / math.sqrt(plain))

    def _mean_leverage(self, part: slice) -> Vector:
        """Return what each row draws the mean of its arm to itself."""
        return np.where(
            self.treated[part], 1 / self.treated_rows, 1 / (self.rows - self.treated_rows)
        )

    def _cluster_slopes(self, design: Matrix | None) -> Vector | None:
        """Return how much of each cluster's outcome slopes take; None where rows are told apart."""
        if self.clusters is None or design is None or self._unit_count > _SUMMED:
            return None
        mean = np.zeros(self._unit_count)
        for part in PARTS.of(self.rows):
            mean += np.bincount(
                self.clusters[part], self._mean_leverage(part), minlength=self._unit_count
            )
        found: Vector = unit_leverage(design, self.clusters, self._unit_count) - mean
        return np.clip(found, 0, _DRAWN)

    @cached_property
    def bulk(self) -> float:
        """Size of the outcomes within the middle half of some rows, the range where it is 0."""
        some = some_rows(self.rows, _SAMPLE)
        low, high = np.quantile(self.outcome[some], [0.25, 0.75])
        return float(high - low) or self._range

    def mean_difference(self, values: Vector) -> tuple[float, Vector]:
        """Return the difference of the arms' means, and the influence of each row.

        The influence carries Bessel's correction, so that its variance is ``s1^2 / n1 +
        s0^2 / n0``; with clusters `variance` corrects instead.

        Args:
            values: one per row. Shape ``(n,)``.
        """
        ones = self.treated_rows
        zeros = self.rows - ones
        total = float(values.sum())
        treated_sum = sum(float(values[part] @ self.treated[part]) for part in PARTS.of(self.rows))
        treated_mean, control_mean = treated_sum / ones, (total - treated_sum) / zeros
        scales = [self.rows / ones, self.rows / zeros]
        if self.clusters is None:
            scales[0] *= math.sqrt(ones / (ones - 1))
            scales[1] *= math.sqrt(zeros / (zeros - 1))
        influence: Vector = self.empty(self.rows)
        for part in PARTS.of(self.rows):
            above, below = values[part] - treated_mean, control_mean - values[part]
            influence[part] = np.where(self.treated[part], above * scales[0], below * scales[1])
        return treated_mean - control_mean, influence

    def predicted(self, cross_fit: CrossFit) -> Vector | None:
        """Return the prediction, cross-fitted now if only covariates are there, else None."""
        if self.prediction is not None or self.covariates is None:
            return self.prediction
        return cross_fit.predict(
            self.covariates, self.outcome, clusters=self.clusters, empty=self.empty
        )

    def required_prediction(self, name: str, cross_fit: CrossFit) -> Vector:
        """Return the prediction of an estimator that is nothing without one.

        Args:
            name: of the estimator, for the error.
            cross_fit: makes the prediction where only covariates are there.

        Raises:
            InvalidValueError: if there are neither prediction nor covariates, or the
                prediction is the same for everyone.
        """
        prediction = self.predicted(cross_fit)
        if prediction is None:
            raise InvalidValueError(
                f"{name} needs covariates, or a prediction made from them; without either use "
                "difference-in-means."
            )
        return require_varying(prediction)


def check_linearisation(kind: Linearisation) -> None:
    """Check the option of an estimator.

    Raises:
        InvalidValueError: if it is unknown.
    """
    check_choice("linearisation", kind, ("delta", "pooled", "control"))


def linearise(numerator: Vector, denominator: Vector, *, ratio: float, mean: float) -> Vector:
    """Return ``(numerator - ratio * denominator) / mean + ratio`` of every unit.

    Its mean estimates the ratio of the means; around the true ``ratio`` its variance over
    the number of units is that of the delta method.

    Args:
        numerator: total of each unit, such as money. Shape ``(n,)``.
        denominator: total of each unit, such as orders. Shape ``(n,)``.
        ratio: what the ratio is measured from, in units of numerator per denominator.
        mean: mean denominator per unit, > 0.

    Raises:
        InvalidValueError: if ``mean`` is not positive.

    Source:
        Budylin et al. (2018), Consistent transformation of ratio metrics,
        doi:10.1145/3159652.3159699; scaled to the unit of the ratio.
    """
    check_number("mean of the denominator", mean, above=0)
    value: Vector = (numerator - ratio * denominator) / mean + ratio
    return value


def linearise_arms(
    numerator: Vector,
    denominator: Vector,
    treated: Booleans,
    kind: Linearisation,
    empty: Empty = np.empty,
) -> Vector:
    """Linearise two arms; the difference in means estimates the difference of the ratios.

    Args:
        numerator: total of each unit. Shape ``(n,)``.
        denominator: total of each unit, each arm's sum > 0. Shape ``(n,)``.
        treated: which units are treated. Shape ``(n,)``.
        kind: ``"delta"``: around each arm's own ratio, so that the difference in means and
            its variance are exactly those of the delta method. ``"pooled"``: around the
            ratio of both arms, for estimators that bound outliers: an outlier in it moves
            both arms alike. ``"control"``: around the control's ratio, divided by the
            treated arm's mean. The difference in means is exact by all three.
        empty: makes the array that is returned.

    Raises:
        InvalidValueError: if ``kind`` is unknown, or the denominator of an arm is 0.
    """
    check_linearisation(kind)
    sums = np.zeros((2, 3))  # control and treated: rows, numerator, denominator
    for part in PARTS.of(len(numerator)):
        for arm, rows in enumerate((~treated[part], treated[part])):
            above, below = numerator[part][rows], denominator[part][rows]
            sums[arm] += len(above), float(above.sum()), float(below.sum())
    ratios = [ratio_of(above, below) for _, above, below in sums.tolist()]
    means = (sums[:, 2] / sums[:, 0]).tolist()
    if kind == "control":
        ratios[1], means[0] = ratios[0], means[1]
    if kind == "pooled":
        ratios = [float(sums[:, 1].sum() / sums[:, 2].sum())] * 2
    value: Vector = empty(len(numerator))
    for part in PARTS.of(len(numerator)):
        zero, one = (
            linearise(numerator[part], denominator[part], ratio=ratio, mean=mean)
            for ratio, mean in zip(ratios, means, strict=True)
        )
        value[part] = np.where(treated[part], one, zero)
    return value


def ratio_of(numerator: float, denominator: float) -> float:
    """Return the ratio of two sums over an arm, or over all of them.

    Raises:
        InvalidValueError: if the denominator is not positive.
    """
    if not denominator > 0:
        raise InvalidValueError(
            f"denominator must sum to more than 0 in every arm, got {denominator:g}; there is no "
            "ratio."
        )
    return numerator / denominator
