"""Methods: from randomised and observational logs to a model that allocates a budget."""

from dfl.methods.base import AbstractMethod
from dfl.methods.bi_dfcl import BiDfcl
from dfl.methods.bridge import BridgeSettings
from dfl.methods.dfcl import Dfcl
from dfl.methods.fitted import FittedModel, Prediction
from dfl.methods.kd_label import KdLabel
from dfl.methods.monitor import Monitor, Progress
from dfl.methods.training import Training, TrainingSet
from dfl.methods.tsm_sl import TsmSl
from dfl.registry import Registry

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
