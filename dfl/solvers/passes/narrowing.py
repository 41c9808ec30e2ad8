"""The whole path of one market, and one budget's allocation without most of that path."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from dfl.budget_path import BudgetPath
from dfl.errors import InfeasibleBudgetError
from dfl.problem import Allocation
from dfl.scale import over_ranks
from dfl.solvers.passes import AbstractPasses, passes_for

__all__ = ["budget_path", "narrow"]

_SMALL = 8_192  # rows from which on a whole path costs more than sifting
_SPREADS = (2.5, 10.0)  # half width of the bracket, in standard errors of the sample's spend
_AT_HAND = ("cpu",)  # devices on which a number is looked at without waiting
_OUTWARD = 2.0**-20  # ends lie on multipliers of the sample; away from them ties are rare


def budget_path(revenue: Tensor, cost: Tensor, passes: AbstractPasses) -> BudgetPath:
    """Sort everyone's steps, best revenue per cost first. Shapes ``(N, M)``."""
    steps = passes.hull(revenue, cost)
    start = (_total(amount, steps.base) for amount in (cost, revenue))
    order, multipliers, costs, revenues = passes.along(steps, *start)
    return BudgetPath(multipliers, costs, revenues, steps, order)


def narrow(revenue: Tensor, cost: Tensor, budget: float, passes: AbstractPasses) -> Allocation:
    """Allocate one budget, most people being settled without their hulls.

    A sample's path tells where the critical multiplier lies, give or take a few standard
    errors. One pass over all people finds everyone's best treatment at both ends of that
    bracket. Who has the same at both keeps it at every multiplier in between; the others,
    with what is left of the budget, are a smaller problem of the same kind, solved likewise,
    by its whole path when it is small. **Proof:** if the smaller problem's multiplier lies
    in the bracket, each person who was settled is at a best treatment for it, so that LP
    optima add up; if not, the bracket was wrong and a wider one, then everyone's path, is
    taken. Rounding cannot break this: how much worse a treatment is than the best one is
    convex in the multiplier, so it is no worse inside a bracket than at its ends.

    What is left after the LP optimum is rounded goes to steps of the last, small problem. Off the
    CPU the sample's path and that problem come to the CPU, as a path is looked at number by number.

    Args:
        revenue: shape ``(N, M)``.
        cost: shape ``(N, M)``.
        budget: money for all these people.
        passes: the back end.

    Returns:
        The allocation, as ``budget_path(...).at(budget)`` gives it but for that last fill.

    Raises:
        InfeasibleBudgetError: if even the cheapest allocation costs more.

    Source:
        Own. Pisinger (1995), doi:10.1016/0377-2217(95)00015-I, also narrows the classes that
        matter around the critical multiplier, by partitioning instead of by a sample.
    """
    found = _narrowed(revenue, cost, budget, passes)
    names = ("choice", "multiplier", "revenue", "cost", "upper_bound")
    return replace(found, **{name: getattr(found, name).to(revenue.device) for name in names})


def _narrowed(revenue: Tensor, cost: Tensor, budget: float, passes: AbstractPasses) -> Allocation:
    """Allocate one budget; the answer may lie on the CPU."""
    if revenue.shape[0] <= _SMALL:
        return budget_path(*_at_hand(revenue, cost, passes)).at(budget)
    for spread in _SPREADS:
        found = _settle(revenue, cost, budget, passes, spread)
        if found is not None:
            return found
    return budget_path(revenue, cost, passes).at(budget)


def _at_hand(
    revenue: Tensor, cost: Tensor, passes: AbstractPasses
) -> tuple[Tensor, Tensor, AbstractPasses]:
    """Return few people's rows on the CPU, and passes for them."""
    if revenue.device.type in _AT_HAND:
        return revenue, cost, passes
    return revenue.cpu(), cost.cpu(), passes_for("auto", torch.device("cpu"))


def _settle(
    revenue: Tensor, cost: Tensor, budget: float, passes: AbstractPasses, spread: float
) -> Allocation | None:
    """Settle those whom a bracket settles and solve for the others; None if it fails."""
    low, high = _bracket(revenue, cost, budget, passes, spread)
    sifted = passes.sift(revenue, cost, low, high)
    if sifted is None:
        return None
    others = sifted.others
    kept = torch.tensor([sifted.cost, sifted.revenue], dtype=torch.float64)
    cost_kept, revenue_kept = over_ranks(kept).tolist()
    try:
        rest = _narrowed(sifted.others_revenue, sifted.others_cost, budget - cost_kept, passes)
    except InfeasibleBudgetError:  # the choices at the bracket's upper end cost too much
        return None
    if not low <= float(rest.multiplier) <= high:
        return None
    split = rest.split
    return Allocation(
        choice=sifted.filled(rest.choice),
        multiplier=rest.multiplier,
        revenue=rest.revenue + revenue_kept,
        cost=rest.cost + cost_kept,
        upper_bound=rest.upper_bound + revenue_kept,
        split=split and replace(split, row=int(others[split.row])),
    )


def _bracket(
    revenue: Tensor, cost: Tensor, budget: float, passes: AbstractPasses, spread: float
) -> tuple[float, float]:
    """Return two multipliers between which a sample says that the critical one lies."""
    rows = revenue.shape[0]
    size = min(max(rows // 256, _SMALL // 2), 2 * _SMALL)
    draw = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
    draw.add_(torch.arange(size)).mul_(rows / size)  # one of every run of neighbours, in order
    sample = draw.long().clamp_(max=rows - 1).to(revenue.device)
    revenue, cost = revenue.index_select(0, sample), cost.index_select(0, sample)
    revenue, cost, passes = _at_hand(revenue, cost, passes)
    path = budget_path(revenue, cost, passes)
    target = budget * size / rows
    point = _point(path, target)
    chosen = passes.decide(revenue, cost, float(path.multipliers[point]))
    spends = cost.gather(1, chosen[:, None])
    error = spread * float(spends.double().std()) * math.sqrt(size * (1 - size / rows))
    low, high = (float(path.multipliers[_point(path, target + e)]) for e in (error, -error))
    if target - error < float(path.costs[0]):
        high *= 16  # beyond all that the sample has
    return low * (1 - _OUTWARD), high * (1 + _OUTWARD)


def _point(path: BudgetPath, spend: float) -> int:
    """Return the last point of the path that costs no more, or the first one."""
    return max(int(torch.searchsorted(path.costs, spend, right=True)) - 1, 0)


def _total(amount: Tensor, choice: Tensor) -> float:
    return float(amount.gather(1, choice[:, None]).sum(dtype=torch.float64))
