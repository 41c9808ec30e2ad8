"""Interfaces: an architecture builds outcome networks, which show what they found on the way."""

from abc import ABC, abstractmethod
from typing import ClassVar, TypeAlias, final

import torch
from torch import Tensor, nn

__all__ = [
    "AbstractArchitecture",
    "AbstractOutcomeNetwork",
    "Details",
    "Linear",
    "dense",
    "outcomes_of",
]

Details: TypeAlias = dict[str, Tensor]
"""``"outcomes"`` (N, 2, M), ``"hidden"`` (N, H); with a propensity head ``"propensity"`` (N, M)."""


class AbstractOutcomeNetwork(nn.Module, ABC):
    """Predicts scaled revenue and scaled cost under every treatment.

    Shapes:
        features ``(N, F)`` -> outcomes ``(N, 2, M)``: ``[:, 0]`` revenue, ``[:, 1]`` cost, both
        in the units of `dfl.models.Scaling`; cost is never negative.

    ``body`` holds the layers that everyone shares, each a linear map and its ReLU; its output is
    the hidden representation.

    ``stacks`` says that `details` also takes parameters and rows with a leading axis of networks,
    as a network made of `Linear`, activations and reshaping of last axes does: then a
    `StackedNetwork` calls it once, which is quicker than ``vmap``.
    """

    stacks: ClassVar[bool] = False
    body: nn.Sequential

    @abstractmethod
    def details(self, features: Tensor) -> Details:
        """Return the outcomes, and the hidden representation ``(N, H)`` they come from.

        A propensity head adds the log-odds of each treatment, up to a constant per person.
        """

    def forward(self, features: Tensor, *, details: bool = False) -> Tensor | Details:
        """Return the outcomes, or everything that `details` does."""
        found = self.details(features)
        return found if details else found["outcomes"]


class AbstractArchitecture(ABC):
    """Sizes of an outcome network. Members are frozen dataclasses of plain values."""

    @abstractmethod
    def build(self, features: int, treatments: int) -> AbstractOutcomeNetwork:
        """Return a network, freshly initialised by torch's functions.

        Whoever builds it decides where those draw from: `StackedNetwork` gives each network a
        generator of its own.

        Args:
            features: number of features F.
            treatments: number of treatments M.
        """


@final
class Linear(nn.Linear):
    """A linear map with a bias whose parameters may have a leading axis of networks.

    Shapes:
        inputs ``(N, in)`` -> ``(N, out)``; with parameters ``(K, ...)``, ``(K, N, in)`` ->
        ``(K, N, out)`` as one batched product, which ``vmap`` of `torch.nn.Linear` is not.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``inputs @ weight.mT + bias``."""
        if self.weight.ndim == 2:
            return super().forward(inputs)
        return torch.baddbmm(self.bias.unsqueeze(-2), inputs, self.weight.mT)


def dense(inputs: int, hidden: tuple[int, ...]) -> tuple[nn.Sequential, int]:
    """Return linear layers with a ReLU after each, and the number of their outputs."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [Linear(inputs, size), nn.ReLU()]
        inputs = size
    return nn.Sequential(*layers), inputs


def outcomes_of(raw: Tensor) -> Tensor:
    """Turn two outputs per treatment ``(N, 2, M)`` into outcomes: a softplus keeps cost >= 0."""
    # Contiguous, softplus takes a twelfth of the time.
    cost = nn.functional.softplus(raw[..., 1, :].contiguous())
    return torch.stack((raw[..., 0, :], cost), dim=-2)
