"""Methods: from randomised and observational logs to a model that allocates a budget."""

from dfl.methods.base import AbstractMethod, AbstractNetworkMethod
from dfl.methods.bi_dfcl import BiDfcl
from dfl.methods.dfcl import Dfcl
from dfl.methods.dragonnet import DragonNet
from dfl.methods.grounded import Grounded
from dfl.methods.kd_label import KdLabel
from dfl.methods.ltd_dr import LtdDr
from dfl.methods.tsm_sl import TsmSl
from dfl.models import AbstractModel, Prediction
from dfl.registry import Registry
from dfl.training.bilevel import BilevelSettings
from dfl.training.monitor import Monitor, Progress
from dfl.training.settings import Training, TrainingSet

__all__ = [
    "METHODS",
    "AbstractMethod",
    "AbstractModel",
    "AbstractNetworkMethod",
    "BiDfcl",
    "BilevelSettings",
    "Dfcl",
    "DragonNet",
    "Grounded",
    "KdLabel",
    "LtdDr",
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
        "dragonnet": "dfl.methods.dragonnet:DragonNet",
        "grounded": "dfl.methods.grounded:Grounded",
        "kd-label": "dfl.methods.kd_label:KdLabel",
        "ltd-dr": "dfl.methods.ltd_dr:LtdDr",
        "tsm-sl": "dfl.methods.tsm_sl:TsmSl",
    },
)
