"""`Experiment`: who was given what, and what came of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, final

import numpy as np

from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.rows.contrast import Contrast, Linearisation, linearise, linearise_arms, ratio_of
from dfl.errors import InvalidValueError, ShapeError
from dfl.stats.arrays import (
    Booleans,
    Integers,
    Labels,
    Matrix,
    Vector,
    label_values,
    labels,
    matrix,
    vector,
)
from dfl.stats.soundness import Soundness

__all__ = ["Columns", "Experiment", "is_share"]

_READERS: Mapping[str, Callable[[str, Any, int], Any]] = {
    "treatment": labels,
    "denominator": vector,
    "covariates": matrix,
    "prediction": vector,
    "clusters": labels,
    "segments": labels,
}


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Columns:
    """The columns of an `Experiment` as arrays, all of one length and without gaps."""

    treatment: Labels
    metric: Vector
    denominator: Vector | None
    covariates: Matrix | None
    prediction: Vector | None
    clusters: Labels | None
    segments: Labels | None

    @classmethod
    def of(cls, given: "Experiment") -> "Columns":
        """Read columns in any form that numpy does, such as lists or columns of pandas.

        Raises:
            ShapeError: if shapes do not agree.
            DTypeError: if a column that must hold numbers holds none.
            InvalidValueError: if a value is missing or infinite.
        """
        metric = vector("metric", given.metric)
        columns = {name: getattr(given, name) for name in _READERS}
        read: dict[str, Any] = {
            name: None if column is None else _READERS[name](name, column, len(metric))
            for name, column in columns.items()
        }
        return cls(metric=metric, **read)

    def only(self, rows: Booleans) -> dict[str, Any]:
        """Return some of the rows of every column, by name."""
        columns = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: None if one is None else one[rows] for name, one in columns.items()}


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Experiment:
    """The rows of a randomised experiment, checked.

    Args:
        treatment: arm of each row; numbers or names, at least two different. Shape ``(n,)``.
        metric: what is compared, or the numerator of a ratio; finite. Shape ``(n,)``.
        denominator: for a ratio metric, >= 0, same events as the metric. Shape ``(n,)``.
        covariates: numbers known before the experiment, finite. Shape ``(n, p)``.
        names: of the covariates, for messages; empty: their positions.
        prediction: of the metric from covariates, by a model that saw neither these rows'
            metric nor their treatment. Shape ``(n,)``. See `with_prediction`.
        clusters: what was randomised, such as a user, where rows are less, such as sessions.
            Numbers or names. Shape ``(n,)``.
        segments: groups of rows, known before the experiment, to be read apart. Shape
            ``(n,)``.
        control: label of the control arm; None: 0, False or "control" if an arm is so called.
        shares: planned share of each arm, by label, any positive scale; None: equal shares.

    Raises:
        ShapeError: if shapes do not agree.
        DTypeError: if a column that must hold numbers holds none.
        InvalidValueError: if there are less than two arms, the control or a planned arm has no
            row, a value is NaN or infinite, the metric is constant, denominators are negative
            or 0, a cluster lies in two arms, or labels are of several kinds.
    """

    treatment: Labels
    metric: Vector
    denominator: Vector | None = None
    covariates: Matrix | None = None
    names: tuple[str, ...] = ()
    prediction: Vector | None = None
    clusters: Labels | None = None
    segments: Labels | None = None
    control: object = None
    shares: Mapping[Any, float] | None = None

    def __post_init__(self) -> None:
        """Check the columns."""
        _check_arms(self.arms, self.control_arm, self.shares)
        fault = Soundness.of(self.columns.metric, self.columns.denominator).fault()
        if fault is not None:
            raise fault
        covariates = self.columns.covariates
        if covariates is not None and len(self.names) not in {0, covariates.shape[1]}:
            raise ShapeError(
                f"names must name the {covariates.shape[1]} covariates, got {len(self.names)}."
            )
        self._check_clusters()

    @cached_property
    def columns(self) -> Columns:
        """What was given, as arrays."""
        return Columns.of(self)

    def _check_clusters(self) -> None:
        if self.clusters is None:
            return
        wrong = int((self.unit_arms[self.cluster_of_rows] != self.arm_of_rows).sum())
        if wrong:
            raise InvalidValueError(
                f"clusters must lie in one arm each, {wrong} rows are in another arm than the "
                "rest of their cluster; clusters are what was randomised."
            )

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.columns.metric.shape[0])

    @cached_property
    def _coded(self) -> tuple[Labels, Integers]:
        names, codes = np.unique(self.columns.treatment, return_inverse=True)
        return names, codes.astype(np.int64)

    @property
    def arms(self) -> tuple[Any, ...]:
        """Labels of the arms, sorted."""
        return tuple(label_values(self._coded[0]))

    @property
    def arm_of_rows(self) -> Integers:
        """Position in ``arms`` of each row's arm. Shape ``(n,)``."""
        return self._coded[1]

    @property
    def control_arm(self) -> Any:
        """Label of the control.

        Raises:
            InvalidValueError: if no arm has that label.
        """
        wanted = (0, "control", "0", "False") if self.control is None else (self.control,)
        for arm in self.arms:
            if arm in wanted:
                return arm
        said = "0, False or 'control'" if self.control is None else repr(self.control)
        raise InvalidValueError(
            f"control must be one of the arms, no row is in {said}; the arms are "
            f"{list(self.arms)}. Name the control, or look for its rows."
        )

    @property
    def treated_arms(self) -> tuple[Any, ...]:
        """Labels of all arms but the control."""
        return tuple(arm for arm in self.arms if arm != self.control_arm)

    @cached_property
    def cluster_of_rows(self) -> Integers:
        """Number of each row's cluster; its own number where there are none. Shape ``(n,)``."""
        clusters = self.columns.clusters
        if clusters is None:
            return np.arange(len(self))
        number: Integers = np.unique(clusters, return_inverse=True)[1].astype(np.int64)
        return number

    @cached_property
    def unit_arms(self) -> Integers:
        """Position in ``arms`` of each randomised unit: a cluster, or else a row."""
        arms = np.zeros(int(self.cluster_of_rows.max()) + 1, dtype=np.int64)
        arms[self.cluster_of_rows] = self.arm_of_rows
        return arms

    @property
    def unit_counts(self) -> dict[Any, int]:
        """Number of randomised units in each arm."""
        counts = np.bincount(self.unit_arms, minlength=len(self.arms))
        return dict(zip(self.arms, counts.tolist(), strict=True))

    def covariate_name(self, column: int) -> str:
        """Return the name of a covariate for messages."""
        return self.names[column] if self.names else f"covariate {column}"

    def value_of(self, arm: object) -> float:
        """Return the mean of the metric in an arm, or the ratio."""
        rows = self.arm_of_rows == self.arms.index(arm)
        metric, denominator = self.columns.metric[rows], self.columns.denominator
        if denominator is None:
            return float(metric.mean())
        return float(metric.sum() / denominator[rows].sum())

    def contrast(self, arm: object, linearisation: Linearisation = "delta") -> Contrast:
        """Return the rows of an arm and of the control, one number per row.

        Args:
            arm: label of the arm.
            linearisation: how a ratio becomes one number per row, see `linearise_arms`.

        Raises:
            InvalidValueError: if there is no such arm, the arm or the control has less than 2
                units, or the metric does not vary in these rows.
        """
        if arm not in self.treated_arms:
            raise InvalidValueError(f"arm must be one of {list(self.treated_arms)}, got {arm!r}.")
        treated = self.arm_of_rows == self.arms.index(arm)
        if len(self.arms) == 2:
            return self._contrast(treated, linearisation)
        both = treated | (self.arm_of_rows == self.arms.index(self.control_arm))
        return self.only(both)._contrast(treated[both], linearisation)

    def _contrast(self, treated: Booleans, linearisation: Linearisation) -> Contrast:
        columns = self.columns
        outcome = columns.metric
        if columns.denominator is not None:
            outcome = linearise_arms(outcome, columns.denominator, treated, linearisation)
        return Contrast(
            treated=treated,
            outcome=outcome,
            covariates=columns.covariates,
            prediction=columns.prediction,
            clusters=None if self.clusters is None else self.cluster_of_rows,
            events=columns.denominator if linearisation == "delta" else None,
        )

    def with_prediction(self, cross_fit: CrossFit | None = None) -> "Experiment":
        """Return the experiment with a prediction, cross-fitted once for all arms.

        A ratio is predicted as one number per row, linearised around the ratio of all arms.

        Args:
            cross_fit: how; None: two folds of histogram gradient boosting.

        Raises:
            InvalidValueError: if there are no covariates, or no denominator is above 0.
        """
        columns = self.columns
        if columns.covariates is None:
            raise InvalidValueError("covariates must be given to make a prediction from them.")
        label = columns.metric
        if columns.denominator is not None:
            below = columns.denominator
            ratio = ratio_of(float(label.sum()), float(below.sum()))
            label = linearise(label, below, ratio=ratio, mean=float(below.mean()))
        clusters = None if self.clusters is None else self.cluster_of_rows
        done = (cross_fit or CrossFit()).predict(columns.covariates, label, clusters=clusters)
        return replace(self, prediction=done)

    def only(self, rows: Booleans) -> "Experiment":
        """Return an experiment of some of the rows; planned shares of absent arms go.

        Args:
            rows: which rows. Shape ``(n,)``.

        Raises:
            InvalidValueError: if what is left is no experiment.
        """
        kept = self.columns.only(rows)
        present = set(label_values(np.unique(kept["treatment"])))
        shares = self.shares
        if shares is not None:
            shares = {arm: share for arm, share in shares.items() if arm in present}
        return replace(self, **kept, control=self.control_arm, shares=shares)

    def relabelled(self, rows: Booleans, treatment: Labels) -> "Experiment":
        """Return an experiment of some of the rows with other arms; 0 is the control.

        Args:
            rows: which rows. Shape ``(n,)``.
            treatment: new arm of each of these rows.

        Raises:
            InvalidValueError: if that is no experiment.
        """
        changed = self.columns.only(rows) | {"treatment": treatment}
        return replace(self, **changed, control=0, shares=None)

    def by_segment(self) -> Iterator[tuple[Any, "Experiment"]]:
        """Yield the label and the rows of each segment, by label.

        Raises:
            InvalidValueError: if there are no segments, or one is no experiment.
        """
        for segment in self.segment_labels:
            yield segment, self.segment(segment)

    @property
    def segment_labels(self) -> tuple[Any, ...]:
        """Labels of the segments, sorted.

        Raises:
            InvalidValueError: if there are no segments.
        """
        if self.columns.segments is None:
            raise InvalidValueError("segments must be given to read them apart.")
        return tuple(label_values(np.unique(self.columns.segments)))

    def segment(self, label: object) -> "Experiment":
        """Return the rows of one segment.

        Raises:
            InvalidValueError: if they are no experiment.
        """
        rows: Booleans = np.asarray(self.columns.segments == label, dtype=np.bool_)
        return replace(self.only(rows), segments=None)


def is_share(value: Any) -> bool:
    """Say whether a value is a planned share: a number above 0, and finite."""
    try:
        return hasattr(value, "__float__") and 0 < float(value) < np.inf
    except (OverflowError, ValueError):  # a Fraction beyond floats, a Decimal that is none
        return False


def _check_arms(arms: tuple[Any, ...], control: object, shares: Mapping[Any, float] | None) -> None:
    """Refuse an experiment without two arms, or with an arm that has no rows."""
    if len(arms) < 2:
        raise InvalidValueError(
            f"treatment must hold at least two arms, got only {control!r}; an arm is empty."
        )
    if shares is None:
        return
    if not all(map(is_share, shares.values())):
        raise InvalidValueError(f"shares must be positive and finite, got {dict(shares)}.")
    empty = [arm for arm in shares if arm not in arms]
    if empty:
        raise InvalidValueError(
            f"every planned arm must have rows, {empty} are empty; the arms are {list(arms)}."
        )
    unplanned = [arm for arm in arms if arm not in shares]
    if unplanned:
        raise InvalidValueError(
            f"shares must name every arm, {unplanned} are missing; leave their rows out or plan "
            "them."
        )
