"""Networks that predict revenue and cost per treatment, trained many at a time."""

from dfl.models.ensemble import FittedModel, Logs, Prediction
from dfl.models.mlp import MLP, GateNetwork, OutcomeNetwork
from dfl.models.stacked import Parameters, StackedNetwork
from dfl.models.standardisation import Scaling

__all__ = [
    "MLP",
    "FittedModel",
    "GateNetwork",
    "Logs",
    "OutcomeNetwork",
    "Parameters",
    "Prediction",
    "Scaling",
    "StackedNetwork",
]
