"""`Wishes`: what a plan shall do, in a planner's words; turned into one problem and solved."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_count, check_number, check_part, check_tensor
from dfl.errors import (
    DTypeError,
    InfeasibleProblemError,
    InvalidValueError,
    NotConvergedError,
    ShapeError,
)
from dfl.pipeline.limits import Limit, Used, shortfall
from dfl.problem import AllocationProblem, rounding
from dfl.problem.amounts import check_amounts
from dfl.solvers import AbstractSolver, CuttingPlanes, GreedyDual

__all__ = ["Plan", "Wishes"]

_ROUNDING = 16 * torch.finfo(torch.float64).eps


@final
@dataclass(frozen=True, eq=False)
class Plan:
    """A treatment for everyone within all limits, and how good it is.

    Args:
        choice: treatment of each person, int64. Shape ``(N,)``.
        revenue: of all people together, in currency.
        cost: likewise.
        goal: what was made large, in currency: revenue less the cost of switching; less
            ``marginal_return`` times cost where that was asked for; minus cost and switching
            where a revenue was.
        bound: no plan within the limits reaches more of it; proven.
        used: of every limit.
        changed: whose treatment is not that of last time, bool; None where none was given.
            Shape ``(N,)``.
    """

    choice: Tensor
    revenue: float
    cost: float
    goal: float
    bound: float
    used: tuple[Used, ...]
    changed: Tensor | None

    @property
    def changes(self) -> int | None:
        """Number of people whose treatment is not that of last time."""
        return None if self.changed is None else int(self.changed.sum())

    @property
    def gap(self) -> float:
        """How far the goal is below the bound at most, in currency, >= 0."""
        return max(self.bound - self.goal, 0.0)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Wishes:
    """What a plan for N people shall do; amounts in currency, for all people together.

    Without ``target_revenue`` the plan earns most: ``max revenue - marginal_return * cost -
    switching_cost * changes``. With it, the plan costs least: ``min cost + switching_cost *
    changes  s.t.  revenue >= target_revenue``; the shortfall to everyone's best revenue, which is
    >= 0 for each person, then plays the part of the money.

    Args:
        budget: money.
        target_revenue: revenue to reach at least cost, in place of a budget.
        marginal_return: spend on as long as one more unit of money earns this much, >= 0; alone
            or within a budget.
        min_return: least revenue per unit of cost of the whole plan, >= 0; alone or beside others.
        limits: what else binds.
        capacity: most people on each treatment, infinity where there is no limit. ``(M,)``.
        at_least: least people on each treatment, 0 where there is no such limit. ``(M,)``.
        allowed: which treatments each person may get. bool, shape ``(N, M)``; None: all.
        pinned: the treatment that a person must get, -1 for those who are free. int64, ``(N,)``.
        last: the treatment of last time, -1 for those who had none. int64, ``(N,)``.
        switching_cost: what a change from ``last`` costs, in revenue, >= 0.
        max_changes: most people who may change, >= 0.
        names: of the treatments, by which answers call them; none: their numbers.

    Raises:
        InvalidValueError: if there is nothing to spend, a number is out of its range, a target
            stands beside a budget or a marginal return, changes are counted without ``last``, or
            a limit is none.
    """

    budget: float | None = None
    target_revenue: float | None = None
    marginal_return: float | None = None
    min_return: float | None = None
    limits: tuple[Limit, ...] = ()
    capacity: Tensor | None = None
    at_least: Tensor | None = None
    allowed: Tensor | None = None
    pinned: Tensor | None = None
    last: Tensor | None = None
    switching_cost: float = 0.0
    max_changes: int | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers, and that they go together."""
        for one in self.limits:
            check_part("limits", one, Limit, "Limit(name, use, at_most)")
        for name in ("budget", "marginal_return", "min_return", "switching_cost"):
            value = getattr(self, name)
            if value is not None:
                check_number(name, value, at_least=0)
        enough = (self.budget, self.marginal_return, self.min_return, self.capacity)
        if self.target_revenue is not None:
            check_number("target_revenue", self.target_revenue)
            for name in ("budget", "marginal_return"):
                if getattr(self, name) is not None:
                    raise InvalidValueError(
                        f"target_revenue is reached at least cost, so it takes no {name}; leave "
                        "one of them out."
                    )
        elif not self.limits and all(one is None for one in enough):
            raise InvalidValueError(
                "a plan needs a budget, a target_revenue, a marginal_return, a min_return, a "
                "capacity or limits, got none of them."
            )
        if self.max_changes is not None:
            check_count("max_changes", self.max_changes, at_least=0)
        if self.last is None and (self.switching_cost or self.max_changes is not None):
            raise InvalidValueError(
                "switching_cost and max_changes count changes from last time's treatments, got no "
                "last."
            )

    @property
    def has_amounts(self) -> bool:
        """Whether there is money, a target or a marginal return, which `times` multiplies."""
        given = (self.budget, self.target_revenue, self.marginal_return)
        return any(one is not None for one in given) or any(one.money for one in self.limits)

    def of(self, rows: Tensor) -> "Wishes":
        """Return the same wishes for some of the people.

        Args:
            rows: their places, int64.
        """

        def some(column: Tensor | None) -> Tensor | None:
            return None if column is None else column[rows]

        limits = tuple(replace(one, use=one.use[rows]) for one in self.limits)
        allowed, pinned, last = map(some, (self.allowed, self.pinned, self.last))
        return replace(self, limits=limits, allowed=allowed, pinned=pinned, last=last)

    def times(self, factor: float) -> "Wishes":
        """Return the same wishes with other amounts of money, target or marginal return.

        Args:
            factor: that they are multiplied by.
        """
        return replace(
            self.money_times(factor),
            target_revenue=_times(self.target_revenue, factor),
            marginal_return=_times(self.marginal_return, factor),
        )

    def money_times(self, factor: float) -> "Wishes":
        """Return the same wishes with so many times the money.

        Args:
            factor: that the budget and every limit that counts money are multiplied by.
        """
        limits = tuple(
            replace(one, at_most=factor * one.at_most) if one.money else one for one in self.limits
        )
        return replace(self, budget=_times(self.budget, factor), limits=limits)

    def solve(self, revenue: Tensor, cost: Tensor, solver: AbstractSolver | None = None) -> Plan:
        """Return the best plan that was found, with a proven bound.

        Args:
            revenue: of each person under each treatment, in currency. Shape ``(N, M)``.
            cost: likewise, >= 0.
            solver: None for `GreedyDual` where one limit binds, else `CuttingPlanes`.

        Raises:
            DTypeError: if revenue, cost, ``at_least`` or ``last`` are no tensors, or ``last`` is
                not int64.
            InvalidValueError: if ``last`` does not fit, the solver is none, a limit's use is
                negative or not finite, or ``at_least`` is.
            ShapeError: if a limit, ``at_least`` or ``names`` do not, or cost is not ``(N, M)``.
            InfeasibleProblemError: if no plan meets a limit, or none meets them together.
            NotConvergedError: if the solver found none that does, though there may be one.
            DflError: as `AllocationProblem`, and what the solver raises.
        """
        check_tensor("revenue", revenue)
        check_tensor("cost", cost)
        revenue, cost = revenue.detach().double(), cost.detach().double()
        if cost.ndim != 2:
            raise ShapeError(f"cost must be (N, M), got {tuple(cost.shape)}.")
        free = AllocationProblem(
            revenue, cost, float(cost.amax(1).sum()), allowed=self.allowed, pinned=self.pinned
        )
        choices = free.choices
        moved = self._moved(revenue)
        goal = self._goal(revenue, cost, moved)
        if self.names and len(self.names) != revenue.shape[1]:
            raise ShapeError(
                f"names must be {revenue.shape[1]}, one a treatment, got {len(self.names)}."
            )
        limits = [
            replace(one, use=one.use.detach().double())
            for one in self._limits(revenue, cost, moved, choices)
        ]
        for one in limits:
            if one.use.shape != revenue.shape:
                raise ShapeError(
                    f"use of {one.name} must be {tuple(revenue.shape)} as revenue is, got "
                    f"{tuple(one.use.shape)}."
                )
            check_amounts(f"use of {one.name}", one.use)
            _check_reachable(one, choices)
        binding = [one for one in limits if isfinite(one.at_most)]
        problem = _problem(free, goal, binding, self.capacity)
        single = problem.cost.ndim == 2 and problem.capacity is None
        usual = GreedyDual() if single else CuttingPlanes()
        chosen = usual if solver is None else solver
        check_part("solver", chosen, AbstractSolver, "GreedyDual()")
        try:
            found = chosen.solve(problem)
        except (InfeasibleProblemError, NotConvergedError) as error:
            raise type(error)(f"{error} {_legend(binding)}") from error
        places = torch.arange(len(revenue), device=revenue.device), found.choice
        prices = iter(found.multiplier.reshape(-1).tolist())
        used = [
            Used(
                one.name,
                float(one.use[places].sum()),
                one.at_most,
                next(prices) if isfinite(one.at_most) else 0.0,
            )
            for one in limits
        ]
        return Plan(
            found.choice,
            float(revenue[places].sum()),
            float(cost[places].sum()),
            float(goal[places].sum()),
            float(found.upper_bound),
            (*used, *_places_taken(self.capacity, found.choice, self.names)),
            None if self.last is None else moved[places] > 0,
        )

    def _moved(self, revenue: Tensor) -> Tensor:
        """Return which treatments are a change, as 0 and 1. Shape ``(N, M)``."""
        if self.last is None:
            return torch.zeros_like(revenue)
        rows, treatments = revenue.shape
        check_tensor("last", self.last)
        if self.last.dtype != torch.int64:
            raise DTypeError(f"last must be int64, got {self.last.dtype}.")
        if self.last.shape != (rows,) or bool(((self.last < -1) | (self.last >= treatments)).any()):
            ends = f" in {self.last.min()} .. {self.last.max()}" if self.last.numel() else ""
            raise InvalidValueError(
                f"last must be {rows} treatments in -1 .. {treatments - 1}, got "
                f"{tuple(self.last.shape)}{ends}."
            )
        every = torch.arange(treatments, device=revenue.device)
        return ((self.last[:, None] != every) & (self.last >= 0)[:, None]).to(revenue)

    def _goal(self, revenue: Tensor, cost: Tensor, moved: Tensor) -> Tensor:
        if self.target_revenue is not None:
            return -cost - self.switching_cost * moved
        return revenue - (self.marginal_return or 0.0) * cost - self.switching_cost * moved

    def _limits(
        self, revenue: Tensor, cost: Tensor, moved: Tensor, choices: Tensor | None
    ) -> list[Limit]:
        """Return everything that binds, with what each person uses of it."""
        found = [*self.limits, *self._floors(revenue, choices)]
        if self.budget is not None:
            found.insert(0, Limit("money", cost, self.budget, money=True))
        if self.max_changes is not None:
            found.append(Limit("changes", moved, float(self.max_changes)))
        if self.target_revenue is not None:
            lost, most = shortfall(revenue, choices)
            if self.target_revenue > most + rounding(most, len(revenue)) * abs(most):
                raise InfeasibleProblemError(
                    "target_revenue must be at most what everyone's best treatment earns, "
                    f"{most:g}, got {self.target_revenue:g}."
                )
            found.append(
                Limit("revenue short of the most", lost, max(most - self.target_revenue, 0))
            )
        if self.min_return is not None:
            lost, most = shortfall(revenue - self.min_return * cost, choices)
            size = float((revenue.abs() + self.min_return * cost).amax(1).sum())
            slack = _ROUNDING * size  # of .3 - 3 * .1, and of the sums
            if most < -slack:
                raise InfeasibleProblemError(
                    f"min_return = {self.min_return:g} cannot be met: even the best plan for it "
                    f"falls short by {-most:g}; lower it."
                )
            found.append(Limit("return short of the most", lost, max(most, 0) + slack))
        return found

    def _floors(self, revenue: Tensor, choices: Tensor | None) -> list[Limit]:
        """Return the least people on a treatment, as the most who are not on it."""
        if self.at_least is None:
            return []
        check_tensor("at_least", self.at_least)
        if self.at_least.shape != revenue.shape[1:]:
            raise ShapeError(
                f"at_least must be {tuple(revenue.shape[1:])}, one a treatment, got "
                f"{tuple(self.at_least.shape)}."
            )
        found = []
        for place, least in enumerate(self.at_least.tolist()):
            name = _called(self.names, revenue.shape[1])[place]
            check_number(f"at_least of {name}", least, at_least=0)
            able = len(revenue) if choices is None else int(choices[:, place].sum())
            if least > able:
                raise InfeasibleProblemError(
                    f"at_least of {name} must be at most {able}, as many as may get it, got "
                    f"{least:g}; lower it, or allow it to more people."
                )
            if least:
                use = torch.ones_like(revenue)
                use[:, place] = 0
                found.append(Limit(f"people not on {name}", use, len(revenue) - least))
        return found


def _called(names: Sequence[str], treatments: int) -> Sequence[str]:
    """Return how treatments are called: by their names, or else by their numbers."""
    return names or [f"treatment {j}" for j in range(treatments)]


def _times(amount: float | None, factor: float) -> float | None:
    return None if amount is None else factor * amount


def _check_reachable(limit: Limit, choices: Tensor | None) -> None:
    """Refuse a limit that nobody could keep, by its name."""
    use = limit.use if choices is None else limit.use.masked_fill(~choices, torch.inf)
    least = float(use.amin(dim=1).sum())
    if least > limit.at_most + rounding(limit.at_most, len(use)) * abs(limit.at_most):
        raise InfeasibleProblemError(
            f"{limit.name} must be at least {least:g}, which the least that everyone can use of "
            f"it comes to, got {limit.at_most:g}; raise it, or allow more treatments."
        )


def _problem(
    free: AllocationProblem, goal: Tensor, limits: Sequence[Limit], capacity: Tensor | None
) -> AllocationProblem:
    """Return the problem of a goal and limits; one limit alone is a problem of one budget."""
    if not limits and capacity is None:
        return replace(free, revenue=goal)
    if len(limits) == 1 and capacity is None:
        return replace(free, revenue=goal, cost=limits[0].use, budget=limits[0].at_most)
    if not limits:
        return replace(free, revenue=goal, capacity=capacity)
    use = torch.stack([one.use for one in limits], dim=2)
    at_most = torch.tensor([one.at_most for one in limits], dtype=torch.float64)
    return replace(free, revenue=goal, cost=use, budget=at_most, capacity=capacity)


def _places_taken(capacity: Tensor | None, choice: Tensor, names: Sequence[str]) -> list[Used]:
    if capacity is None:
        return []
    taken = torch.bincount(choice, minlength=len(capacity)).tolist()
    called = _called(names, len(capacity))
    return [
        Used(f"people on {name}", float(count), float(most), None)
        for name, count, most in zip(called, taken, capacity.tolist(), strict=True)
        if most != float("inf")
    ]


def _legend(limits: Sequence[Limit]) -> str:
    """Say which wish each budget of a solver's message is."""
    named = ", ".join(f"budget {k} is {one.name}" for k, one in enumerate(limits))
    return f"({named}.)" if named else ""
