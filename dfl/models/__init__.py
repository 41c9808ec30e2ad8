"""Networks that predict revenue and cost per treatment, trained many at a time."""

from dfl.models.mlp import MLP, GateNetwork, OutcomeNetwork
from dfl.models.scaling import Scaling
from dfl.models.stacked import Parameters, StackedNetwork

__all__ = ["MLP", "GateNetwork", "OutcomeNetwork", "Parameters", "Scaling", "StackedNetwork"]
