"""`Networks`: the networks that train together, and what each of them is given."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias, final

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError, NotConvergedError
from dfl.losses.prediction import factual_loss, full_surface_weight
from dfl.models import AbstractArchitecture, Parameters, Scaling, StackedNetwork
from dfl.scale import over_ranks, together
from dfl.seeds import stream
from dfl.training.rows import Batch, RowPool
from dfl.training.settings import TrainingSet
from dfl.training.shares import whole

__all__ = ["NetworkPlan", "Networks", "RowsOf"]

RowsOf: TypeAlias = Callable[[TrainingSet], Sequence[UpliftData]]

_MEMBER_STRIDE = 7_919  # keeps the seeds of members and of neighbouring studies apart


@final
@dataclass(frozen=True)
class NetworkPlan:
    """Who the networks are: one entry per network in each field.

    Args:
        dataset: index of the training set it learns.
        seed: starting point of its randomness.
        weight_decay: its decoupled weight decay.
    """

    dataset: tuple[int, ...]
    seed: tuple[int, ...]
    weight_decay: tuple[float, ...]

    @staticmethod
    def of(
        sets: Sequence[TrainingSet], members: int, decays: Sequence[Sequence[float]]
    ) -> "NetworkPlan":
        """NetworkPlan ``members`` networks for each set and each of that set's weight decays."""
        rows = [
            (index, one.seed + _MEMBER_STRIDE * member, decay)
            for index, one in enumerate(sets)
            for decay in decays[index]
            for member in range(members)
        ]
        dataset, seed, weight_decay = zip(*rows, strict=True)
        return NetworkPlan(dataset, seed, weight_decay)


@final
@dataclass(frozen=True, eq=False)
class Networks:
    """K networks with their data, units and randomness.

    Args:
        sets: the training sets.
        scalings: the units of each set.
        plan: who the K networks are.
        architecture: of each network.
        name: put before the names of stages, to keep their checkpoints apart.
        method: what trains them, in words, by which checkpoints of other methods are told.
    """

    sets: Sequence[TrainingSet]
    scalings: Sequence[Scaling]
    plan: NetworkPlan
    architecture: AbstractArchitecture
    name: str
    method: str = ""

    @property
    def size(self) -> int:
        """Number of networks K."""
        return len(self.plan.seed)

    @property
    def features(self) -> int:
        """Number of features F."""
        return self.scalings[0].width

    @property
    def treatments(self) -> int:
        """Number of treatments M."""
        return self.scalings[0].fixed_cost.shape[0]

    @property
    def scaling(self) -> Scaling:
        """The units of each network, stacked."""
        return Scaling.stack([self.scalings[index] for index in self.plan.dataset])

    @property
    def stacked(self) -> StackedNetwork:
        """The outcome networks, as one."""
        return StackedNetwork(lambda: self.architecture.build(self.features, self.treatments))

    def needing(self, detail: str, remedy: str) -> StackedNetwork:
        """Return the outcome networks, which must find a detail on the way.

        Args:
            detail: a name of `dfl.models.architectures.Details`.
            remedy: what the user can do where they do not.

        Raises:
            InvalidValueError: if the architecture has no such detail.
        """
        with torch.device("meta"):
            found = self.architecture.build(self.features, self.treatments).details(
                torch.zeros(1, self.features)
            )
        if detail not in found:
            raise InvalidValueError(
                f"network must predict {detail}, got {self.architecture}; take {remedy}."
            )
        return self.stacked

    @property
    def weight_decay(self) -> Tensor:
        """Weight decay of each network, shape ``(K,)``."""
        return self.scalings[0].feature_mean.new_tensor(self.plan.weight_decay)

    def initial(self, network: StackedNetwork, purpose: str) -> Parameters:
        """Return initial parameters, each network's from its own seed and the purpose."""
        seeds = [stream(seed, purpose, "weights").initial_seed() for seed in self.plan.seed]
        to = self.scalings[0].feature_mean
        return {name: value.to(to) for name, value in network.initial(seeds).items()}

    def generators(self, purpose: str, epoch: int) -> list[torch.Generator]:
        """Return each network's randomness for one epoch of one purpose."""
        return [stream(seed, purpose, epoch) for seed in self.plan.seed]

    def pool(self, rows: RowsOf) -> RowPool:
        """Put the rows that ``rows`` picks from each set into one table."""
        return RowPool.of([rows(one) for one in self.sets], self.scalings)

    def arm_weight(self, pool: RowPool) -> Tensor:
        """Return ``N / (M N_t)`` over each network's own rows of a pool, shape ``(K, M)``."""
        rows = [slice(a, a + n) for a, n in zip(pool.start, pool.length, strict=True)]
        counts = torch.stack(
            [pool.treatment[own].bincount(minlength=self.treatments) for own in rows]
        )
        counts = counts if pool.exchange is None else over_ranks(counts)
        per_set = full_surface_weight(counts).to(pool.features.dtype)
        return per_set[list(self.plan.dataset)]

    def learning(self, dataset: int) -> list[int]:
        """Return which networks learn a set."""
        return [k for k, index in enumerate(self.plan.dataset) if index == dataset]

    @torch.no_grad()
    def validation_error(self, parameters: Parameters) -> Tensor | None:
        """Return each network's factual error on its set's validation rows, shape ``(K,)``.

        In network units (both outcomes' squared errors added); None without such rows.
        """
        pool = self.validation_pool
        if pool is None:
            return None
        error = self.weight_decay.new_zeros(self.size)
        for dataset in range(len(self.sets)):
            own = self.learning(dataset)
            for rows, outcomes in self._predict(parameters, pool, dataset):
                repeat = (len(own), -1)
                treatment = pool.treatment[rows].expand(repeat)
                loss = factual_loss(outcomes, treatment, pool.outcome[rows].expand(*repeat, -1))
                error[own] += loss * (outcomes.shape[1] / pool.total[dataset])
        return error if pool.exchange is None else over_ranks(error)

    def check_score(self, stage: str, score: Tensor) -> None:
        """Refuse scores on validation rows that leave a network nothing to be judged by.

        Of networks that differ in weight decay alone, those whose score is not finite lose to the
        others.

        Args:
            stage: for the message.
            score: shape ``(K,)``.

        Raises:
            NotConvergedError: if no weight decay of some set and seed has a finite score.
        """
        which = [*zip(self.plan.dataset, self.plan.seed, strict=True)]
        sound = {one for one, held in zip(which, score.isfinite().tolist(), strict=True) if held}
        if sound != {*which}:
            raise NotConvergedError(
                f"validation of {stage!r} is not finite: the error on validation rows overflows. "
                "Look for extreme values in their features and outcomes, far beyond those of the "
                "training rows, and mend or drop these rows."
            )

    def validation_batch(self, most: int, pool: RowPool) -> Batch:
        """Return each network's validation rows as one batch, the same for a set's networks.

        Args:
            most: rows at most, drawn at random; the smallest set's number if that is less.
            pool: the sets' validation rows.
        """
        generators = [stream(one.seed, "validation batch") for one in self.sets]
        per_set = next(pool.epoch(range(len(self.sets)), generators, batch_size=most))
        return pool.take(per_set.index[list(self.plan.dataset)])

    @together()
    @torch.no_grad()
    def ensemble_outcomes(self, parameters: Parameters, pool: RowPool) -> Tensor:
        """Predict every row of a pool by the mean of its set's networks.

        Returns:
            Outcomes in network units, one per row of the pool. Shape ``(R, 2, M)``.
        """
        table = pool.features.new_empty(pool.features.shape[0], 2, self.treatments)
        for dataset in range(len(self.sets)):
            for rows, outcomes in self._predict(parameters, pool, dataset):
                table[rows] = outcomes.mean(dim=0)
        return table

    @cached_property
    def validation_pool(self) -> RowPool | None:
        """All sets' validation rows, put together once; None where a set has none."""
        if any(one.validation is None for one in self.sets):
            return None
        return self.pool(lambda one: [part for part in (one.validation,) if part is not None])

    def _predict(
        self, parameters: Parameters, pool: RowPool, dataset: int
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield chunks of a set's rows with its networks' outcomes ``(k, rows, 2, M)``."""
        network, chosen = self.stacked, self.learning(dataset)
        own = {name: value[chosen] for name, value in parameters.items()}
        for rows in pool.chunks(dataset):
            yield rows, whole(partial(network, own), pool.features[rows])
