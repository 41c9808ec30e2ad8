"""`MLP`: a multi-layer perceptron whose last layer has two outputs per treatment."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from dfl.checks import check_count, check_several
from dfl.models.architectures.base import (
    AbstractArchitecture,
    AbstractOutcomeNetwork,
    Details,
    Linear,
    dense,
    outcomes_of,
)

__all__ = ["MLP"]


@final
@dataclass(frozen=True)
class MLP(AbstractArchitecture):
    """A trunk with ReLU between its layers, and one linear layer for all outcomes.

    Args:
        hidden: units of each hidden layer, all >= 1. May be empty: then the map is linear.

    Raises:
        InvalidValueError: if a size is below 1.

    Source:
        arXiv:2510.19517, section 3 (64-32-32-2M on Criteo). Deviation: softplus on cost.
    """

    hidden: tuple[int, ...] = (64, 32, 32)

    def __post_init__(self) -> None:
        """Check the sizes."""
        check_several("hidden", self.hidden)
        for size in self.hidden:
            check_count("hidden sizes", size, at_least=1)

    def build(self, features: int, treatments: int) -> AbstractOutcomeNetwork:
        """Return a network."""
        return _Perceptron(self.hidden, features, treatments)


@final
class _Perceptron(AbstractOutcomeNetwork):
    stacks = True

    def __init__(self, hidden: tuple[int, ...], features: int, treatments: int) -> None:
        super().__init__()
        self.body, width = dense(features, hidden)
        self.head = Linear(width, 2 * treatments)
        self.treatments = treatments

    def details(self, features: Tensor) -> Details:
        hidden = self.body(features)
        raw = self.head(hidden).unflatten(-1, (2, self.treatments))
        return {"outcomes": outcomes_of(raw), "hidden": hidden}
