"""The exact solver for more people than memory holds: passes over blocks of them."""

from dfl.solvers.blockwise.blocks import AbstractBlocks, TensorBlocks
from dfl.solvers.blockwise.ray_blocks import RayBlocks
from dfl.solvers.blockwise.solve import BlockwiseAllocation, money_of, solve_blocks

__all__ = [
    "AbstractBlocks",
    "BlockwiseAllocation",
    "RayBlocks",
    "TensorBlocks",
    "money_of",
    "solve_blocks",
]
