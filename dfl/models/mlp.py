"""Multi-layer perceptrons: the outcome network that serves, and the gate of the bridge."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from dfl.errors import InvalidValueError

__all__ = ["MLP", "GateNetwork", "OutcomeNetwork"]


@final
@dataclass(frozen=True)
class MLP:
    """Sizes of a multi-layer perceptron with ReLU between its layers.

    Args:
        hidden: units of each hidden layer, all >= 1. May be empty: then the map is linear.

    Raises:
        InvalidValueError: if a size is below 1.
    """

    hidden: tuple[int, ...] = (64, 32, 32)

    def __post_init__(self) -> None:
        """Check the sizes."""
        if any(size < 1 for size in self.hidden):
            raise InvalidValueError(f"hidden sizes must be >= 1, got {self.hidden}.")

    def build(self, inputs: int, outputs: int) -> nn.Sequential:
        """Return the layers, freshly initialised from torch's global generator."""
        layers: list[nn.Module] = []
        for size in self.hidden:
            layers += [nn.Linear(inputs, size), nn.ReLU()]
            inputs = size
        return nn.Sequential(*layers, nn.Linear(inputs, outputs))


@final
class OutcomeNetwork(nn.Module):
    """Predicts scaled revenue and scaled cost under every treatment (a multi-head network).

    Revenue comes from a linear head. Cost passes a softplus, so that a predicted cost is
    never negative.

    Args:
        mlp: sizes of the trunk.
        features: number of features F.
        treatments: number of treatments M.

    Shapes:
        features ``(N, F)`` -> outcomes ``(N, 2, M)``: ``[:, 0]`` revenue, ``[:, 1]`` cost,
        both in the units of `dfl.models.Scaling`.

    Source:
        arXiv:2510.19517, section 3 (64-32-32-2M on Criteo). Deviation: softplus on cost.
    """

    def __init__(self, mlp: MLP, features: int, treatments: int) -> None:
        super().__init__()
        self.layers = mlp.build(features, 2 * treatments)
        self.treatments = treatments

    def forward(self, features: Tensor) -> Tensor:
        """Return outcomes ``(N, 2, M)``."""
        outcomes = self.layers(features).unflatten(-1, (2, self.treatments))
        cost = nn.functional.softplus(outcomes[..., 1, :])
        return torch.stack((outcomes[..., 0, :], cost), dim=-2)


@final
class GateNetwork(nn.Module):
    """Predicts how far to trust a teacher, per outcome and treatment: the bridge network.

    Args:
        mlp: sizes of the trunk.
        features: number of features F.
        treatments: number of treatments M.
        bias: starting value of the last layer's bias, in log-odds. About -2 starts the gate
            near the target; near 0 or above it tends to saturate at the teacher.

    Shapes:
        features ``(N, F)`` -> gate ``(N, 2, M)``, each entry in (0, 1).

    Source:
        arXiv:2510.19517, section 3, ``G_phi``.
    """

    def __init__(self, mlp: MLP, features: int, treatments: int, *, bias: float) -> None:
        super().__init__()
        self.layers = mlp.build(features, 2 * treatments)
        self.treatments = treatments
        last = self.layers[-1]
        nn.init.constant_(last.bias, bias)  # type: ignore[arg-type]  # a Linear has a bias

    def forward(self, features: Tensor) -> Tensor:
        """Return the gate ``(N, 2, M)``."""
        gate: Tensor = self.layers(features).unflatten(-1, (2, self.treatments))
        return gate.sigmoid()
