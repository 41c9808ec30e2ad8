"""Prediction losses, and decision losses: a layer and an estimator of policy value."""

from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.policy_value import policy_value
from dfl.losses.prediction import factual_loss, full_surface_weight, pseudo_label_loss
from dfl.losses.primal_policy import PrimalPolicy
from dfl.registry import Registry

__all__ = [
    "LOSSES",
    "AbstractDecisionLoss",
    "LoggedBatch",
    "PrimalPolicy",
    "factual_loss",
    "full_surface_weight",
    "policy_value",
    "pseudo_label_loss",
]

LOSSES: Registry[AbstractDecisionLoss] = Registry(
    "losses",
    AbstractDecisionLoss,  # type: ignore[type-abstract]  # the interface itself
    {"primal-policy": "dfl.losses.primal_policy:PrimalPolicy"},
)
