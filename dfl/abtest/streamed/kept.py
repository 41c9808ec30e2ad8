"""`KeptRows`: rows of an experiment in temporary files, of which contrasts are made."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from typing import Any, Self, final

import numpy as np

from dfl.abtest.checks.aa import splits
from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.rows.contrast import Contrast, Linearisation, linearise, linearise_arms, ratio_of
from dfl.errors import DflError, WriteError
from dfl.scale import PARTS, no_room, on_disk
from dfl.stats.arrays import Booleans, Counts, Integers, Matrix, Vector

__all__ = ["Block", "Keeper", "KeptRows", "label_order"]

_COLUMNS = ("codes", "above", "below", "covariates", "prediction", "clusters", "segment_codes")


@final
@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of an experiment.

    Args:
        arms: labels, as text.
        treatment: place of each row's arm in ``arms``. Whole numbers, ``(n,)``.
        metrics: name to its numerator, and its denominator or None, ``(n,)``. One whose numbers
            are not finite, or make no ratio, is refused by its name.
        covariates: known before the experiment, finite. Shape ``(n, p)``.
        clusters: number of what was randomised, the same in every block, 0, 1, ... without
            gaps over all of them; None: each row was. Shape ``(n,)``.
        segments: labels, as text, of groups to be read apart, and the place of each row's among
            them, ``(n,)``; None: there are none.
        failed: name of a metric that cannot be read in these rows to the reason.
    """

    arms: Sequence[str]
    treatment: Integers
    metrics: Mapping[str, tuple[Vector, Vector | None]]
    covariates: Matrix
    clusters: Integers | None = None
    segments: tuple[Sequence[str], Integers] | None = None
    failed: Mapping[str, DflError] = field(default_factory=dict)


@final
class Keeper:
    """Writes the columns of blocks into temporary files.

    Args:
        files: closes them at its end; arrays that were made of them stay.
    """

    def __init__(self, files: ExitStack) -> None:
        self._files = files
        self._arms: list[str] = []
        self._segments: list[str] = []
        self._columns: dict[tuple[str | None, str], _Column] = {}

    def add(self, block: Block) -> None:
        """Write a block.

        Raises:
            WriteError: if there is no room for it.
        """
        self._write(None, "codes", _codes(self._arms, block.arms, np.int16)[block.treatment])
        if block.segments is not None:
            labels, places = block.segments
            self._write(None, "segment_codes", _codes(self._segments, labels, np.int32)[places])
        if block.covariates.shape[1]:
            self._write(None, "covariates", block.covariates)
        if block.clusters is not None:
            self._write(None, "clusters", block.clusters)
        for metric, (above, below) in block.metrics.items():
            self._write(metric, "above", above)
            if below is not None:
                self._write(metric, "below", below)

    def kept(self) -> "dict[str, KeptRows]":
        """Return all rows, by metric."""
        arrays = {place: column.array() for place, column in self._columns.items()}
        shared = {name: array for (metric, name), array in arrays.items() if metric is None}
        found: dict[str, KeptRows] = {}
        for metric, _ in arrays:
            if metric is not None:
                own = {name: array for (of, name), array in arrays.items() if of == metric}
                segments = tuple(self._segments)
                found[metric] = KeptRows(tuple(self._arms), segments=segments, **shared, **own)
        return found

    def _write(self, metric: str | None, name: str, values: Any) -> None:
        if (metric, name) not in self._columns:
            self._columns[metric, name] = _Column(values, self._files)
        self._columns[metric, name].add(values)


def _codes(known: list[str], labels: Sequence[str], dtype: Any) -> Counts:
    """Add the labels that are new; return the place of each one."""
    places = {label: place for place, label in enumerate(known)}
    for label in labels:
        if label not in places:
            places[label] = len(known)
            known.append(label)
    return np.array([places[label] for label in labels], dtype)


@final
class _Column:
    """A temporary file that rows are added to; like the first in their type and shape."""

    def __init__(self, like: Any, files: ExitStack) -> None:
        self._dtype, self._shape, self._rows = like.dtype, like.shape[1:], 0
        try:
            temporary = tempfile.TemporaryFile()  # noqa: SIM115  # the stack closes it
        except OSError as error:
            raise WriteError(no_room(like.nbytes, error)) from error
        self._file = files.enter_context(temporary)

    def add(self, values: Any) -> None:
        try:
            self._file.write(np.ascontiguousarray(values, self._dtype).data)
            self._file.flush()
        except OSError as error:
            raise WriteError(no_room(values.nbytes, error)) from error
        self._rows += len(values)

    def array(self) -> Any:
        shape = (self._rows, *self._shape)
        if not self._rows:
            return np.empty(shape, self._dtype)
        # One that can be written, or numpy.bincount takes a copy.
        return np.asarray(np.memmap(self._file, self._dtype, mode="r+", shape=shape))


@final
@dataclass(frozen=True, eq=False)
class KeptRows:
    """Rows of an experiment with one metric, all columns on disk.

    Args:
        arms: labels, as text.
        codes: place of each row's arm in ``arms``. Shape ``(n,)``.
        above: the metric, or the numerator of a ratio. Shape ``(n,)``.
        below: its denominator, or None. Shape ``(n,)``.
        covariates: known before the experiment. Shape ``(n, p)``, or None.
        prediction: of the metric from the covariates. Shape ``(n,)``, or None.
        clusters: number of what was randomised, or None for the rows. Shape ``(n,)``.
        segments: labels of groups to be read apart, as text.
        segment_codes: place of each row's segment in ``segments``, or None. Shape ``(n,)``.
    """

    arms: tuple[str, ...]
    codes: Counts
    above: Vector
    below: Vector | None = None
    covariates: Matrix | None = None
    prediction: Vector | None = None
    clusters: Integers | None = None
    segments: tuple[str, ...] = ()
    segment_codes: Counts | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.above)

    @property
    def present_arms(self) -> tuple[str, ...]:
        """Labels of the arms that have rows, whole numbers first."""
        codes = np.zeros(len(self.arms), np.int64)
        for part in PARTS.of(self.rows):
            codes += np.bincount(self.codes[part], minlength=len(self.arms))
        found = [arm for arm, count in zip(self.arms, codes.tolist(), strict=True) if count]
        return tuple(sorted(found, key=label_order))

    def value_of(self, arm: str) -> float:
        """Return the mean of the metric in an arm, or the ratio."""
        above = below = 0.0
        for part in PARTS.of(self.rows):
            own = self.codes[part] == self.arms.index(arm)
            above += float(self.above[part][own].sum())
            below += float(own.sum() if self.below is None else self.below[part][own].sum())
        return above / below

    def with_prediction(self, cross_fit: CrossFit) -> Self:
        """Return the rows with a prediction, as `Experiment.with_prediction` makes it.

        Without one where it cannot be made; estimators that need one will say so.

        Raises:
            WriteError: if there is no room for it.
        """
        if self.covariates is None:
            return self
        try:
            label = self._one_number_per_row()
            done = cross_fit.predict(self.covariates, label, clusters=self.clusters, empty=on_disk)
        except WriteError:
            raise
        except DflError:
            return self
        return replace(self, prediction=done)

    def _one_number_per_row(self) -> Vector:
        """Return the metric; a ratio linearised around that of all arms."""
        if self.below is None:
            return self.above
        ratio = ratio_of(float(self.above.sum()), float(self.below.sum()))
        mean = float(self.below.mean())
        label: Vector = on_disk(self.rows)
        for part in PARTS.of(self.rows):
            label[part] = linearise(self.above[part], self.below[part], ratio=ratio, mean=mean)
        return label

    def only(self, *arms: str) -> Self:
        """Return the rows of some arms, in their order; clusters are numbered without gaps."""
        wanted = [self.arms.index(arm) for arm in arms]
        if len(arms) == len(self.arms):
            return self
        rows = sum(int(np.isin(self.codes[part], wanted).sum()) for part in PARTS.of(self.rows))

        def picked(column: Any) -> Any:
            found, start = on_disk((rows, *column.shape[1:]), column.dtype), 0
            for part in PARTS.of(self.rows):
                own = column[part][np.isin(self.codes[part], wanted)]
                found[start : start + len(own)] = own
                start += len(own)
            return found

        return self._mapped(picked)._renumbered()

    def by_segment(self) -> Iterator[tuple[str, Self]]:
        """Yield the label and the rows of each segment, whole numbers first, by label.

        Rows are put in the order of their segments once, keeping their own within; clusters are
        numbered without gaps.
        """
        if self.segment_codes is None:
            return
        kinds = len(self.segments)
        counts = np.zeros(kinds, np.int64)
        for part in PARTS.of(self.rows):
            counts += np.bincount(self.segment_codes[part], minlength=kinds)
        ends = counts.cumsum()
        free, place = ends - counts, on_disk(self.rows, np.int64)
        for part in PARTS.of(self.rows):
            codes = self.segment_codes[part]
            own = np.bincount(codes, minlength=kinds)
            order = codes.argsort(kind="stable")
            before = np.repeat(free - (own.cumsum() - own), own)
            place[part][order] = before + np.arange(len(codes))
            free += own

        def moved(column: Any) -> Any:
            found = on_disk(column.shape, column.dtype)
            for part in PARTS.of(self.rows):
                found[place[part]] = column[part]
            return found

        whole = replace(self, segments=(), segment_codes=None)._mapped(moved)
        for code in sorted(range(kinds), key=lambda code: label_order(self.segments[code])):
            there = slice(ends[code] - counts[code], ends[code])
            yield self.segments[code], whole._mapped(itemgetter(there))._renumbered()

    def _mapped(self, change: Callable[[Any], Any]) -> Self:
        """Return the rows with every column changed that is there."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        there = {name: one for name, one in columns.items() if one is not None}
        return replace(self, **{name: change(one) for name, one in there.items()})

    def _renumbered(self) -> Self:
        if self.clusters is None:
            return self
        number = np.cumsum(np.bincount(self.clusters) > 0) - 1
        clusters = on_disk(self.rows, np.int64)
        for part in PARTS.of(self.rows):
            clusters[part] = number[self.clusters[part]]
        return replace(self, clusters=clusters)

    def against(self, arm: str, linearisation: Linearisation) -> Contrast:
        """Return the contrast of an arm and the other one that is left."""
        treated = on_disk(self.rows, np.bool_)
        np.equal(self.codes, self.arms.index(arm), out=treated)
        return self._contrast(treated, linearisation)

    def split(
        self, smallest: int, linearisation: Linearisation, *, runs: int, seed: int
    ) -> Iterator[Callable[[], Contrast]]:
        """Yield what makes contrasts of the control's rows, some of its units called treated.

        Args:
            smallest: units of the smallest arm.
            linearisation: how a ratio becomes one number per row.
            runs: number of splits, >= 2.
            seed: of the splits.

        Raises:
            InvalidValueError: if an argument is out of range; by a call, if there is no contrast.
        """
        units = self.rows if self.clusters is None else int(self.clusters.max()) + 1
        for split in splits(units, smallest, runs=runs, seed=seed):
            treated: Booleans = on_disk(self.rows, np.bool_)
            if self.clusters is None:
                start = 0
                for one in split:
                    treated[start : start + len(one)] = one
                    start += len(one)
            else:
                of_units = np.concatenate([*split])
                for part in PARTS.of(self.rows):
                    treated[part] = of_units[self.clusters[part]]
            yield partial(self._contrast, treated, linearisation)

    def _contrast(self, treated: Booleans, linearisation: Linearisation) -> Contrast:
        outcome = self.above
        if self.below is not None:
            outcome = linearise_arms(outcome, self.below, treated, linearisation, on_disk)
        return Contrast(
            treated=treated,
            outcome=outcome,
            covariates=self.covariates,
            prediction=self.prediction,
            clusters=self.clusters,
            events=self.below if linearisation == "delta" else None,
            empty=on_disk,
        )


def label_order(label: str) -> tuple[bool, int, str]:
    """Return what labels are sorted by: whole numbers by their size, the rest by the alphabet."""
    whole = label.removeprefix("-").isdecimal()
    return not whole, int(label) if whole else 0, label
