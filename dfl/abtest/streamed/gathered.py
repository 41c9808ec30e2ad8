"""`Gathered`: what one pass over the blocks of an experiment leaves."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, final

import numpy as np

from dfl.abtest.streamed.clusters import Clusters
from dfl.abtest.streamed.kept import Block, Keeper, KeptRows, label_order
from dfl.abtest.streamed.past import Past
from dfl.errors import DflError, InvalidValueError
from dfl.stats.moments import Moments
from dfl.stats.soundness import Soundness

__all__ = ["Gathered"]


@final
@dataclass(frozen=True, eq=False)
class Gathered:
    """Sums over the rows, and the rows themselves if they are needed.

    Args:
        sums: metric and arm to the moments of numerator, denominator and covariates.
        past: arm to what is known of its covariates.
        rows: metric to the rows with it, on disk; empty if they were not kept.
        failed: metric that cannot be read, and is not among the others, to the reason.
    """

    sums: Mapping[str, Mapping[str, Moments]]
    past: Mapping[str, Past]
    rows: Mapping[str, KeptRows]
    failed: Mapping[str, DflError]

    @classmethod
    def of(cls, blocks: Iterable[Block], *, keep: bool) -> Self:
        """Look at every block once.

        Args:
            blocks: all rows.
            keep: whether rows are kept in any case; those of clusters and segments always are.

        Raises:
            InvalidValueError: if there is no row or metric.
            DflError: the first that a metric failed by, if all of them did.
            WriteError: if there is no room for the rows.
        """
        sums: dict[str, dict[str, Moments]] = {}
        past: dict[str, Past] = {}
        watch = _Watch()
        with ExitStack() as files:
            keeper = Keeper(files)
            for given in blocks:
                block = watch.sound(given)
                if keep or block.clusters is not None or block.segments is not None:
                    keeper.add(block)
                for place, arm in enumerate(block.arms):
                    covariates = block.covariates[block.treatment == place]
                    past.setdefault(arm, Past(covariates.shape[1])).add(covariates)
                for metric, own in _moments(block).items():
                    known = sums.setdefault(metric, {})
                    for arm, one in own.items():
                        known[arm] = Moments.merged([known[arm], one]) if arm in known else one
            rows = keeper.kept()
        failed = watch.failed()
        sums = {metric: own for metric, own in sums.items() if metric not in failed}
        if not sums:
            nothing = InvalidValueError("there must be rows and a metric, got none.")
            first_failure = next(iter(failed.values()), nothing)
            raise first_failure
        arms = sorted(past, key=label_order)
        return cls(
            sums={metric: {arm: own[arm] for arm in arms} for metric, own in sums.items()},
            past=past,
            rows={metric: own for metric, own in rows.items() if metric in sums},
            failed=failed,
        )

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of rows in each arm."""
        return {arm: one.rows for arm, one in next(iter(self.sums.values())).items()}

    def ratio(self, metric: str) -> bool:
        """Say whether a metric has a denominator."""
        columns = next(iter(self.past.values())).kept.shape[1]
        return len(next(iter(self.sums[metric].values())).mean) == columns + 2

    @property
    def units(self) -> Mapping[str, int]:
        """Number of what was randomised in each arm: clusters, or else rows."""
        counts = self.counts
        if self.clusters is None:
            return counts
        return {arm: int(np.count_nonzero(self.clusters.members(arm))) for arm in counts}

    @cached_property
    def clusters(self) -> Clusters | None:
        """What was randomised, or None where rows were.

        Raises:
            InvalidValueError: if a cluster lies in two arms.
        """
        if not self.rows:
            return None
        rows = next(iter(self.rows.values()))
        return None if rows.clusters is None else Clusters.of(rows.arms, rows.codes, rows.clusters)


@final
class _Watch:
    """Keeps metrics that cannot be read from stopping the others."""

    def __init__(self) -> None:
        self._seen: dict[str, Soundness] = {}
        self._failed: dict[str, DflError] = {}

    def sound(self, block: Block) -> Block:
        """Return a block without the metrics that no sum can be made of any more."""
        for metric, reason in block.failed.items():
            self._failed.setdefault(metric, reason)
        for metric, columns in block.metrics.items():
            own = Soundness.of(*columns)
            self._seen[metric] = self._seen[metric].joined(own) if metric in self._seen else own
        left = {
            metric: columns
            for metric, columns in block.metrics.items()
            if metric not in self._failed and self._seen[metric].finite
        }
        return replace(block, metrics=left)

    def failed(self) -> dict[str, DflError]:
        """Return the metrics that cannot be read, and why."""
        found = dict(self._failed)
        for metric, seen in self._seen.items():
            fault = seen.fault()
            if fault is not None:
                found.setdefault(metric, fault)
        return found


def _moments(block: Block) -> dict[str, dict[str, Moments]]:
    found = {}
    for metric, (above, below) in block.metrics.items():
        columns = [above, *([] if below is None else [below]), *block.covariates.T]
        values = np.stack(columns, axis=1)
        found[metric] = {
            arm: Moments.of(values[block.treatment == place])
            for place, arm in enumerate(block.arms)
        }
    return found
