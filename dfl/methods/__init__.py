"""Methods: from randomised and observational logs to a model that allocates a budget."""

from dfl.methods.base import AbstractMethod
from dfl.methods.bi_dfcl import BiDfcl
from dfl.methods.dfcl import Dfcl
from dfl.methods.kd_label import KdLabel
from dfl.methods.tsm_sl import TsmSl
from dfl.models.ensemble import FittedModel, Prediction
from dfl.registry import Registry
from dfl.training.bilevel import BridgeSettings
from dfl.training.monitor import Monitor, Progress
from dfl.training.settings import Training, TrainingSet

__all__ = [
    "METHODS",
    "AbstractMethod",
    "BiDfcl",
    "BridgeSettings",
    "Dfcl",
    "FittedModel",
    "KdLabel",
    "Monitor",
    "Prediction",
    "Progress",
    "Training",
    "TrainingSet",
    "TsmSl",
]

METHODS: Registry[AbstractMethod] = Registry(
    "methods",
    AbstractMethod,  # type: ignore[type-abstract]  # the interface itself
    {
        "bi-dfcl": "dfl.methods.bi_dfcl:BiDfcl",
        "dfcl": "dfl.methods.dfcl:Dfcl",
        "kd-label": "dfl.methods.kd_label:KdLabel",
        "tsm-sl": "dfl.methods.tsm_sl:TsmSl",
    },
)
