"""`TritonPasses`: the two passes over everyone as Triton kernels, for tensors on a GPU."""

from typing import final

from torch import Tensor

from dfl.budget_path import HullSteps
from dfl.kernels import knapsack
from dfl.scale import Sketch
from dfl.solvers.passes.base import AbstractPasses, Along, Sifted
from dfl.solvers.passes.eager import TorchPasses, sifted
from dfl.solvers.passes.sketching import hull_sketch

__all__ = ["TritonPasses"]


@final
class TritonPasses(AbstractPasses):
    """Reads the inputs once in a pass; hulls, of few people, and sorting are those of torch."""

    def decide(self, revenue: Tensor, cost: Tensor, price: float) -> Tensor:
        """Choose the best treatment of each person at a price."""
        if not revenue.shape[0]:
            return TorchPasses().decide(revenue, cost, price)
        return knapsack.decide(revenue, cost, price)

    def sift(self, revenue: Tensor, cost: Tensor, low: float, high: float) -> Sifted | None:
        """Compare everyone's best treatment at two prices."""
        if not revenue.shape[0]:
            return TorchPasses().sift(revenue, cost, low, high)
        return sifted(revenue, cost, *knapsack.sift(revenue, cost, low, high))

    def hull(self, revenue: Tensor, cost: Tensor) -> HullSteps:
        """Walk along everyone's hull."""
        return TorchPasses().hull(revenue, cost)

    def sketch(self, revenue: Tensor, cost: Tensor, digits: int) -> Sketch:
        """Add up the steps of everyone's hull by multiplier."""
        return hull_sketch(self, revenue, cost, digits)

    def along(self, steps: HullSteps, cost: float, revenue: float) -> Along:
        """Sort the steps by falling multiplier; add up."""
        return TorchPasses().along(steps, cost, revenue)
