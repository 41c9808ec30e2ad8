"""`solve_blocks`: the LP optimum of people who do not fit in memory, in passes over blocks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.errors import InfeasibleBudgetError, NotConvergedError
from dfl.problem import Allocation, rounding
from dfl.scale import Bracket, Sketch, alone, gathered
from dfl.solvers.blockwise.blocks import AbstractBlocks, Arrays
from dfl.solvers.blockwise.passes import choice_at, opened, ties_of
from dfl.solvers.passes import AbstractPasses, Backend, passes_for
from dfl.solvers.passes.narrowing import narrow
from dfl.solvers.passes.sketching import hull_sketch

__all__ = ["BlockwiseAllocation", "money_of", "solve_blocks"]

_DIGITS = (10, 31, 52)  # bits of a multiplier that the sketches tell apart, one after another
_MOST_STEPS = 1 << 22  # between the ends of a bracket whose people are held in memory
_SPARE = 20_000  # steps below the multiplier, for what is left of the budget; as `BudgetPath.at`
_WIDER = (0.0, 2.0**-10, 2.0**-6)  # of the multiplier, where rounding put it outside its bracket
_OUTWARD = 2.0**-20  # ends may be multipliers of steps; away from them ties are rare


class _AbstractRule(ABC):
    """Which treatment everyone gets."""

    @abstractmethod
    def choice(self, block: int, revenue: Tensor, cost: Tensor) -> Tensor:
        """Return a block's treatments. int64, ``(n,)``."""


@final
@dataclass(frozen=True, eq=False)
class BlockwiseAllocation:
    """What a budget buys; the choices are told block by block.

    Args:
        rule: tells them.
        budget: in currency, for everyone.
        people: number of them.
        multiplier: revenue gained by one more unit of budget, >= 0.
        revenue: total revenue of the choices.
        cost: their total cost, within the budget.
        upper_bound: no allocation within the budget earns more.
    """

    rule: _AbstractRule
    budget: float
    people: int
    multiplier: float
    revenue: float
    cost: float
    upper_bound: float

    @property
    def gap(self) -> float:
        """Relative distance to the upper bound, as `Allocation.gap`."""
        tiny = float(np.finfo(np.float64).tiny)
        return (self.upper_bound - self.revenue) / max(abs(self.upper_bound), tiny)

    def choice(self, block: int, revenue: Tensor, cost: Tensor) -> Tensor:
        """Return the treatments of a block. int64, shape ``(n,)``.

        Args:
            block: which block.
            revenue: its revenue, as the blocks gave it. Shape ``(n, M)``.
            cost: its cost.
        """
        return self.rule.choice(block, revenue, cost)


def solve_blocks(
    blocks: AbstractBlocks, budget: Budget, *, backend: Backend = "auto"
) -> BlockwiseAllocation:
    """Allocate one budget to people in blocks, as `GreedyDual` does to those in memory.

    1. Every block's hull steps are sketched: a histogram of their multipliers with sums of cost
       and revenue. The sketches add up and say between which two multipliers, a thousandth
       apart, the one lies that meets the budget.
    2. Every block is sifted between the two. Who has the same best treatment at both ends is
       settled; the others' rows are gathered and solved in memory, `narrow`. The multiplier
       found lies in the bracket, which proves that the LP optima add up.
    3. `BlockwiseAllocation.choice` sifts once more and says what everyone gets.

    Where more than four million steps lie between the two, the sketch is refined there; where
    they all have one multiplier (people who are alike), blocks take them in order until the
    money ends, and one block is solved by itself. Memory holds a block, a sketch and the
    people who are open, whatever the number of rows. Multiplier and upper bound are those
    of `GreedyDual` up to the rounding of sums, and so are the choices but for those of people
    who are on a tie or to whom what is left after rounding down goes.

    Under torchrun every process reads its share of the blocks, one out of as many as there are
    processes; all processes call this and get the same. `RayBlocks` shares them among the workers
    of a Ray cluster.

    Args:
        blocks: the people; one budget, met by predicted costs.
        budget: money; a share is taken of the blocks' costs.
        backend: see `passes_for`.

    Raises:
        InfeasibleBudgetError: if even the cheapest choice for everyone costs more.
        NotConvergedError: if rounding leaves no bracket that holds, which scores of vastly
            different sizes may do.
        InvalidValueError: if the back end does not exist.
        MissingExtraError: if the back end is not installed.

    Source:
        Own; Dyer (1984), doi:10.1007/BF02591729, prunes by the multiplier likewise.
    """
    passes = passes_for(backend, torch.device("cpu"))
    if not sum(blocks.sizes):
        total = budget.total_for(0, 0.0, 0.0)
        return BlockwiseAllocation(_Between(0.0, 1.0, (), passes), total, 0, 0.0, 0.0, 0.0, 0.0)
    sketch = _sketch(blocks, _DIGITS[0], None, passes)
    total = _total(sketch, budget)
    if sketch.spent > total * (1 + rounding(total, sketch.rows)):
        raise InfeasibleBudgetError(
            "budget must be at least the cost of the cheapest choice for everyone, "
            f"{sketch.spent:g}, got {total:g}; raise the budget or add a cheaper treatment."
        )
    total = max(total, sketch.spent)
    bracket = sketch.bracket(total, spare=_SPARE)
    if bracket.steps > _MOST_STEPS:
        bracket = sketch.bracket(total)
    for digits in _DIGITS[1:]:
        if bracket.steps > _MOST_STEPS:
            bracket = _sketch(blocks, digits, bracket, passes).bracket(total)
    if bracket.steps > _MOST_STEPS:
        return _solve_ties(blocks, total, bracket.low, passes)
    for wider in _WIDER:
        outward = wider + _OUTWARD
        low, high = bracket.low * (1 - outward), bracket.high * (1 + outward)
        found = _solve_open(blocks, total, low, high, passes)
        if found is not None:
            return found
    raise NotConvergedError(
        f"the multiplier that spends {total:g} must lie near [{bracket.low:g}, "
        f"{bracket.high:g}], where the sums of all blocks place it, and does not: scores of very "
        "different sizes round each other away. Give amounts in one unit, or leave out rows "
        "whose amounts are extreme."
    )


def money_of(
    blocks: AbstractBlocks, budget: Budget, *, backend: Backend = "auto"
) -> tuple[float, float]:
    """Return what a budget amounts to, and the cost of the cheapest choice for everyone.

    By the pass that `solve_blocks` begins with, which blocks that keep what is made of them do
    not make again.

    Args:
        blocks: the people.
        budget: money; a share is taken of the blocks' costs.
        backend: see `passes_for`.

    Raises:
        InvalidValueError: if the back end does not exist.
        MissingExtraError: if the back end is not installed.
    """
    if not sum(blocks.sizes):
        return budget.total_for(0, 0.0, 0.0), 0.0
    sketch = _sketch(blocks, _DIGITS[0], None, passes_for(backend, torch.device("cpu")))
    return _total(sketch, budget), sketch.spent


def _total(sketch: Sketch, budget: Budget) -> float:
    return budget.total_for(sketch.rows, sketch.spent, sketch.dearest)


def _sketch(
    blocks: AbstractBlocks, digits: int, within: Bracket | None, passes: AbstractPasses
) -> Sketch:
    def make(block: int) -> Arrays:
        scores = blocks.scores(block)
        if within is None:
            found = passes.sketch(*scores, digits)
        else:
            found = hull_sketch(passes, *scores, digits, within)
        return {name: np.asarray(value) for name, value in vars(found).items()}

    own = None
    for _, kept in blocks.over(f"sketch-{digits}", _with_people(blocks), make):
        values: dict[str, Any] = {k: v if v.ndim else v.item() for k, v in kept.items()}
        one = Sketch(**values)
        own = one if own is None else Sketch.merged([own, one])
    return Sketch.merged(one for one in gathered(own) if one is not None)


def _with_people(blocks: AbstractBlocks) -> list[int]:
    return [block for block, size in enumerate(blocks.sizes) if size]


def _over_blocks(blocks: AbstractBlocks, name: str, make: Callable[[int], Arrays]) -> list[Arrays]:
    """Return what is made of every block that has people, each by one process."""
    mine = dict(blocks.over(name, _with_people(blocks), make))
    every: dict[int, Arrays] = {}
    for one in gathered(mine):
        every |= one
    return [every[block] for block in sorted(every)]


@final
@dataclass(frozen=True, eq=False)
class _Between(_AbstractRule):
    """Who is settled between two multipliers gets the best treatment there, the others theirs."""

    low: float
    high: float
    others: Sequence[Tensor]
    passes: AbstractPasses

    def choice(self, block: int, revenue: Tensor, cost: Tensor) -> Tensor:
        if not len(revenue):
            return torch.empty(0, dtype=torch.int64)
        found = opened(revenue, cost, self.low, self.high, self.passes)
        return found.filled(self.others[block])


def _solve_open(
    blocks: AbstractBlocks, total: float, low: float, high: float, passes: AbstractPasses
) -> BlockwiseAllocation | None:
    """Solve for the people whom a bracket leaves open; None where it does not hold."""

    def make(block: int) -> Arrays:
        found = opened(*blocks.scores(block), low, high, passes)
        return {
            "revenue": found.others_revenue.numpy(),
            "cost": found.others_cost.numpy(),
            "kept": np.array([found.cost, found.revenue]),
        }

    every = _over_blocks(blocks, f"open-{low.hex()}-{high.hex()}", make)
    kept_cost, kept_revenue = (math.fsum(one["kept"][k] for one in every) for k in (0, 1))
    revenue, cost = (
        torch.from_numpy(np.concatenate([one[name] for one in every]))
        for name in ("revenue", "cost")
    )
    try:
        with alone():
            rest = narrow(revenue, cost, _left(total, kept_cost, cost, sum(blocks.sizes)), passes)
    except InfeasibleBudgetError:  # the choices at the bracket's upper end cost too much
        return None
    if not low <= float(rest.multiplier) <= high:
        return None
    counts = iter([len(one["revenue"]) for one in every])
    others = torch.split(rest.choice, [next(counts) if size else 0 for size in blocks.sizes])
    return BlockwiseAllocation(
        _Between(low, high, others, passes),
        total,
        sum(blocks.sizes),
        float(rest.multiplier),
        float(rest.revenue) + kept_revenue,
        float(rest.cost) + kept_cost,
        float(rest.upper_bound) + kept_revenue,
    )


def _left(total: float, kept: float, cost: Tensor, people: int) -> float:
    """Return the money for those who are open: what their cheapest choices cost, but for rounding.

    Sums over all people round by parts of the total, which may be all that is left.
    """
    left = total - kept
    least = float(cost.amin(dim=1).sum(dtype=torch.float64))
    return least if left < least <= left + rounding(total, people) * total else left


@final
@dataclass(frozen=True, eq=False)
class _InOrder(_AbstractRule):
    """Blocks take the steps at one multiplier in their order; the money ends within one of them."""

    multiplier: float
    last: int
    of_last: Tensor
    passes: AbstractPasses

    def choice(self, block: int, revenue: Tensor, cost: Tensor) -> Tensor:
        if block == self.last:
            return self.of_last
        return choice_at(revenue, cost, self.multiplier, self.passes, tied=block < self.last)


def _solve_ties(
    blocks: AbstractBlocks, total: float, multiplier: float, passes: AbstractPasses
) -> BlockwiseAllocation:
    """Let blocks take the steps at one multiplier in order, as long as the money lasts."""

    def make(block: int) -> Arrays:
        found = ties_of(*blocks.scores(block), multiplier, passes)
        return {name: np.asarray(value) for name, value in vars(found).items()}

    every = _over_blocks(blocks, f"ties-{multiplier.hex()}", make)
    sums: Mapping[str, list[float]] = {
        name: [float(one[name]) for one in every] for name in every[0]
    }
    with_people = _with_people(blocks)
    left = total - math.fsum(sums["cost"])
    place = 0
    while place < len(every) - 1 and sums["tied_cost"][place] <= left:
        left -= sums["tied_cost"][place]
        place += 1
    last, own = with_people[place], sums["cost"][place] + max(left, 0.0)
    with alone():  # every process reads this one block
        of_last: Allocation = narrow(*blocks.scores(last), own, passes)
    others = [k for k in range(len(every)) if k != place]
    cost, revenue = (
        math.fsum([*(sums[f"tied_{name}"][:place]), *(sums[name][k] for k in others)])
        for name in ("cost", "revenue")
    )
    return BlockwiseAllocation(
        _InOrder(multiplier, last, of_last.choice, passes),
        total,
        sum(blocks.sizes),
        multiplier,
        revenue + float(of_last.revenue),
        cost + float(of_last.cost),
        revenue + float(of_last.upper_bound),
    )
