"""`RowPool`: training rows of one or many data sets, drawn in batches for many networks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.losses.base import LoggedBatch
from dfl.models.standardisation import Scaling

__all__ = ["Batch", "RowPool", "generator_for"]

_CHUNK = 65_536


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Rows for K networks, each network its own.

    Args:
        index: positions in the pool's table. Shape ``(K, B)``.
        features: standardised. Shape ``(K, B, F)``.
        treatment: ``(K, B)``.
        outcome: revenue and cost in network units. Shape ``(K, B, 2)``.
        logged: the same rows in currency, for decision losses. Tensors ``(K, B)``.
    """

    index: Tensor
    features: Tensor
    treatment: Tensor
    outcome: Tensor
    logged: LoggedBatch


@final
@dataclass(frozen=True, eq=False)
class RowPool:
    """All data sets' rows end to end in one table, in memory once.

    Args:
        features: standardised per data set. Shape ``(R, F)``.
        treatment, revenue, cost, weight: columns, in currency where money. Shape ``(R,)``.
        outcome: revenue and cost in network units. Shape ``(R, 2)``.
        start, length: where each data set's rows begin and how many there are.
        baseline: revenue and cost of every treatment as predicted by networks that did not
            learn from the row, in currency, or None. Shape ``(R, 2, M)``.
    """

    features: Tensor
    treatment: Tensor
    revenue: Tensor
    cost: Tensor
    weight: Tensor
    outcome: Tensor
    start: tuple[int, ...]
    length: tuple[int, ...]
    baseline: Tensor | None = None

    @staticmethod
    def of(data: Sequence[Sequence[UpliftData]], scalings: Sequence[Scaling]) -> "RowPool":
        """Build the table; ``data[s]`` are the parts of data set s, put end to end.

        Observational rows of unknown propensity get weight NaN: no estimator of policy
        value may use them.
        """
        length = tuple(sum(len(part) for part in parts) for parts in data)
        start = tuple(sum(length[:index]) for index in range(len(length)))
        paired = [(part, s) for parts, s in zip(data, scalings, strict=True) for part in parts]
        rows = [part for part, _ in paired]
        return RowPool(
            features=torch.cat([s.standardise(part.features) for part, s in paired]),
            treatment=torch.cat([part.treatment for part in rows]),
            revenue=torch.cat([part.revenue for part in rows]),
            cost=torch.cat([part.cost for part in rows]),
            weight=torch.cat([_weight(part) for part in rows]),
            outcome=torch.cat([s.outcomes(part.revenue, part.cost) for part, s in paired]),
            start=start,
            length=length,
        )

    def take(self, index: Tensor) -> Batch:
        """Return the rows ``index``, shape ``(K, B)``."""
        treatment = self.treatment[index]
        logged = LoggedBatch(treatment, self.revenue[index], self.cost[index], self.weight[index])
        if self.baseline is not None:
            revenue, cost = self.baseline[index].unbind(dim=-2)
            logged = replace(logged, baseline_revenue=revenue, baseline_cost=cost)
        return Batch(index, self.features[index], treatment, self.outcome[index], logged)

    def epoch(
        self,
        dataset: Sequence[int],
        generators: Sequence[torch.Generator],
        *,
        batch_size: int,
        min_steps: int = 1,
    ) -> Iterator[Batch]:
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
        """Yield the rows of one data set as slices of at most 65,536 rows."""
        start, stop = self.start[dataset], self.start[dataset] + self.length[dataset]
        for first in range(start, stop, _CHUNK):
            yield slice(first, min(first + _CHUNK, stop))


def generator_for(seed: int, *purpose: int) -> torch.Generator:
    """Return a CPU generator that depends on ``seed`` and ``purpose`` alone.

    Deriving one per network, stage and epoch, instead of carrying a generator's state,
    makes a resumed run the same as one that was never stopped.
    """
    mixed = seed & 0xFFFFFFFF
    for number in purpose:
        mixed = (mixed * 1_000_003 + number + 1) % (2**61 - 1)
    return torch.Generator().manual_seed(mixed)


def _shuffled(rows: int, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` row numbers: whole permutations end to end, the last one cut."""
    repeats = -(-count // rows)
    return torch.cat([torch.randperm(rows, generator=generator) for _ in range(repeats)])[:count]


def _weight(part: UpliftData) -> Tensor:
    if part.source == "obs" and part.propensity is None:
        return torch.full_like(part.revenue, float("nan"))
    return part.weight
