"""`Stochastic`: one choice for every segment before it is known which scenario will come."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, final

import torch
from torch import Tensor

from dfl.checks import check_choice, check_count, check_number
from dfl.errors import InfeasibleBudgetError, InvalidValueError, NotConvergedError
from dfl.problem import BUDGET_SLACK, Allocation, AllocationProblem, ScenarioProblem
from dfl.solvers.base import AbstractSolver, require_predicted_cost
from dfl.solvers.greedy_dual import GreedyDual
from dfl.solvers.mixed_integer import MixedInteger
from dfl.solvers.scenarios.formulations import AbstractFormulation, ExpectedValue
from dfl.solvers.scenarios.programme import Integers, amounts_of, search

__all__ = ["ScenarioAllocation", "Stochastic"]

_CANDIDATES = 129  # budgets whose allocations the greedy engine tries
_MOST_CUTS = 50


@final
@dataclass(frozen=True, eq=False)
class ScenarioAllocation:
    """A choice for every segment, and what it is worth over the scenarios.

    Args:
        choice: treatment of each segment, int64. Shape ``(N,)``.
        objective: the formulation's objective, in currency.
        upper_bound: no choice allowed has a larger objective, in currency.
        revenue: in each scenario, in currency, float64. Shape ``(S,)``.
        cost: likewise.
        violation: probability of scenarios whose cost exceeds the budget.
    """

    choice: Tensor
    objective: float
    upper_bound: float
    revenue: Tensor
    cost: Tensor
    violation: float


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Stochastic(AbstractSolver):
    """Solves the integer stochastic programme of segments, and problems without scenarios.

    `solve_scenarios` and `solve_budgets` choose one treatment for each segment under scenarios,
    as the formulation says: exactly by HiGHS, or quickly along the path of `GreedyDual` by mean
    revenue and the formulation's guiding cost, whose LP optimum is an upper bound. `solve` takes
    an `AllocationProblem`: one scenario, in which all formulations ask for the same, and does
    what `MixedInteger` does.

    Args:
        formulation: what the budget demands of uncertain costs.
        engine: ``"exact"``, or ``"greedy-dual"``: the best of 129 allocations of the path, and a
            bound; thousands of times faster, and where nothing is uncertain within one segment's
            step of the optimum.
        relative_gap: stop when the bound is above the objective by that part of it at most,
            >= 0, no unit.
        time_limit: seconds for each search, > 0; then the best choice so far comes back, that of
            the greedy engine at least. None for no limit.

    Raises:
        InvalidValueError: if an option is outside its range.

    Source:
        Our design after arXiv:2506.00959, whose abstract names an integer stochastic programme
        under different total budgets; its formulation was not readable. HiGHS: Huangfu and Hall
        (2018), doi:10.1007/s12532-017-0130-5.
    """

    formulation: AbstractFormulation = field(default_factory=ExpectedValue)
    engine: Literal["exact", "greedy-dual"] = "exact"
    relative_gap: float = 0.0
    time_limit: float | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice("engine", self.engine, ("exact", "greedy-dual"))
        MixedInteger(relative_gap=self.relative_gap, time_limit=self.time_limit)

    def solve(self, problem: AllocationProblem) -> Allocation:
        """Return the best allocation of a problem without scenarios.

        Args:
            problem: as `MixedInteger.solve` takes it.

        Raises:
            UnsupportedProblemError: as there.
            InfeasibleProblemError: as there.
            NotConvergedError: as there.
        """
        require_predicted_cost("stochastic", problem)
        exact = MixedInteger(relative_gap=self.relative_gap, time_limit=self.time_limit)
        return exact.solve(problem)

    def solve_scenarios(self, problem: ScenarioProblem) -> ScenarioAllocation:
        """Return the best choice, or the best found.

        Args:
            problem: segments, treatments and scenarios.

        Raises:
            InfeasibleBudgetError: if no choice is allowed, or the greedy engine finds none.
            NotConvergedError: if HiGHS fails, or keeps overdrawing a limit by its tolerance.
        """
        return self.solve_budgets(problem, [problem.budget])[0]

    @torch.no_grad()
    def solve_budgets(
        self, problem: ScenarioProblem, budgets: Sequence[float], *, nested: bool = False
    ) -> tuple[ScenarioAllocation, ...]:
        """Return the best choice at each of several budgets.

        Args:
            problem: segments, treatments and scenarios; its own budget plays no part.
            budgets: money for all segments together, in currency, rising.
            nested: no segment may get a treatment of lower expected cost at a larger budget.
                The exact engine then maximises the mean objective over the budgets, and
                ``upper_bound`` is that of each budget on its own by the greedy engine.

        Returns:
            An allocation for each budget, in the order given.

        Raises:
            InvalidValueError: if there is no budget, or they do not rise.
            InfeasibleBudgetError: as `solve_scenarios`.
            NotConvergedError: as `solve_scenarios`.
        """
        check_count("number of budgets", len(budgets), at_least=1)
        for budget in budgets:
            check_number("budget", budget, at_least=0)
        if any(low >= high for low, high in pairwise(budgets)):
            raise InvalidValueError(f"budgets must rise, got {list(budgets)}.")
        at = [_at(problem, budget) for budget in budgets]
        greedy = self._greedy(at, nested=nested)
        if self.engine == "greedy-dual":
            for budget, (choice, _) in zip(budgets, greedy, strict=True):
                if choice is None:
                    raise InfeasibleBudgetError(
                        f"no allocation along the greedy path meets a budget of {budget:g}; raise "
                        "it, allow more risk, or use engine 'exact'."
                    )
            return tuple(
                self._written(one, choice, bound)
                for one, (choice, bound) in zip(at, greedy, strict=True)
                if choice is not None
            )
        groups = [range(len(at))] if nested else [range(k, k + 1) for k in range(len(at))]
        found: list[ScenarioAllocation] = []
        for group in groups:
            found += self._exact([at[k] for k in group], [greedy[k] for k in group])
        return tuple(found)

    def _greedy(
        self, at: Sequence[ScenarioProblem], *, nested: bool
    ) -> list[tuple[Tensor | None, float]]:
        """Return for each budget the best choice of the path that is allowed, and the bound."""
        first = at[0]
        guide = self.formulation.guide(first)
        dearest = float(guide.amax(dim=1).sum())
        path = GreedyDual("torch").path(AllocationProblem(first.mean_revenue, guide, dearest))
        count = min(_CANDIDATES, len(path.order) + 1)
        points = torch.linspace(0, len(path.order), count, dtype=torch.float32).long()
        choices = torch.stack([path.choice_at(int(point)) for point in points])
        spends = first.mean_cost.gather(1, choices.T).T  # of each segment on each choice
        open_to = torch.ones(len(choices), dtype=torch.bool, device=choices.device)
        found: list[tuple[Tensor | None, float]] = []
        for one in at:
            tried = choices
            if not nested and one.budget >= float(path.costs[0]):
                tried = torch.cat([choices, path.at(one.budget).choice[None]])
            revenue, cost = one.totals(tried)
            value = self.formulation.value(revenue, cost, one)
            allowed = self.formulation.allows(cost, one)
            if nested:
                allowed = allowed & open_to
            value = value.masked_fill(~allowed, -torch.inf)
            best = int(value.argmax())
            none = bool(value[best].isneginf())
            if nested and not none:  # no segment's treatment gets cheaper from here on
                open_to = (spends >= spends[best]).all(dim=1)
            found.append((None if none else tried[best], self.formulation.bound(path, one)))
        return found

    def _exact(
        self, at: Sequence[ScenarioProblem], greedy: Sequence[tuple[Tensor | None, float]]
    ) -> list[ScenarioAllocation]:
        """Search the budgets together; cut off what HiGHS overdraws, and search again."""
        first = at[0]
        segments, treatments = first.revenue.shape[1:]
        amounts = [amounts_of(one, one.budget) for one in at]
        order = first.mean_cost.cpu().numpy().argsort(axis=1, kind="stable")
        cuts: list[tuple[int, Integers]] = []
        for _ in range(_MOST_CUTS):
            found = search(
                [self.formulation.rows(one) for one in amounts],
                [1 / len(at)] * len(at),
                (segments, treatments),
                order,
                relative_gap=self.relative_gap,
                time_limit=self.time_limit,
                cuts=cuts,
            )
            if found.choice is None:
                return self._out_of_time(at, greedy)
            choice = torch.from_numpy(found.choice).to(first.revenue.device)
            over = [
                k
                for k, one in enumerate(at)
                if not bool(self.formulation.allows(one.totals(choice[k])[1], one))
            ]
            if not over:
                bounds = [bound for _, bound in greedy]
                if len(at) == 1:
                    bounds = [min(bounds[0], found.bound * amounts[0].currency)]
                return [self._written(*one) for one in zip(at, choice, bounds, strict=True)]
            cuts += [(k, found.choice[k]) for k in over]
        raise NotConvergedError(
            f"HiGHS overdrew the budget by its tolerance in {_MOST_CUTS} choices one after the "
            "other; change the budget by a little, or use engine 'greedy-dual'."
        )

    def _out_of_time(
        self, at: Sequence[ScenarioProblem], greedy: Sequence[tuple[Tensor | None, float]]
    ) -> list[ScenarioAllocation]:
        if any(choice is None for choice, _ in greedy):
            raise NotConvergedError(
                f"there is no choice yet at time_limit = {self.time_limit} s; raise it."
            )
        return [
            self._written(one, choice, bound)
            for one, (choice, bound) in zip(at, greedy, strict=True)
            if choice is not None
        ]

    def _written(
        self, problem: ScenarioProblem, choice: Tensor, bound: float
    ) -> ScenarioAllocation:
        revenue, cost = problem.totals(choice)
        objective = float(self.formulation.value(revenue, cost, problem))
        over = (cost > problem.budget * (1 + BUDGET_SLACK)).double()
        return ScenarioAllocation(
            choice, objective, max(bound, objective), revenue, cost, float(over @ problem.weight)
        )


def _at(problem: ScenarioProblem, budget: float) -> ScenarioProblem:
    return ScenarioProblem(problem.revenue, problem.cost, float(budget), problem.probability)
