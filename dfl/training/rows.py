"""`RowPool`: training rows of one or many data sets, drawn in batches for many networks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.errors import DataError
from dfl.losses.base import LoggedBatch
from dfl.models.standardisation import Scaling
from dfl.scale import STREAMED

__all__ = ["Batch", "RowPool", "rows_at"]


@final
@dataclass(frozen=True, eq=False)
class RowPool:
    """All data sets' rows end to end in one table, in memory once.

    Args:
        features: standardised per data set. Shape ``(R, F)``.
        treatment, revenue, cost: columns, in currency where money. Shape ``(R,)``.
        weight: inverse propensity of the treatment received, or None where the propensity of
            some rows is not known. Shape ``(R,)``.
        logged: True for observational rows. Shape ``(R,)``.
        outcome: revenue and cost in network units. Shape ``(R, 2)``.
        start, length: where each data set's rows begin and how many there are.
        baseline: revenue and cost of every treatment as predicted by networks that did not
            learn from the row, in currency, or None. Shape ``(R, 2, M)``.
    """

    features: Tensor
    treatment: Tensor
    revenue: Tensor
    cost: Tensor
    weight: Tensor | None
    logged: Tensor
    outcome: Tensor
    start: tuple[int, ...]
    length: tuple[int, ...]
    baseline: Tensor | None = None

    @staticmethod
    def of(data: Sequence[Sequence[UpliftData]], scalings: Sequence[Scaling]) -> "RowPool":
        """Build the table; ``data[s]`` are the parts of data set s, put end to end."""
        length = tuple(sum(len(part) for part in parts) for parts in data)
        start = tuple(sum(length[:index]) for index in range(len(length)))
        paired = [(part, s) for parts, s in zip(data, scalings, strict=True) for part in parts]
        rows = [part for part, _ in paired]
        known = all(part.source == "rct" or part.propensity is not None for part in rows)
        return RowPool(
            features=torch.cat([s.standardise(part.features) for part, s in paired]),
            treatment=torch.cat([part.treatment for part in rows]),
            revenue=torch.cat([part.revenue for part in rows]),
            cost=torch.cat([part.cost for part in rows]),
            weight=torch.cat([part.weight for part in rows]) if known else None,
            logged=torch.cat(
                [torch.full_like(part.treatment, part.source == "obs").bool() for part in rows]
            ),
            outcome=torch.cat([s.outcomes(part.revenue, part.cost) for part, s in paired]),
            start=start,
            length=length,
        )

    def take(self, index: Tensor) -> "Batch":
        """Return the rows ``index``, shape ``(K, B)``."""
        return Batch(self, index)

    def epoch(
        self,
        dataset: Sequence[int],
        generators: Sequence[torch.Generator],
        *,
        batch_size: int,
        min_steps: int = 1,
    ) -> Iterator["Batch"]:
        """Yield one pass over the rows in batches, shuffled for each network on its own.

        All networks take the same number of steps: enough for the largest data set to be
        seen once, and at least ``min_steps``. A smaller set starts over in a new order. The
        last batch is as large as the others, so a few rows of a pass can be left out.

        Args:
            dataset: data set of each network. Length K.
            generators: randomness of each network. Length K.
            batch_size: rows per network and step; at most the smallest data set is taken.
            min_steps: steps at least.
        """
        sizes = [self.length[index] for index in dataset]
        batch_size = min(batch_size, *sizes)
        steps = self.steps(dataset, batch_size=batch_size, min_steps=min_steps)
        order = torch.stack(
            [
                self.start[index] + _shuffled(self.length[index], steps * batch_size, generator)
                for index, generator in zip(dataset, generators, strict=True)
            ]
        ).to(self.treatment.device)
        for step in range(steps):
            yield self.take(order[:, step * batch_size : (step + 1) * batch_size])

    def steps(self, dataset: Sequence[int], *, batch_size: int, min_steps: int) -> int:
        """Return the number of batches that `epoch` yields."""
        sizes = [self.length[index] for index in dataset]
        return max(max(sizes) // min(batch_size, *sizes), min_steps)

    def chunks(self, dataset: int) -> Iterator[slice]:
        """Yield the rows of one data set as slices that are predicted at once."""
        start = self.start[dataset]
        for rows in STREAMED.of(self.length[dataset]):
            yield slice(start + rows.start, start + rows.stop)


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Rows for K networks, each network its own; columns are gathered when asked for.

    Args:
        pool: the table.
        index: positions in it. Shape ``(K, B)``.
    """

    pool: RowPool
    index: Tensor

    @cached_property
    def features(self) -> Tensor:
        """Standardised features. Shape ``(K, B, F)``."""
        return rows_at(self.pool.features, self.index)

    @cached_property
    def treatment(self) -> Tensor:
        """Treatment received. Shape ``(K, B)``."""
        return rows_at(self.pool.treatment, self.index)

    @cached_property
    def outcome(self) -> Tensor:
        """Revenue and cost in network units. Shape ``(K, B, 2)``."""
        return rows_at(self.pool.outcome, self.index)

    @cached_property
    def from_logs(self) -> Tensor:
        """True for observational rows. Shape ``(K, B)``."""
        return rows_at(self.pool.logged, self.index)

    @cached_property
    def logged(self) -> LoggedBatch:
        """The rows in currency, as decision losses take them. Tensors ``(K, B)``.

        Raises:
            DataError: if the propensity of some rows of the pool is not known.
        """
        pool = self.pool
        if pool.weight is None:
            raise DataError(
                "a policy is valued on rows whose propensity is known; these hold observational "
                "rows without one. Use randomised rows, or give their propensity."
            )
        columns = (pool.treatment, pool.revenue, pool.cost, pool.weight)
        logged = LoggedBatch(*(rows_at(column, self.index) for column in columns))
        if pool.baseline is None:
            return logged
        revenue, cost = rows_at(pool.baseline, self.index).unbind(dim=-2)
        return replace(logged, baseline_revenue=revenue, baseline_cost=cost)


def rows_at(table: Tensor, index: Tensor) -> Tensor:
    """Return ``table[index]``, ``(K, B, ...)``: several times as fast as indexing with a matrix.

    Args:
        table: shape ``(R, ...)``.
        index: shape ``(K, B)``.
    """
    return table.index_select(0, index.flatten()).reshape(*index.shape, *table.shape[1:])


def _shuffled(rows: int, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` row numbers: whole permutations end to end, the last one cut."""
    repeats = -(-count // rows)
    return torch.cat([torch.randperm(rows, generator=generator) for _ in range(repeats)])[:count]
