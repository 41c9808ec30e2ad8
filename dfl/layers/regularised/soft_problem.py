"""What the root-find of a regularised optimum evaluates, block of people by block."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from dfl.layers.pricing.arms_first import arms_first, blocks
from dfl.layers.regularised.find_multiplier import find_multiplier
from dfl.layers.regularised.implicit_gradient import add_up, total
from dfl.layers.regularised.row_maps import AbstractRowMap, spread

__all__ = ["SoftProblem"]

_SAMPLE = 1 << 16  # people, about, on whom the first guess of the multiplier is made
_EVERY = 16  # at most every so many-th person
_ROUNDING = 16  # times the dtype's epsilon: what counts as meeting the budget


@final
@dataclass(frozen=True, eq=False)
class SoftProblem:
    """Everyone's scores, in units of the temperature, as a function of the multiplier.

    Args:
        row_map: the regulariser.
        gain: ``revenue / temperature``. Blocks of shape ``(..., M, n)``.
        cost: in currency. Blocks of shape ``(..., M, n)``.
        price: what shares are charged; the same as ``cost`` without observed costs.
        temperature: shape ``(...)``.
    """

    row_map: AbstractRowMap
    gain: list[Tensor]
    cost: list[Tensor]
    price: list[Tensor]
    temperature: Tensor

    @staticmethod
    def of(
        row_map: AbstractRowMap,
        revenue: Tensor,
        cost: Tensor,
        price: Tensor | None,
        temperature: Tensor,
    ) -> "SoftProblem":
        """Build the problem from ``(..., N, M)``; see `soft_optimum`."""
        parts = blocks(cost.shape[-2], temperature.numel())
        gains = [arms_first(revenue[..., part, :]) / temperature[..., None, None] for part in parts]
        costs = [arms_first(cost[..., part, :]) for part in parts]
        prices = costs if price is None else [arms_first(price[..., part, :]) for part in parts]
        return SoftProblem(row_map, gains, costs, prices, temperature)

    def solve(self, budget: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return shares ``(..., M, N)``, multiplier and whether the budget binds ``(...)``.

        Args:
            budget: float64. Shape ``(...)``.
            start: first guess of the multiplier, or None. Shape ``(...)``.
        """
        lengths = [block.shape[-1] for block in self.cost]
        shares = self.cost[0].new_empty((*self.cost[0].shape[:-1], sum(lengths)))
        if not shares.shape[-1]:  # nobody: nothing is spent, and money is free
            return shares, torch.zeros_like(budget), torch.zeros_like(budget, dtype=torch.bool)
        temperature = self.temperature.double()
        unit = self._unit()
        if start is not None:
            first = start.double() / temperature
        elif len(lengths) > 1:
            sample, share = self._sample()
            first = sample.solve(budget * share, None)[1] / temperature
        else:
            first = unit
        into = list(torch.split(shares, lengths, dim=-1))
        # The multiplier is sought in units of the temperature, as the scores are.
        multiplier, binds = find_multiplier(
            lambda at: self._spend(at, into),
            budget,
            first,
            unit=unit,
            floor=self._floor(budget),
            rtol=_ROUNDING * torch.finfo(self.temperature.dtype).eps,
        )
        return shares, multiplier * temperature, binds

    def _spend(self, price: Tensor, into: list[Tensor]) -> tuple[Tensor, Callable[[], Tensor]]:
        """Return the spend and how fast it falls, and write the shares into a list of blocks."""
        slope = price.to(self.temperature.dtype)[..., None, None]
        spent = []
        for gain, cost, charged, shares in zip(self.gain, self.cost, self.price, into, strict=True):
            self.row_map.shares(torch.addcmul(gain, cost, slope, value=-1), out=shares)
            spent.append(total(charged * shares))
        return add_up(spent), lambda: self._fall(into)

    def _fall(self, shares: list[Tensor]) -> Tensor:
        """Return how fast the spend falls where people have these shares."""
        everyone = zip(self.cost, self.price, shares, strict=True)
        return add_up(
            [
                total(spread(self.row_map.weights(shares), cost).mul_(charged))
                for cost, charged, shares in everyone
            ]
        )

    def _floor(self, budget: Tensor) -> Tensor:
        """Return the spend of the cheapest choice; minus infinity where others are charged."""
        if self.price is not self.cost:
            return torch.full_like(budget, -torch.inf)
        return add_up([cost.amin(dim=-2).sum(dim=-1, dtype=torch.float64) for cost in self.cost])

    def _sample(self) -> tuple["SoftProblem", float]:
        """Return the problem of every so many-th person, and their share of all."""
        people = sum(block.shape[-1] for block in self.cost)
        step = max(people // _SAMPLE, _EVERY)

        def some(amounts: list[Tensor]) -> list[Tensor]:
            return [torch.cat([block[..., ::step] for block in amounts], dim=-1)]

        cost = some(self.cost)
        price = cost if self.price is self.cost else some(self.price)
        sample = replace(self, gain=some(self.gain), cost=cost, price=price)
        return sample, cost[0].shape[-1] / people

    def _unit(self) -> Tensor:
        """Return a typical multiplier: the range of the gains over the range of the costs."""
        (least, most), (cheap, dear) = (
            torch.aminmax(each[0].flatten(-2), dim=-1) for each in (self.gain, self.cost)
        )
        money = dear - cheap
        return ((most - least + 1) / torch.where(money > 0, money, 1)).double()
