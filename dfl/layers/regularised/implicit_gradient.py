"""Derivatives of a regularised optimum and of its multiplier, by the implicit function theorem."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.layers.regularised.row_maps import AbstractRowMap, spread

__all__ = ["People", "add_up", "divide", "total"]


@final
@dataclass(frozen=True, eq=False)
class People:
    """Some of the people of a regularised optimum: where derivatives are taken.

    ``x_i = row_map((revenue_i - multiplier * cost_i) / temperature)`` and, where the budget
    binds, ``sum_ij price_ij x_ij = budget`` over all people. Everything is plain arithmetic
    on what is held here, so that derivatives of these derivatives follow by themselves.

    Args:
        row_map: the regulariser; ``J`` below is the Jacobian of its shares.
        cost: in currency. Shape ``(..., M, N)``.
        price: what shares are charged, None for the cost. Shape ``(..., M, N)``.
        shares: columns on the simplex. Shape ``(..., M, N)``.
        temperature: of unit currency, > 0, held constant. Shape ``(...)``.
        multiplier: shape ``(...)``.
    """

    row_map: AbstractRowMap
    cost: Tensor
    price: Tensor | None
    shares: Tensor
    temperature: Tensor
    multiplier: Tensor

    def pull(self, slope: Tensor, kappa: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients in revenue and cost.

        Args:
            slope: gradient in the shares. Shape ``(..., M, N)``.
            kappa: gradient in the budget. Shape ``(...)``.
        """
        per_share = kappa.to(slope.dtype)[..., None, None]
        left = torch.addcmul(slope, per_share, self._charged, value=-1)
        by_revenue = spread(self._weights, left) / self.temperature[..., None, None]
        by_cost = by_revenue * -self.multiplier[..., None, None]
        if self.price is None:
            by_cost = torch.addcmul(by_cost, per_share, self.shares, value=-1)
        return by_revenue, by_cost

    def reaction(self, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``sum slope * J cost``, ``sum price * J cost`` and the latter's size.

        Args:
            slope: gradient in the shares. Shape ``(..., M, N)``.
        """
        spread_cost = spread(self._weights, self.cost)
        gained = total(slope * spread_cost)
        if self.price is None:  # nobody's fall is negative
            fall = total(self.cost * spread_cost)
            return gained, fall, fall
        falls = (self.price * spread_cost).sum(dim=-2, keepdim=True)
        return gained, total(falls), total(falls.detach().abs())

    def push(
        self, revenue: Tensor, cost: Tensor, budget: Tensor, binds: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the directional derivatives of shares and multiplier; these are all people.

        Args:
            revenue: direction. Shape ``(..., M, N)``.
            cost: direction. Shape ``(..., M, N)``.
            budget: direction. Shape ``(...)``.
            binds: where the budget binds, None to hold the multiplier constant.
        """
        moved = revenue - self.multiplier[..., None, None] * cost
        rise = torch.zeros_like(self.multiplier)
        if binds is not None:
            gained = total(spread(self._weights, self._charged) * moved) - self.temperature * budget
            if self.price is None:
                gained = gained + self.temperature * total(self.shares * cost)
            _, fall, size = self.reaction(moved)
            rise = divide(gained, fall, size, binds).to(rise.dtype)
        left = moved - rise[..., None, None] * self.cost
        return spread(self._weights, left) / self.temperature[..., None, None], rise

    @property
    def _charged(self) -> Tensor:
        return self.cost if self.price is None else self.price

    @property
    def _weights(self) -> Tensor:
        return self.row_map.weights(self.shares)


def divide(gained: Tensor, fall: Tensor, size: Tensor, binds: Tensor) -> Tensor:
    """Divide where the budget binds and spend falls as money gets dearer; 0 elsewhere.

    Where nobody's shares react, or where logged spend rises, the multiplier has no derivative
    that means anything.

    Args:
        gained: numerator. Shape ``(...)``.
        fall: of the spend, times the temperature. Shape ``(...)``.
        size: sum of its absolute terms. Shape ``(...)``.
        binds: bool. Shape ``(...)``.
    """
    real = binds & (fall > torch.finfo(torch.float32).eps * size)
    return torch.where(real, gained / torch.where(real, fall, 1), 0)


def total(amount: Tensor) -> Tensor:
    """Add up ``(..., M, N)`` over people and treatments, in float64."""
    return amount.sum(dim=(-2, -1), dtype=torch.float64)


def add_up(parts: list[Tensor]) -> Tensor:
    """Add up one tensor per block of people."""
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)
