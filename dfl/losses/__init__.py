"""Prediction losses, and decision losses: a layer and an estimator of policy value."""

from dfl.layers.finite_difference import FiniteDifference
from dfl.layers.pricing.options import Price, Softness
from dfl.layers.softmax import Softmax
from dfl.losses.adjacent_hinge import AdjacentHinge
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.cost_sensitive import CostSensitive
from dfl.losses.dual_policy import DualPolicy
from dfl.losses.estimators.policy_value import policy_value
from dfl.losses.fenchel_young import FenchelYoung, fenchel_young
from dfl.losses.improved_finite_difference import ImprovedFiniteDifference, flip_value
from dfl.losses.lagrangian_decomposition import LagrangianDecomposition
from dfl.losses.marginal_utility import MarginalUtility, marginal_utility_loss
from dfl.losses.prediction import (
    doubly_robust_loss,
    factual_loss,
    full_surface_weight,
    pseudo_label_loss,
)
from dfl.losses.primal_policy import PrimalPolicy
from dfl.losses.ranking import direct_rank_loss, uplift_rank_loss
from dfl.losses.roi import Roi, direct_roi_loss
from dfl.losses.spo_plus import SpoPlus, regret, spo_plus
from dfl.registry import Entry, Registry

__all__ = [
    "LOSSES",
    "AbstractDecisionLoss",
    "AdjacentHinge",
    "CostSensitive",
    "DualPolicy",
    "FenchelYoung",
    "ImprovedFiniteDifference",
    "LagrangianDecomposition",
    "LoggedBatch",
    "MarginalUtility",
    "PrimalPolicy",
    "Roi",
    "SpoPlus",
    "direct_rank_loss",
    "direct_roi_loss",
    "doubly_robust_loss",
    "factual_loss",
    "fenchel_young",
    "flip_value",
    "full_surface_weight",
    "marginal_utility_loss",
    "policy_value",
    "pseudo_label_loss",
    "regret",
    "spo_plus",
    "uplift_rank_loss",
]

_FREE = Price(multiplier=0.0)  # dual losses price the scores themselves

LOSSES: Registry[AbstractDecisionLoss] = Registry(
    "losses",
    AbstractDecisionLoss,  # type: ignore[type-abstract]  # the interface itself
    {
        "adjacent-hinge": "dfl.losses.adjacent_hinge:AdjacentHinge",
        "cost-sensitive": "dfl.losses.cost_sensitive:CostSensitive",
        "dual-finite-difference": Entry(
            "dfl.losses.dual_policy:DualPolicy",
            options={"layer": FiniteDifference(price=_FREE)},
        ),
        "dual-policy": "dfl.losses.dual_policy:DualPolicy",
        "fenchel-young": "dfl.losses.fenchel_young:FenchelYoung",
        "improved-finite-difference": (
            "dfl.losses.improved_finite_difference:ImprovedFiniteDifference"
        ),
        "lagrangian-decomposition": ("dfl.losses.lagrangian_decomposition:LagrangianDecomposition"),
        "marginal-utility": "dfl.losses.marginal_utility:MarginalUtility",
        "maximum-entropy": Entry(
            "dfl.losses.dual_policy:DualPolicy",
            options={"layer": Softmax(softness=Softness(1.0), price=_FREE)},
        ),
        "primal-finite-difference": Entry(
            "dfl.losses.primal_policy:PrimalPolicy", options={"layer": FiniteDifference()}
        ),
        "primal-policy": "dfl.losses.primal_policy:PrimalPolicy",
        "roi": "dfl.losses.roi:Roi",
        "spo-plus": "dfl.losses.spo_plus:SpoPlus",
    },
)
