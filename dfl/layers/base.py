"""Interface of the differentiable layers, and what they return."""

import inspect
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor, nn

from dfl.budget import Budget
from dfl.problem import ObservedCost
from dfl.solvers.base import AbstractSolver

__all__ = ["AbstractLayer", "AtPrice", "BudgetLike", "SoftAllocation", "of_received"]


class AtPrice(NamedTuple):
    """In place of money: the price of money, found elsewhere, at which to decide.

    Args:
        multiplier: revenue per unit of cost, >= 0, held constant in gradients. Shape ``(...)``.
    """

    multiplier: Tensor


BudgetLike: TypeAlias = float | Tensor | Budget | AtPrice
"""Money for the N people of a problem together, in the currency of the predictions.

A number for all problems, a tensor that expands to the leading axes, or a `Budget`, whose share
lies between the cheapest and the dearest predicted cost of each problem. Layers and losses that
decide at a price (`AbstractLayer.decides_at_price`) also take the price itself, `AtPrice`.
"""


class SoftAllocation(NamedTuple):
    """A soft allocation and the price of money at which it was made.

    A named tuple, so that `torch.func` transforms and `torch.compile` see through it.

    Args:
        shares: share of each treatment for each person, rows on the simplex; carries the
            gradient. Dtype and device of the layer's input. Shape ``(..., N, M)``.
        multiplier: revenue gained by one more unit of budget, >= 0. Shape ``(...)``.
    """

    shares: Tensor
    multiplier: Tensor


class AbstractLayer(nn.Module, ABC):
    """Turns predicted revenue and cost into a soft allocation that carries a gradient."""

    price: Any = None  # a `Price` of money, at which it decides; None where it asks for none

    @property
    def decides_at_price(self) -> bool:
        """Whether the budget plays no part but to find a price, so that `AtPrice` can stand in."""
        return self.price is not None and bool(self.price.found)

    @property
    def uses_budget(self) -> bool:
        """Whether the budget matters; not at a fixed price of money, where one budget does."""
        return self.price is None or self.price.multiplier is None

    @property
    def price_solver(self) -> AbstractSolver | None:
        """Who finds the price of money where the layer decides at one; None for dfl's choice."""
        return None if self.price is None else self.price.solver

    @abstractmethod
    def forward(
        self,
        revenue: Tensor,  # (..., N, M)
        cost: Tensor,  # (..., N, M)
        budget: BudgetLike,
        observed: ObservedCost | None = None,
        allowed: Tensor | None = None,
    ) -> SoftAllocation:
        """Return the share of each treatment for each person.

        Args:
            revenue: predicted revenue, in currency. Leading axes are separate problems
                (the members of an ensemble, say). Shape ``(..., N, M)``.
            cost: predicted cost, in the same currency. Shape ``(..., N, M)``.
            budget: money for the N people together, in the same currency: a number, shape
                ``(...)``, or a `Budget`.
            observed: logged costs of these people, shape ``(..., N)``; where given, the
                budget is met by the estimated observed spend.
            allowed: which treatments each person may get, None for all; others have share 0
                and no part in any scale. bool, shape ``(..., N, M)``, or one that expands to it.

        Returns:
            Shares ``(..., N, M)`` and multiplier ``(...)``; under autocast in float32.

        Raises:
            ShapeError: if shapes do not fit.
            DTypeError: if predictions are no tensors or not floating point, or ``allowed`` is not
                bool.
            InvalidValueError: if an input is not finite, or someone is allowed nothing.
        """

    def received(
        self, revenue: Tensor, cost: Tensor, budget: BudgetLike, observed: ObservedCost
    ) -> tuple[Tensor, Tensor]:
        """Return each person's share of the treatment received, and the multiplier.

        What `forward` gives, gathered. A layer that need not make the shares of the other
        treatments overrides it.

        Args:
            revenue: as for `forward`.
            cost: as for `forward`.
            budget: as for `forward`.
            observed: treatment received, and the logged costs that meet the budget. ``(..., N)``.

        Returns:
            Shares ``(..., N)`` and multiplier ``(...)``.
        """
        shares, multiplier = self(revenue, cost, budget, observed)
        return of_received(shares, observed.treatment), multiplier

    def extra_repr(self) -> str:
        """Return the options for printing."""
        names = inspect.signature(type(self)).parameters
        return ", ".join(f"{name}={vars(self)[name]!r}" for name in names if name in vars(self))


def of_received(amount: Tensor, treatment: Tensor) -> Tensor:
    """Return the entry of ``(..., N, M)`` at each person's treatment. Shape ``(..., N)``."""
    return amount.gather(-1, treatment.unsqueeze(-1)).squeeze(-1)
