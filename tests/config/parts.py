"""Parts that misbehave, each in one way."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from dfl.data import AbstractDataSource, HybridData
from dfl.hypergrad import AbstractHypergradient, Diagnostics, Hypergradient, Parameters
from dfl.hypergrad.base import Loss
from dfl.layers import AbstractLayer, SoftAllocation
from dfl.losses import AbstractDecisionLoss, LoggedBatch
from dfl.models import MLP
from dfl.problem import Allocation, AllocationProblem, ObservedCost
from dfl.solvers import AbstractSolver


@final
class Shares(AbstractLayer):
    """Returns whatever its function makes of the revenue."""

    def __init__(self, *, make: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.make = make

    def forward(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: float | Tensor,
        observed: ObservedCost | None = None,
    ) -> SoftAllocation:
        return SoftAllocation(self.make(revenue), revenue.new_zeros(()))


@final
class Flat(AbstractLayer):
    """A layer without a useful gradient, as a plain linear programme has."""

    def forward(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: float | Tensor,
        observed: ObservedCost | None = None,
    ) -> SoftAllocation:
        shares = torch.ones_like(revenue) / revenue.shape[-1] + 0 * revenue
        return SoftAllocation(shares, revenue.new_zeros(()))


@final
class Penniless(AbstractLayer):
    """Prefers revenue, whatever it costs and whatever money there is."""

    def forward(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: float | Tensor,
        observed: ObservedCost | None = None,
    ) -> SoftAllocation:
        return SoftAllocation(revenue.softmax(dim=-1), revenue.new_zeros(()))


@final
class Forgetful(AbstractLayer):
    """Does not keep its option."""

    def __init__(self, *, strength: float = 1.0) -> None:
        super().__init__()

    def forward(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: float | Tensor,
        observed: ObservedCost | None = None,
    ) -> SoftAllocation:
        raise NotImplementedError


@final
@dataclass(frozen=True, eq=False)
class Vector(AbstractDecisionLoss):
    """Returns one value per row instead of one."""

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: float | Tensor
    ) -> Tensor:
        return revenue.sum(dim=1)


@final
@dataclass(frozen=True, eq=False)
class Uphill(AbstractHypergradient):
    """Points away from the optimum."""

    needs_optimum: ClassVar[bool] = True

    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        nothing = torch.tensor(float("nan"))
        diagnostics = Diagnostics(0, nothing, nothing, nothing)
        grad = {name: torch.ones_like(value) for name, value in outer.items()}
        return Hypergradient(grad, nothing, diagnostics)


@final
@dataclass(frozen=True, eq=False)
class Spendthrift(AbstractSolver):
    """Gives everyone the dearest treatment."""

    def solve(self, problem: AllocationProblem) -> Allocation:
        cost, choice = problem.cost.max(dim=1)
        zero = torch.zeros((), dtype=torch.float64)
        return Allocation(choice, zero, zero, cost.sum(), zero)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Inner:
    """Settings inside settings, with a network of their own."""

    network: MLP = field(default_factory=lambda: MLP((7,)))
    size: int = 3


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Source(AbstractDataSource):
    """Has an option of every kind."""

    count: int
    rate: float = 0.5
    label: str | None = None
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = ()
    maybe: Inner | None = None
    call: Callable[[], Any] | None = None
    tensor: Tensor | None = None
    shares: tuple[float, ...] = (1.0,)

    def hybrid(self, seed: int) -> HybridData:
        raise NotImplementedError


@final
class Loose(AbstractDataSource):
    """Takes anything."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def hybrid(self, seed: int) -> HybridData:
        raise NotImplementedError
