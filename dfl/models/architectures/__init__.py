"""Architectures: the networks that predict revenue and cost, and those that learn beside them."""

from dfl.models.architectures.arm_heads import ArmHeads
from dfl.models.architectures.base import AbstractArchitecture, AbstractOutcomeNetwork, Details
from dfl.models.architectures.mlp import MLP
from dfl.models.architectures.outer import OuterNetwork
from dfl.registry import Registry

__all__ = [
    "ARCHITECTURES",
    "MLP",
    "AbstractArchitecture",
    "AbstractOutcomeNetwork",
    "ArmHeads",
    "Details",
    "OuterNetwork",
]

ARCHITECTURES: Registry[AbstractArchitecture] = Registry(
    "networks",
    AbstractArchitecture,  # type: ignore[type-abstract]  # the interface itself
    {
        "arm-heads": "dfl.models.architectures.arm_heads:ArmHeads",
        "mlp": "dfl.models.architectures.mlp:MLP",
    },
)
