"""Models: what methods return, the networks they train, and the units these learn in."""

from dfl.models.architectures import (
    ARCHITECTURES,
    MLP,
    AbstractArchitecture,
    ArmHeads,
    OuterNetwork,
)
from dfl.models.base import AbstractModel, Logs, Prediction, State
from dfl.models.ensemble import NetworkEnsemble
from dfl.models.forest import CausalForestModel, Trees
from dfl.models.grounded import GroundedModel
from dfl.models.saved import MODELS, load_model, model_of
from dfl.models.stacked import Parameters, StackedNetwork
from dfl.models.standardisation import Scaling

__all__ = [
    "ARCHITECTURES",
    "MLP",
    "MODELS",
    "AbstractArchitecture",
    "AbstractModel",
    "ArmHeads",
    "CausalForestModel",
    "GroundedModel",
    "Logs",
    "NetworkEnsemble",
    "OuterNetwork",
    "Parameters",
    "Prediction",
    "Scaling",
    "StackedNetwork",
    "State",
    "Trees",
    "load_model",
    "model_of",
]
