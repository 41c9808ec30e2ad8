"""Methods: from randomised and observational logs to a model that allocates a budget."""

from typing import Any

from dfl.budget import Budget
from dfl.hypergrad import ConjugateGradient, Unrolled
from dfl.layers import FiniteDifference, Softmax
from dfl.layers.pricing.options import Price, Softness
from dfl.losses import (
    AdjacentHinge,
    CostSensitive,
    DualPolicy,
    ImprovedFiniteDifference,
    LagrangianDecomposition,
    MarginalUtility,
    PrimalPolicy,
    Roi,
)
from dfl.methods.auto_debias import AutoDebias
from dfl.methods.base import AbstractMethod, AbstractNetworkMethod
from dfl.methods.bi_dfcl import BiDfcl
from dfl.methods.cause import CausE
from dfl.methods.cfr import Cfr
from dfl.methods.dfcl import Dfcl
from dfl.methods.dhcl import Dhcl
from dfl.methods.dr_jt import DrJt
from dfl.methods.dragonnet import DragonNet
from dfl.methods.grounded import Grounded
from dfl.methods.hrc import Hrc
from dfl.methods.ips import Ips
from dfl.methods.kd_feature import KdFeature
from dfl.methods.kd_label import KdLabel
from dfl.methods.ltd_dr import LtdDr
from dfl.methods.ltd_ips import LtdIps
from dfl.methods.policy_tree import PolicyTree
from dfl.methods.tsm_cf import TsmCf
from dfl.methods.tsm_sl import TsmSl
from dfl.models import AbstractModel, Prediction
from dfl.registry import Entry, Registry
from dfl.training.bilevel import BilevelSettings
from dfl.training.monitor import Monitor, Progress
from dfl.training.settings import Training, TrainingSet

__all__ = [
    "METHODS",
    "AbstractMethod",
    "AbstractModel",
    "AbstractNetworkMethod",
    "AutoDebias",
    "BiDfcl",
    "BilevelSettings",
    "CausE",
    "Cfr",
    "Dfcl",
    "Dhcl",
    "DrJt",
    "DragonNet",
    "Grounded",
    "Hrc",
    "Ips",
    "KdFeature",
    "KdLabel",
    "LtdDr",
    "LtdIps",
    "Monitor",
    "PolicyTree",
    "Prediction",
    "Progress",
    "Training",
    "TrainingSet",
    "TsmCf",
    "TsmSl",
]

_FREE = Price(multiplier=0.0)  # dual losses price the scores themselves
_PIFD = PrimalPolicy(layer=FiniteDifference())
_DIFD = DualPolicy(layer=FiniteDifference(price=_FREE))
_MER = DualPolicy(layer=Softmax(softness=Softness(1.0), price=_FREE))
# As the paper has it: a softmax of temperature 1 in currency, and plain inverse propensities.
_PL = DualPolicy(
    layer=Softmax(softness=Softness(1.0, "absolute"), price=_FREE), estimator="horvitz-thompson"
)
# The letter of arXiv:2510.19517: noisier and, in our studies, no better than our own defaults.
_PUBLISHED: dict[str, Any] = {
    "loss": PrimalPolicy(estimator="horvitz-thompson", objective="revenue"),
    "hypergrad": ConjugateGradient(max_iter=50, on_failure="return"),
    "budgets": (Budget(share=0.3),),
    "price": "batch",
    "upper": BilevelSettings(every=5),
    "start": 0.0,
    "rows": "obs",
    "refit": False,
}

METHODS: Registry[AbstractMethod] = Registry(
    "methods",
    AbstractMethod,  # type: ignore[type-abstract]  # the interface itself
    {
        "bi-dfcl": "dfl.methods.bi_dfcl:BiDfcl",
        "dfcl": "dfl.methods.dfcl:Dfcl",
        "dragonnet": "dfl.methods.dragonnet:DragonNet",
        "grounded": "dfl.methods.grounded:Grounded",
        "grounded-in-sample": Entry("dfl.methods.grounded:Grounded", options={"in_sample": True}),
        "hrc": "dfl.methods.hrc:Hrc",
        "policy-tree": "dfl.methods.policy_tree:PolicyTree",
        "ips": "dfl.methods.ips:Ips",
        "kd-label": "dfl.methods.kd_label:KdLabel",
        "ltd-dr": "dfl.methods.ltd_dr:LtdDr",
        "auto-debias": "dfl.methods.auto_debias:AutoDebias",
        "cause": "dfl.methods.cause:CausE",
        "dr-jt": "dfl.methods.dr_jt:DrJt",
        "kd-feature": "dfl.methods.kd_feature:KdFeature",
        "ltd-ips": "dfl.methods.ltd_ips:LtdIps",
        "cfr-mmd": Entry("dfl.methods.cfr:Cfr", options={"distance": "mmd"}),
        "cfr-wass": Entry("dfl.methods.cfr:Cfr", options={"distance": "wasserstein", "alpha": 0.1}),
        "dhcl-dpm": Entry("dfl.methods.dhcl:Dhcl", options={"loss": MarginalUtility()}),
        "dhcl-drp": Entry("dfl.methods.dhcl:Dhcl", options={"loss": Roi()}),
        "tsm-cf": Entry("dfl.methods.tsm_cf:TsmCf", extra="forest"),
        "tsm-sl": "dfl.methods.tsm_sl:TsmSl",
        "bi-dfcl-explicit": Entry("dfl.methods.bi_dfcl:BiDfcl", options={"hypergrad": Unrolled()}),
        "bi-dfcl-pifd": Entry("dfl.methods.bi_dfcl:BiDfcl", options={"loss": _PIFD}),
        "bi-dfcl-ppl": "dfl.methods.bi_dfcl:BiDfcl",  # the default loss, as is dfcl-ppl's
        "bi-dfcl-published": Entry("dfl.methods.bi_dfcl:BiDfcl", options=_PUBLISHED),
        "bi-dfcl-weighted": Entry(
            "dfl.methods.bi_dfcl:BiDfcl", options={"labels": "none", "hypergrad": Unrolled()}
        ),
        "dfcl-csr": Entry("dfl.methods.dfcl:Dfcl", options={"loss": CostSensitive()}),
        "dfcl-difd": Entry("dfl.methods.dfcl:Dfcl", options={"loss": _DIFD}),
        "dfcl-dpl": Entry("dfl.methods.dfcl:Dfcl", options={"loss": DualPolicy()}),
        "dfcl-hinge": Entry("dfl.methods.dfcl:Dfcl", options={"loss": AdjacentHinge()}),
        "dfcl-ifd": Entry("dfl.methods.dfcl:Dfcl", options={"loss": ImprovedFiniteDifference()}),
        "dfcl-ld": Entry("dfl.methods.dfcl:Dfcl", options={"loss": LagrangianDecomposition()}),
        "dfcl-mer": Entry("dfl.methods.dfcl:Dfcl", options={"loss": _MER}),
        "dfcl-pifd": Entry("dfl.methods.dfcl:Dfcl", options={"loss": _PIFD}),
        "dfcl-pl": Entry("dfl.methods.dfcl:Dfcl", options={"loss": _PL}),
        "dfcl-ppl": "dfl.methods.dfcl:Dfcl",
        "tsm-cf-obs": Entry("dfl.methods.tsm_cf:TsmCf", "forest", {"rows": "obs"}),
        "tsm-cf-rct": Entry("dfl.methods.tsm_cf:TsmCf", "forest", {"rows": "rct"}),
        "tsm-sl-obs": Entry("dfl.methods.tsm_sl:TsmSl", options={"rows": "obs"}),
        "tsm-sl-rct": Entry("dfl.methods.tsm_sl:TsmSl", options={"rows": "rct"}),
    },
)
