"""`ArmHeads`: a shared representation, and a network of its own for each treatment."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from dfl.checks import check_count, check_several
from dfl.models.architectures.base import (
    AbstractArchitecture,
    AbstractOutcomeNetwork,
    Details,
    Linear,
    dense,
    outcomes_of,
)

__all__ = ["ArmHeads"]


@final
@dataclass(frozen=True)
class ArmHeads(AbstractArchitecture):
    """A trunk for everyone, then hidden layers and outcomes for each treatment apart.

    Args:
        trunk: units of the shared layers, all >= 1.
        heads: units of each treatment's own layers, all >= 1.
        propensity: whether a linear head on the representation predicts the treatment, and
            each outcome and treatment has a parameter ``epsilon`` that starts at 0.

    Raises:
        InvalidValueError: if a size is below 1, or ``trunk`` is empty.

    Source:
        Shalit, Johansson and Sontag (2017), arXiv:1606.03976 (TARNet); with ``propensity`` Shi,
        Blei and Veitch (2019), arXiv:1906.02120 (DragonNet). Deviations: several treatments,
        two outcomes from one head, softplus on cost, ReLU.
    """

    trunk: tuple[int, ...] = (64, 32)
    heads: tuple[int, ...] = (32,)
    propensity: bool = False

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name in ("trunk", "heads"):
            check_several(name, getattr(self, name))
        check_count("number of trunk layers", len(self.trunk), at_least=1)
        for size in (*self.trunk, *self.heads):
            check_count("sizes of trunk and heads", size, at_least=1)

    def build(self, features: int, treatments: int) -> AbstractOutcomeNetwork:
        """Return a network."""
        return _Heads(self, features, treatments)


@final
class _Heads(AbstractOutcomeNetwork):
    stacks = True

    def __init__(self, sizes: ArmHeads, features: int, treatments: int) -> None:
        super().__init__()
        self.body, width = dense(features, sizes.trunk)
        layers: list[nn.Module] = []
        inputs = width
        for size in sizes.heads:
            layers += [_LinearPerArm(treatments, inputs, size), nn.ReLU()]
            inputs = size
        self.heads = nn.Sequential(*layers, _LinearPerArm(treatments, inputs, 2))
        self.propensity = Linear(width, treatments) if sizes.propensity else None
        if sizes.propensity:
            self.epsilon = nn.Parameter(torch.zeros(2, treatments))
        self.treatments = treatments

    def details(self, features: Tensor) -> Details:
        hidden = self.body(features)
        own = self.heads(hidden.unsqueeze(-3))  # (..., M, N, 2)
        found = {"outcomes": outcomes_of(own.movedim(-3, -1)), "hidden": hidden}
        if self.propensity is not None:
            found |= {"propensity": self.propensity(hidden), "epsilon": self.epsilon}
        return found


@final
class _LinearPerArm(nn.Module):
    """One linear map for each treatment: ``(..., M, N, in)`` to ``(..., M, N, out)``."""

    def __init__(self, treatments: int, inputs: int, outputs: int) -> None:
        super().__init__()
        reach = 1 / math.sqrt(inputs)  # as torch.nn.Linear draws its weights
        self.weight = nn.Parameter(torch.empty(treatments, inputs, outputs).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.empty(treatments, outputs).uniform_(-reach, reach))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weight + self.bias.unsqueeze(-2)
