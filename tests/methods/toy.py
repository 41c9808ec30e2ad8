"""Tiny logs for tests of training: three treatments, four features, a confounded policy."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from dfl.data.uplift_data import Source, UpliftData
from dfl.methods import AbstractNetworkMethod
from dfl.models import AbstractModel, NetworkEnsemble, Parameters
from dfl.models.architectures import Details
from dfl.training.levels import LowerLevel
from dfl.training.monitor import Monitor
from dfl.training.networks import Networks
from dfl.training.settings import Rows, Training, TrainingSet

__all__ = [
    "ARMS",
    "ONCE",
    "SMALL",
    "factual_errors",
    "found",
    "logs",
    "lower_level",
    "outcomes",
    "training_set",
]

ARMS = 3
SMALL = Training(epochs=3, batch_size=64, min_steps=1, members=2, weight_decay=(0.1,))
# One step on all rows that moves nothing: what is logged is the loss of the weights returned.
ONCE = Training(
    epochs=1, batch_size=10_000, min_steps=1, learning_rate=1e-12, members=1, weight_decay=(0.1,)
)


def outcomes(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return expected revenue and cost ``(N, M)``."""
    level = torch.arange(ARMS, dtype=features.dtype)
    appetite = 1 + 0.8 * features[:, :1].tanh()
    revenue = 2 + features[:, 1:2] + appetite * level.sqrt()
    cost = level * (0.5 + features[:, 2:3].sigmoid())
    return revenue, cost


def logs(
    rows: int, *, source: Source = "rct", seed: int = 0, dtype: torch.dtype = torch.float32
) -> UpliftData:
    """Draw logs; observational ones favour dear treatments for people of high revenue."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 4, generator=generator, dtype=torch.float64).to(dtype)
    push = 1.5 * features[:, 1:2] * torch.arange(ARMS, dtype=dtype) if source == "obs" else 0.0
    chance = (torch.zeros(rows, ARMS, dtype=dtype) + push).softmax(dim=1)
    treatment = torch.multinomial(chance, 1, generator=generator).squeeze(1)
    revenue, cost = (
        column.gather(1, treatment[:, None]).squeeze(1) for column in outcomes(features)
    )
    noise = torch.randn(rows, generator=generator, dtype=torch.float64).to(dtype)
    return UpliftData(features, treatment, revenue + noise, cost, ARMS, source)


def training_set(seed: int, dtype: torch.dtype = torch.float64) -> TrainingSet:
    """Draw randomised, observational and validation rows, different for each seed."""
    return TrainingSet(
        rct=logs(256, seed=10 * seed + 1, dtype=dtype),
        obs=logs(512, source="obs", seed=10 * seed + 2, dtype=dtype),
        validation=logs(256, seed=10 * seed + 3, dtype=dtype),
        seed=seed,
    )


@torch.no_grad()
def found(model: AbstractModel, rows: UpliftData) -> Details:
    """Return what a model's first network finds for rows, in network units."""
    assert isinstance(model, NetworkEnsemble)
    network = model.network.build(model.features, model.treatments).to(rows.features.dtype)
    network.load_state_dict({name: value[0] for name, value in model.parameters.items()})
    return network.details(model.scaling.standardise(rows.features))


def factual_errors(model: AbstractModel, rows: UpliftData) -> Tensor:
    """Return each row's squared error at the treatment received, in network units, ``(N,)``."""
    assert isinstance(model, NetworkEnsemble)
    y = model.scaling.outcomes(rows.revenue, rows.cost)
    own = torch.arange(len(rows)), slice(None), rows.treatment
    return (y - found(model, rows)["outcomes"][own]).square().sum(dim=1)


class _BuiltError(Exception):
    """What a bilevel method has put together, before anything is trained by it."""


def lower_level(
    method: AbstractNetworkMethod, one: TrainingSet, patch: pytest.MonkeyPatch
) -> tuple[LowerLevel, Tensor]:
    """Return a method's lower level, and what its networks, untrained, impute, ``(R, 2, M)``."""
    module, started = sys.modules[type(method).__module__], []

    def untrained(
        name: str, networks: Networks, rows: Rows, training: Training, monitor: Monitor
    ) -> Parameters:
        started.append(networks.initial(networks.stacked, name))
        return started[0]

    def stop(**parts: Any) -> None:
        raise _BuiltError(parts["lower"])

    patch.setattr(module, "fit_factual", untrained)
    patch.setattr(module, "Bilevel", stop)
    with pytest.raises(_BuiltError) as caught:
        method.fit_many([one])
    lower: LowerLevel = caught.value.args[0]
    return lower, lower.networks.ensemble_outcomes(started[0], lower.pool)
