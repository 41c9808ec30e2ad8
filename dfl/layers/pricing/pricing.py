"""What the layers that choose per person share: the price of money, scores, and their spread."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.layers.base import AbstractLayer, SoftAllocation
from dfl.layers.pricing.batching import budget_of_each, check_shapes
from dfl.layers.pricing.eager import eagerly
from dfl.layers.pricing.hard_multiplier import hard_multiplier
from dfl.layers.pricing.softness import Scale, spread
from dfl.problem import ObservedCost
from dfl.solvers.base import AbstractSolver
from dfl.solvers.passes.decide import decide

__all__ = [
    "AbstractPricedLayer",
    "Scale",
    "check_multiplier",
    "check_option",
    "check_positive",
    "decide_one_hot",
    "price_of_money",
    "priced_revenue",
    "scores",
    "spread",
]


class AbstractPricedLayer(AbstractLayer):
    """A layer whose rows choose for themselves at a price of money, held constant in gradients.

    Args:
        multiplier: a fixed multiplier >= 0, or None to find the one that meets the budget.
        solver: finds the multiplier from detached values; None for greedy-dual or, with
            observed costs, dual-bisection which takes the multiplier of least spend where none
            meets the budget.

    Raises:
        InvalidValueError: if the multiplier is negative or NaN.
    """

    def __init__(self, *, multiplier: float | None, solver: AbstractSolver | None) -> None:
        super().__init__()
        self.multiplier = check_multiplier(multiplier)
        self.solver = solver

    def forward(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: float | Tensor,
        observed: ObservedCost | None = None,
    ) -> SoftAllocation:
        """Return shares and multiplier; see the interface."""
        source = self.solver if self.multiplier is None else self.multiplier
        multiplier = price_of_money(revenue, cost, budget, observed, source)
        return SoftAllocation(self.shares(revenue, cost, multiplier), multiplier)

    @abstractmethod
    def shares(self, revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
        """Return the shares at a multiplier ``(...)``. Shape ``(..., N, M)``, as both inputs."""


def price_of_money(
    revenue: Tensor,  # (..., N, M)
    cost: Tensor,  # (..., N, M)
    budget: float | Tensor,
    observed: ObservedCost | None,
    source: float | AbstractSolver | None,
) -> Tensor:  # (...)
    """Return the multiplier, fixed or as a solver finds it, held constant in gradients.

    Args:
        revenue: predicted revenue, in currency. Shape ``(..., N, M)``.
        cost: predicted cost, in currency. Shape of ``revenue``.
        budget: money for the N people together; a number or ``(...)``.
        observed: logged costs ``(..., N)``, or None.
        source: a fixed multiplier, or what finds one; None as in `hard_multiplier`.

    Returns:
        Multiplier in the dtype of ``revenue``. Shape ``(...)``.

    Raises:
        ShapeError: if shapes do not fit.
    """
    check_shapes(revenue, cost)
    if isinstance(source, float | int):
        return revenue.new_full(revenue.shape[:-2], source)
    find = eagerly(hard_multiplier)
    return find(source, revenue, cost, budget_of_each(budget, revenue), observed)


def scores(revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
    """Return ``revenue - multiplier * cost``. Shape ``(..., N, M)``, multiplier ``(...)``."""
    return revenue - multiplier[..., None, None] * cost


def priced_revenue(revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
    """Return ``revenue``, with the derivative of ``revenue - multiplier * cost``.

    So that a decision is made from revenue and cost themselves, with their exact ties, while
    its gradient reaches both.
    """
    return revenue - multiplier[..., None, None] * (cost - cost.detach())


def decide_one_hot(revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
    """Return the hard choice at a multiplier as shares ``(..., N, M)``; ties as in `decide`."""
    choice = decide(revenue, cost, multiplier).unsqueeze(-1)
    return torch.zeros_like(revenue).scatter_(-1, choice, 1)


def check_positive(name: str, value: float) -> None:
    """Refuse an option that is not a finite number above 0; raise `InvalidValueError`."""
    if not 0 < value < float("inf"):
        raise InvalidValueError(f"{name} must be > 0 and finite, got {value:g}.")


def check_multiplier(value: float | None) -> float | None:
    """Return a fixed multiplier, or None; raise `InvalidValueError` if it is negative or NaN."""
    if value is not None and not value >= 0:
        raise InvalidValueError(f"multiplier must be >= 0, got {value:g}.")
    return value


def check_option(name: str, value: object, known: Sequence[str]) -> None:
    """Refuse an option that is not one of the words known; raise `InvalidValueError`."""
    if value not in known:
        words = " or ".join(repr(word) for word in known)
        raise InvalidValueError(f"{name} must be {words}, got {value!r}.")
