"""Prediction losses, and decision losses: a layer and an estimator of policy value."""

from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.dual_finite_difference import DualFiniteDifference
from dfl.losses.dual_policy import DualPolicy
from dfl.losses.estimators.flip_value import flip_value
from dfl.losses.estimators.policy_value import policy_value
from dfl.losses.fenchel_young import FenchelYoung, fenchel_young
from dfl.losses.improved_finite_difference import ImprovedFiniteDifference
from dfl.losses.marginal_utility import MarginalUtility, marginal_utility_loss
from dfl.losses.maximum_entropy import MaximumEntropy
from dfl.losses.prediction import factual_loss, full_surface_weight, pseudo_label_loss
from dfl.losses.primal_finite_difference import PrimalFiniteDifference
from dfl.losses.primal_policy import PrimalPolicy
from dfl.losses.roi import Roi, direct_roi_loss
from dfl.losses.spo_plus import SpoPlus, regret, spo_plus
from dfl.registry import Registry

__all__ = [
    "LOSSES",
    "AbstractDecisionLoss",
    "DualFiniteDifference",
    "DualPolicy",
    "FenchelYoung",
    "ImprovedFiniteDifference",
    "LoggedBatch",
    "MarginalUtility",
    "MaximumEntropy",
    "PrimalFiniteDifference",
    "PrimalPolicy",
    "Roi",
    "SpoPlus",
    "direct_roi_loss",
    "factual_loss",
    "fenchel_young",
    "flip_value",
    "full_surface_weight",
    "marginal_utility_loss",
    "policy_value",
    "pseudo_label_loss",
    "regret",
    "spo_plus",
]

LOSSES: Registry[AbstractDecisionLoss] = Registry(
    "losses",
    AbstractDecisionLoss,  # type: ignore[type-abstract]  # the interface itself
    {
        "dual-finite-difference": "dfl.losses.dual_finite_difference:DualFiniteDifference",
        "dual-policy": "dfl.losses.dual_policy:DualPolicy",
        "fenchel-young": "dfl.losses.fenchel_young:FenchelYoung",
        "improved-finite-difference": (
            "dfl.losses.improved_finite_difference:ImprovedFiniteDifference"
        ),
        "marginal-utility": "dfl.losses.marginal_utility:MarginalUtility",
        "maximum-entropy": "dfl.losses.maximum_entropy:MaximumEntropy",
        "primal-finite-difference": "dfl.losses.primal_finite_difference:PrimalFiniteDifference",
        "primal-policy": "dfl.losses.primal_policy:PrimalPolicy",
        "roi": "dfl.losses.roi:Roi",
        "spo-plus": "dfl.losses.spo_plus:SpoPlus",
    },
)
