"""`CrossFitted`: outcomes predicted for logged rows by networks that did not learn from them."""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from dfl.data.uplift_data import UpliftData
from dfl.models import Parameters
from dfl.seeds import stream
from dfl.training.fit import fit_factual
from dfl.training.monitor import Monitor
from dfl.training.networks import NetworkPlan, Networks
from dfl.training.people import numbered
from dfl.training.rows import RowPool
from dfl.training.settings import Training, TrainingSet

__all__ = ["CrossFitted", "folds_of", "with_teacher_baseline"]

_FOLDS = 5


@final
@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Networks of the factual loss, one per training set and fold, each without its fold.

    What the doubly robust estimator subtracts: it stays unbiased, for no person's outcome went
    into that person's prediction.

    Args:
        networks: one network per set and fold.
        parameters: theirs.
        folds: of each set's randomised rows, ``(N,)`` each.
    """

    networks: Networks
    parameters: Parameters
    folds: tuple[Tensor, ...]

    @staticmethod
    def of(networks: Networks, training: Training, monitor: Monitor) -> "CrossFitted":
        """Train the networks on each set's randomised rows.

        Args:
            networks: whose sets they learn, under the same units and weight decay.
            training: settings of training; the last epoch is kept.
            monitor: watches.
        """
        randomised = [one.rct for one in networks.sets if one.rct is not None]
        folds = tuple(
            folds_of(rct, one.seed) for rct, one in zip(randomised, networks.sets, strict=True)
        )
        sets = [
            TrainingSet(rct=rct.subset(fold != number), seed=one.seed + number)
            for rct, fold, one in zip(randomised, folds, networks.sets, strict=True)
            for number in range(_FOLDS)
        ]
        decays = [
            (networks.plan.weight_decay[networks.learning(index)[0]],)
            for index in range(len(networks.sets))
            for _ in range(_FOLDS)
        ]
        scalings = [scaling for scaling in networks.scalings for _ in range(_FOLDS)]
        plan = NetworkPlan.of(sets, 1, decays)
        fitted = replace(networks, sets=sets, scalings=scalings, plan=plan)
        parameters = fit_factual("baseline", fitted, "rct", training, monitor)
        return CrossFitted(fitted, parameters, folds)

    @torch.no_grad()
    def on_rows(self, pool: RowPool) -> RowPool:
        """Return a pool of the sets' randomised rows, with each row's baseline."""
        baseline = self._empty(pool)
        for index, fold in enumerate(self.folds):
            for rows in pool.chunks(index):
                outcomes = self._predict(index, pool.features[rows])
                own = fold[rows.start - pool.start[index] : rows.stop - pool.start[index]]
                baseline[rows] = outcomes[own, torch.arange(own.shape[0], device=own.device)]
        return replace(pool, baseline=baseline)

    @torch.no_grad()
    def on_unseen(self, pool: RowPool) -> RowPool:
        """Return a pool of rows that no network has seen, with the folds' mean as baseline."""
        baseline = self._empty(pool)
        for index in range(len(self.folds)):
            for rows in pool.chunks(index):
                baseline[rows] = self._predict(index, pool.features[rows]).mean(dim=0)
        return replace(pool, baseline=baseline)

    def _empty(self, pool: RowPool) -> Tensor:
        return pool.features.new_empty(len(pool.treatment), 2, self.networks.treatments)

    def _predict(self, index: int, features: Tensor) -> Tensor:
        """Return what a set's networks predict in currency, ``(folds, rows, 2, M)``."""
        own = self.networks.learning(index * _FOLDS)
        own = list(range(own[0], own[0] + _FOLDS))
        parameters = {name: value[own] for name, value in self.parameters.items()}
        outcomes = self.networks.stacked(parameters, features)
        return torch.stack(self.networks.scalings[own[0]].currency(outcomes), dim=-2)


def with_teacher_baseline(pool: RowPool, teacher: Networks, parameters: Parameters) -> RowPool:
    """Return a pool with the baselines of teachers that did not learn from its rows.

    Args:
        pool: rows of each of the teachers' sets.
        teacher: the teachers; a set's baseline is the mean of its networks.
        parameters: theirs.
    """
    outcomes = teacher.ensemble_outcomes(parameters, pool)
    parts = [
        torch.stack(scaling.currency(outcomes[start : start + length]), dim=-2)
        for scaling, start, length in zip(teacher.scalings, pool.start, pool.length, strict=True)
    ]
    return replace(pool, baseline=torch.cat(parts))


def folds_of(rct: UpliftData, seed: int) -> Tensor:
    """Return each row's fold; rows of one person, or another group, share theirs.

    Args:
        rct: randomised rows.
        seed: of the training set.
    """
    group, count = numbered(rct)
    order = torch.randperm(count, generator=stream(seed, "folds"))
    return (order % _FOLDS)[group].to(rct.features.device)
