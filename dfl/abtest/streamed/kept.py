"""`KeptRows`: rows of an experiment in temporary files, of which contrasts are made."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Self, final

import numpy as np

from dfl.abtest.checks.aa import splits
from dfl.abtest.regression.cross_fit import CrossFit
from dfl.abtest.rows.contrast import Contrast, Linearisation, linearise, linearise_arms
from dfl.errors import DflError, WriteError
from dfl.scale import PARTS, no_room, on_disk
from dfl.stats.arrays import Booleans, Counts, Integers, Matrix, Vector

__all__ = ["Block", "Keeper", "KeptRows"]


@final
@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of an experiment.

    Args:
        arms: labels, as text.
        treatment: place of each row's arm in ``arms``. Whole numbers, ``(n,)``.
        metrics: name to its numerator, and its denominator or None, each finite, ``(n,)``.
        covariates: known before the experiment, finite. Shape ``(n, p)``.
        clusters: number of what was randomised, the same in every block, 0, 1, ... without
            gaps over all of them; None: each row was. Shape ``(n,)``.
    """

    arms: Sequence[str]
    treatment: Integers
    metrics: Mapping[str, tuple[Vector, Vector | None]]
    covariates: Matrix
    clusters: Integers | None = None


@final
class Keeper:
    """Writes the columns of blocks into temporary files.

    Args:
        files: closes them at its end; arrays that were made of them stay.
    """

    def __init__(self, files: ExitStack) -> None:
        self._files = files
        self._arms: list[str] = []
        self._columns: dict[tuple[str | None, str], _Column] = {}

    def add(self, block: Block) -> None:
        """Write a block.

        Raises:
            WriteError: if there is no room for it.
        """
        self._arms += [arm for arm in block.arms if arm not in self._arms]
        place = np.array([*map(self._arms.index, block.arms)], np.int16)
        self._write(None, "codes", place[block.treatment])
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
                found[metric] = KeptRows(tuple(self._arms), **shared, **own)
        return found

    def _write(self, metric: str | None, name: str, values: Any) -> None:
        if (metric, name) not in self._columns:
            self._columns[metric, name] = _Column(values, self._files)
        self._columns[metric, name].add(values)


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
    """

    arms: tuple[str, ...]
    codes: Counts
    above: Vector
    below: Vector | None = None
    covariates: Matrix | None = None
    prediction: Vector | None = None
    clusters: Integers | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.above)

    def with_prediction(self, cross_fit: CrossFit) -> Self:
        """Return the rows with a prediction, as `Experiment.with_prediction` makes it.

        Without one where it cannot be made; estimators that need one will say so.

        Raises:
            WriteError: if there is no room for it.
        """
        if self.covariates is None:
            return self
        label = self.above
        if self.below is not None:
            ratio = float(self.above.sum() / self.below.sum())
            mean, label = float(self.below.mean()), on_disk(self.rows)
            for part in PARTS.of(self.rows):
                label[part] = linearise(self.above[part], self.below[part], ratio=ratio, mean=mean)
        try:
            done = cross_fit.predict(self.covariates, label, clusters=self.clusters, empty=on_disk)
        except WriteError:
            raise
        except DflError:
            return self
        return replace(self, prediction=done)

    def only(self, *arms: str) -> Self:
        """Return the rows of some arms, in their order."""
        wanted = [self.arms.index(arm) for arm in arms]
        if len(arms) == len(self.arms):
            return self
        rows = sum(int(np.isin(self.codes[part], wanted).sum()) for part in PARTS.of(self.rows))

        def picked(column: Any) -> Any:
            if column is None:
                return None
            found, start = on_disk((rows, *column.shape[1:]), column.dtype), 0
            for part in PARTS.of(self.rows):
                own = column[part][np.isin(self.codes[part], wanted)]
                found[start : start + len(own)] = own
                start += len(own)
            return found

        names = ("codes", "above", "below", "covariates", "prediction", "clusters")
        return replace(self, **{name: picked(getattr(self, name)) for name in names})

    def against(self, arm: str, linearisation: Linearisation) -> Contrast:
        """Return the contrast of an arm and the other one that is left."""
        treated = on_disk(self.rows, np.bool_)
        np.equal(self.codes, self.arms.index(arm), out=treated)
        return self._contrast(treated, linearisation)

    def split(
        self, smallest: int, linearisation: Linearisation, *, runs: int, seed: int
    ) -> Iterator[Contrast]:
        """Yield contrasts of the rows of the control, some of its units called treated.

        Args:
            smallest: units of the smallest arm.
            linearisation: how a ratio becomes one number per row.
            runs: number of splits, >= 2.
            seed: of the splits.

        Raises:
            InvalidValueError: if an argument is out of range, or what is left is no contrast.
        """
        rows, units = self, self.rows
        if self.clusters is not None:
            there = np.bincount(self.clusters) > 0
            number = np.cumsum(there) - 1
            clusters = on_disk(self.rows, np.int64)
            for part in PARTS.of(self.rows):
                clusters[part] = number[self.clusters[part]]
            rows, units = replace(self, clusters=clusters), int(there.sum())
        for split in splits(units, smallest, runs=runs, seed=seed):
            treated: Booleans = on_disk(self.rows, np.bool_)
            if rows.clusters is None:
                start = 0
                for one in split:
                    treated[start : start + len(one)] = one
                    start += len(one)
            else:
                of_units = np.concatenate([*split])
                for part in PARTS.of(self.rows):
                    treated[part] = of_units[rows.clusters[part]]
            yield rows._contrast(treated, linearisation)

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
