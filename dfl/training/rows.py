"""`RowPool`: training rows of one or many data sets, drawn in batches for many networks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData, check_every_treatment
from dfl.errors import DataError
from dfl.losses.base import LoggedBatch
from dfl.models.standardisation import Scaling
from dfl.scale import STREAMED, over_ranks, rank_of, rows_apart
from dfl.training.exchange import Exchange

__all__ = ["Batch", "RowPool", "part_of"]


@final
@dataclass(frozen=True, eq=False)
class RowPool:
    """All data sets' rows end to end in one table, in memory once.

    Where each of several processes has rows of its own, the table holds those; batches are drawn
    from the rows of all, and what they read is exchanged.

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
        exchange: brings the rows of the other processes, or None where all rows are here.
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
    exchange: Exchange | None = None

    @staticmethod
    def of(data: Sequence[Sequence[UpliftData]], scalings: Sequence[Scaling]) -> "RowPool":
        """Build the table; ``data[s]`` are the parts of data set s, put end to end.

        Raises:
            InvalidValueError: if no process has rows of some treatment in a part.
        """
        length = tuple(sum(len(part) for part in parts) for parts in data)
        start = tuple(sum(length[:index]) for index in range(len(length)))
        paired = [(part, s) for parts, s in zip(data, scalings, strict=True) for part in parts]
        rows = [part for part, _ in paired]
        known = all(part.source == "rct" or part.propensity is not None for part in rows)
        exchange = None
        if rows_apart():
            for part in rows:
                check_every_treatment(over_ranks(part.arm_counts))
            lengths = [[len(part) for part in parts] for parts in data]
            exchange = Exchange.of(lengths, rows[0].features.device)
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
            exchange=exchange,
        )

    @property
    def total(self) -> tuple[int, ...]:
        """How many rows each data set has, those of all processes."""
        return self.length if self.exchange is None else self.exchange.length

    @property
    def columns(self) -> list[Tensor]:
        """All of the table but the features."""
        given = (self.treatment, self.outcome, self.logged)
        money = () if self.weight is None else (self.revenue, self.cost, self.weight)
        return [*given, *money, *(() if self.baseline is None else (self.baseline,))]

    def take(self, index: Tensor) -> "Batch":
        """Return the rows ``index``, shape ``(K, B)``; every process takes the same."""
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
        total = self.total
        batch_size = min(batch_size, *(total[index] for index in dataset))
        steps = self.steps(dataset, batch_size=batch_size, min_steps=min_steps)
        start, kind = self.start, torch.int64
        if self.exchange is not None:  # beside a part of the rows, numbers of all of them weigh
            start = self.exchange.start
            kind = torch.int32 if sum(total) < 2**31 else kind
        order = torch.stack(
            [
                (start[index] + _shuffled(total[index], steps * batch_size, generator)).to(kind)
                for index, generator in zip(dataset, generators, strict=True)
            ]
        ).to(self.treatment.device)
        for step in range(steps):
            yield self.take(order[:, step * batch_size : (step + 1) * batch_size].long())

    def steps(self, dataset: Sequence[int], *, batch_size: int, min_steps: int) -> int:
        """Return the number of batches that `epoch` yields."""
        sizes = [self.total[index] for index in dataset]
        return max(max(sizes) // min(batch_size, *sizes), min_steps)

    def chunks(self, dataset: int) -> Iterator[slice]:
        """Yield the rows here of one data set as slices that are predicted at once."""
        start = self.start[dataset]
        for rows in STREAMED.of(self.length[dataset]):
            yield slice(start + rows.start, start + rows.stop)


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Rows for K networks, each network its own; columns are gathered when asked for.

    Args:
        pool: the table.
        index: row numbers. Shape ``(K, B)``.
        read: what each process reads of them where rows are exchanged; empty: all of them.
    """

    pool: RowPool
    index: Tensor
    read: tuple[Tensor, ...] = ()
    _came: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    @cached_property
    def own(self) -> "Batch":
        """This process's part of the rows, of which each takes as many as the others."""
        rank, world = rank_of()
        size = self.index.shape[-1]
        parts = tuple(self.index[:, part_of(size, one, world)] for one in range(world))
        if self.pool.exchange is None:
            return Batch(self.pool, parts[rank])
        found = Batch(self.pool, parts[rank], parts)
        found._bring([self.pool.features, *self.pool.columns])
        return found

    def gather(self, table: Tensor) -> Tensor:
        """Return the rows of a table that lies beside the pool's, ``(K, B, ...)``.

        Args:
            table: one entry for each row of the pool here. Shape ``(R, ...)``.
        """
        if self.pool.exchange is None:
            return _rows_at(table, self.index)
        if id(table) not in self._came:
            together = self.pool.columns
            self._bring(together if any(table is one for one in together) else [table])
        return self._came[id(table)][1]

    def _bring(self, tables: list[Tensor]) -> None:
        """Have rows of these tables sent by all who hold them."""
        exchange, shape = self.pool.exchange, self.index.shape
        assert exchange is not None  # the callers have looked
        read = self.read or (self.index,) * exchange.world
        rows = exchange.rows([one.flatten() for one in read], tables)
        for table, came in zip(tables, rows, strict=True):
            self._came[id(table)] = table, came.reshape(*shape, *table.shape[1:])

    @cached_property
    def features(self) -> Tensor:
        """Standardised features. Shape ``(K, B, F)``."""
        return self.gather(self.pool.features)

    @cached_property
    def treatment(self) -> Tensor:
        """Treatment received. Shape ``(K, B)``."""
        return self.gather(self.pool.treatment)

    @cached_property
    def outcome(self) -> Tensor:
        """Revenue and cost in network units. Shape ``(K, B, 2)``."""
        return self.gather(self.pool.outcome)

    @cached_property
    def from_logs(self) -> Tensor:
        """True for observational rows. Shape ``(K, B)``."""
        return self.gather(self.pool.logged)

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
        logged = LoggedBatch(*map(self.gather, columns))
        if pool.baseline is None:
            return logged
        revenue, cost = self.gather(pool.baseline).unbind(dim=-2)
        return replace(logged, baseline_revenue=revenue, baseline_cost=cost)


def part_of(size: int, rank: int, world: int) -> slice:
    """Return which of ``size`` rows one of several processes takes; they differ by one at most."""
    return slice(size * rank // world, size * (rank + 1) // world)


def _rows_at(table: Tensor, index: Tensor) -> Tensor:
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
