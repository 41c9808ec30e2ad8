"""The multiplier that meets a budget in observed cost, where several processes share the people."""

import torch
from torch import Tensor

from dfl.problem import BUDGET_SLACK
from dfl.scale import gathered, over_ranks

__all__ = ["smallest_within_shared"]

_CELLS = 4096  # that each process cuts the multipliers into, with as many of its people in each


def smallest_within_shared(
    low: Tensor, high: Tensor, amount: Tensor, budget: float
) -> Tensor | None:
    """Return the smallest multiplier at which the spend of all processes is within the budget.

    The rule is that of `dfl.solvers.prices.crossing.last_within`. The multipliers are cut into
    cells, at whose ends the spend is known by sums over the processes. Within a cell it falls by
    what leaves there at most, so only few cells may hold a smaller one than the first end that is
    within the budget: their people are exchanged, about one in a thousand, and looked at one
    by one.

    Args:
        low: where the match of each person here with the log begins. float64, shape ``(N,)``.
        high: where it ends, above ``low`` if there is a match.
        amount: what the person adds to the spend there, >= 0.
        budget: what may be spent.

    Returns:
        Shape ``()``, or None where every multiplier spends more.
    """
    matched = (low < high) & (high > 0)
    low, high, amount = low[matched], high[matched], amount[matched]
    leaves = high.isfinite()
    at = torch.cat((low, high[leaves]))
    change = torch.cat((amount, -amount[leaves]))
    at, order = at.sort()
    change = change[order]
    ends = _ends(at)
    spend = over_ranks(_before(change, torch.searchsorted(at, ends, right=True)))
    limit = budget + BUDGET_SLACK * float(spend.abs().max())
    met = (spend <= limit).nonzero().flatten()
    first = int(met[0]) if len(met) else len(spend) - 1
    # What leaves inside a cell, both ends aside, is what the spend can fall by.
    inside = torch.searchsorted(at, ends[1:]), torch.searchsorted(at, ends[:-1], right=True)
    falls = _before(change.clamp(max=0), inside[0]) - _before(change.clamp(max=0), inside[1])
    doubtful = (spend[:-1] + over_ranks(falls) <= limit)[:first].nonzero().flatten()
    found = _look_inside(at, change, [part[doubtful] for part in inside], spend[doubtful], limit)
    if found is None and len(met):
        return ends[first]
    return found


def _look_inside(
    at: Tensor, change: Tensor, inside: list[Tensor], spend: Tensor, limit: float
) -> Tensor | None:
    """Return the smallest multiplier inside some cells whose spend is within a limit, or None.

    Args:
        at: multipliers at which the spend changes, ascending. Shape ``(E,)``.
        change: by how much. Shape ``(E,)``.
        inside: behind the last and at the first of each cell. Shape ``(C,)`` each.
        spend: where each cell begins. Shape ``(C,)``.
        limit: what may be spent.
    """
    count = inside[0] - inside[1]
    cell = torch.arange(len(count), device=at.device).repeat_interleave(count)
    place = torch.arange(len(cell), device=at.device)
    place = place - (count.cumsum(0) - count)[cell] + inside[1][cell]
    every = gathered((cell.cpu(), at[place].cpu(), change[place].cpu()))
    cell, at, change = (torch.cat(parts).to(at.device) for parts in zip(*every, strict=True))
    at, order = at.sort(stable=True)
    cell, change = cell[order], change[order]
    before = torch.searchsorted(cell, torch.arange(len(count), device=at.device))
    summed = change.cumsum(0)
    after = spend[cell] + summed - _before(change, before)[cell]
    last = torch.ones_like(cell, dtype=torch.bool)
    last[:-1] = at[1:] != at[:-1]
    within = at[last & (after <= limit)]
    return within[0] if len(within) else None


def _ends(at: Tensor) -> Tensor:
    """Return ends of cells, ascending: 0, the last multiplier, and places of each process."""
    count = min(_CELLS, len(at))
    places = torch.linspace(0, len(at) - 1, count, dtype=torch.float32, device=at.device).long()
    every = [at.new_zeros(1), *(part.to(at) for part in gathered(at[places].cpu()))]
    ends: Tensor = torch.unique(torch.cat(every))
    return ends


def _before(change: Tensor, places: Tensor) -> Tensor:
    """Return the sum of all changes before each place."""
    return torch.cat((change.new_zeros(1), change.cumsum(0)))[places]
