"""Formulations: what a budget demands of costs that are known as scenarios only."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.budget_path import BudgetPath
from dfl.checks import check_number
from dfl.problem import BUDGET_SLACK, ScenarioProblem
from dfl.registry import Registry
from dfl.solvers.scenarios.programme import Amounts, Rows

__all__ = [
    "FORMULATIONS",
    "AbstractFormulation",
    "ChanceConstraint",
    "ExpectedValue",
    "MeanRisk",
    "SimpleRecourse",
    "WorstCase",
    "tail_mean",
]


class AbstractFormulation(ABC):
    """Objective and constraint of an allocation under scenarios; a frozen dataclass.

    Totals are those of `ScenarioProblem.totals`: float64, shape ``(..., S)``.
    """

    @abstractmethod
    def value(self, revenue: Tensor, cost: Tensor, problem: ScenarioProblem) -> Tensor:
        """Return the objective of choices with these totals, in currency. Shape ``(...)``."""

    @abstractmethod
    def allows(self, cost: Tensor, problem: ScenarioProblem) -> Tensor:
        """Say which choices with these costs meet the budget, up to rounding. Shape ``(...)``."""

    @abstractmethod
    def rows(self, amounts: Amounts) -> Rows:
        """Return the same as rows, and further variables, of an integer programme."""

    def guide(self, problem: ScenarioProblem) -> Tensor:
        """Return costs ``(N, M)`` that every choice allowed keeps within the budget.

        An allocation by them and by the mean revenue is a relaxation.
        """
        return problem.mean_cost

    def bound(self, path: BudgetPath, problem: ScenarioProblem) -> float:
        """Return what no choice's objective is above, in currency, by the relaxation's path."""
        return float(path.at(max(problem.budget, float(path.costs[0]))).upper_bound)


@final
@dataclass(frozen=True)
class ExpectedValue(AbstractFormulation):
    """Largest expected revenue whose expected cost is within the budget.

    ``max E[revenue]  s.t.  E[cost] <= budget``: costs exceed the budget in about every other
    scenario, unless the budget does not bind.
    """

    def value(self, revenue: Tensor, cost: Tensor, problem: ScenarioProblem) -> Tensor:
        """Return the expected revenue."""
        return revenue @ problem.weight

    def allows(self, cost: Tensor, problem: ScenarioProblem) -> Tensor:
        """Compare the expected cost with the budget."""
        return cost @ problem.weight <= _limit(problem)

    def rows(self, amounts: Amounts) -> Rows:
        """One row: the expected cost."""
        return Rows.of(amounts.mean_revenue, amounts.mean_cost[None], [amounts.budget])


@final
@dataclass(frozen=True)
class WorstCase(AbstractFormulation):
    """Largest expected revenue whose cost is within the budget in every scenario.

    ``max E[revenue]  s.t.  cost_s <= budget for all s``. The promise holds for the scenarios
    given, not for others.
    """

    def value(self, revenue: Tensor, cost: Tensor, problem: ScenarioProblem) -> Tensor:
        """Return the expected revenue."""
        return revenue @ problem.weight

    def allows(self, cost: Tensor, problem: ScenarioProblem) -> Tensor:
        """Compare the dearest scenario with the budget."""
        return cost.amax(dim=-1) <= _limit(problem)

    def rows(self, amounts: Amounts) -> Rows:
        """One row for each scenario's cost."""
        return Rows.of(amounts.mean_revenue, amounts.cost, [amounts.budget] * len(amounts.cost))


@final
@dataclass(frozen=True, kw_only=True)
class ChanceConstraint(AbstractFormulation):
    """Largest expected revenue whose cost is within the budget with a chance.

    ``max E[revenue]  s.t.  P(cost <= budget) >= 1 - risk``: scenarios of total probability
    ``risk`` at most may exceed it, each with a binary variable of its own.

    Args:
        risk: of exceeding the budget, in [0, 1).

    Raises:
        InvalidValueError: if it is out of range.

    Source:
        Luedtke and Ahmed (2008), doi:10.1137/070702928, for the integer programme. The bound
        of the greedy engine is ours: the mean of the cheapest ``1 - risk`` of each treatment's
        scenarios is within the budget wherever the constraint holds.
    """

    risk: float = 0.1

    def __post_init__(self) -> None:
        """Check the range."""
        check_number("risk", self.risk, at_least=0, below=1)

    def value(self, revenue: Tensor, cost: Tensor, problem: ScenarioProblem) -> Tensor:
        """Return the expected revenue."""
        return revenue @ problem.weight

    def allows(self, cost: Tensor, problem: ScenarioProblem) -> Tensor:
        """Compare the chance of exceeding the budget with the risk."""
        return (cost > _limit(problem)).double() @ problem.weight <= self.risk + 1e-9

    def rows(self, amounts: Amounts) -> Rows:
        """One row and one binary for each scenario, and one row for the risk."""
        over = torch.tensor(amounts.most - amounts.budget).clamp(min=0).diag().neg()
        return Rows.of(
            amounts.mean_revenue,
            amounts.cost,
            [amounts.budget] * len(amounts.cost),
            extra=over.numpy(),
            whole=True,
            most=1.0,
        ).also(amounts.weight, self.risk + 1e-9)

    def guide(self, problem: ScenarioProblem) -> Tensor:
        """Return the mean of each treatment's cheapest scenarios of probability ``1 - risk``."""
        return tail_mean(problem.cost.double().movedim(0, -1), problem.weight, 1 - self.risk)


@final
@dataclass(frozen=True, kw_only=True)
class SimpleRecourse(AbstractFormulation):
    """Largest expected revenue, where what exceeds the budget costs a penalty.

    ``max E[revenue - penalty * max(cost - budget, 0)]``. Every choice is allowed.

    Args:
        penalty: per unit of currency above the budget, >= 0.

    Raises:
        InvalidValueError: if it is out of range.

    Source:
        Birge and Louveaux (2011), Introduction to Stochastic Programming, section 3.1d.
    """

    penalty: float = 2.0

    def __post_init__(self) -> None:
        """Check the range."""
        check_number("penalty", self.penalty, at_least=0)

    def value(self, revenue: Tensor, cost: Tensor, problem: ScenarioProblem) -> Tensor:
        """Return the expected revenue less the expected penalty."""
        return (revenue - self.penalty * (cost - problem.budget).clamp(min=0)) @ problem.weight

    def allows(self, cost: Tensor, problem: ScenarioProblem) -> Tensor:
        """Allow everything."""
        return torch.ones(cost.shape[:-1], dtype=torch.bool, device=cost.device)

    def rows(self, amounts: Amounts) -> Rows:
        """One row for each scenario, and a variable for what it exceeds the budget by."""
        count = len(amounts.cost)
        return Rows.of(
            amounts.mean_revenue,
            amounts.cost,
            [amounts.budget] * count,
            extra=-torch.eye(count, dtype=torch.float64).numpy(),
            gain=-self.penalty * amounts.exchange * amounts.weight,
        )

    def bound(self, path: BudgetPath, problem: ScenarioProblem) -> float:
        """Buy more budget at the price of the penalty for as long as it pays, by Jensen."""
        pays = path.multipliers > self.penalty
        point = int(pays.sum())
        beyond = float(path.costs[point]) - problem.budget
        if beyond <= 0:
            return AbstractFormulation.bound(self, path, problem)
        return float(path.revenues[point]) - self.penalty * beyond


@final
@dataclass(frozen=True, kw_only=True)
class MeanRisk(AbstractFormulation):
    """Largest mixture of expected revenue and its mean in the worst scenarios.

    ``max (1 - aversion) E[revenue] + aversion CVaR_tail(revenue)  s.t.  E[cost] <= budget``,
    where CVaR is the mean of the worst ``tail`` of the scenarios.

    Args:
        aversion: weight of the worst scenarios, in [0, 1].
        tail: their probability, in (0, 1].

    Raises:
        InvalidValueError: if one is out of range.

    Source:
        Rockafellar and Uryasev (2000), doi:10.21314/JOR.2000.038.
    """

    aversion: float = 0.5
    tail: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_number("aversion", self.aversion, at_least=0, at_most=1)
        check_number("tail", self.tail, above=0, at_most=1)

    def value(self, revenue: Tensor, cost: Tensor, problem: ScenarioProblem) -> Tensor:
        """Return the mixture."""
        worst = tail_mean(revenue, problem.weight, self.tail)
        return (1 - self.aversion) * (revenue @ problem.weight) + self.aversion * worst

    def allows(self, cost: Tensor, problem: ScenarioProblem) -> Tensor:
        """Compare the expected cost with the budget."""
        return cost @ problem.weight <= _limit(problem)

    def rows(self, amounts: Amounts) -> Rows:
        """A free variable for the quantile, and one for what each scenario is below it."""
        count = len(amounts.cost)
        below = torch.cat([torch.ones(count, 1), -torch.eye(count)], dim=1).double()
        gain = torch.cat(
            [
                torch.tensor([self.aversion], dtype=torch.float64),
                torch.from_numpy(amounts.weight) * (-self.aversion / self.tail),
            ]
        )
        rows = Rows.of(
            (1 - self.aversion) * amounts.mean_revenue,
            -amounts.revenue,
            [0.0] * count,
            extra=below.numpy(),
            gain=gain.numpy(),
            least=float("-inf"),
        )
        return rows.under(amounts.mean_cost, amounts.budget)


def tail_mean(values: Tensor, weight: Tensor, share: float) -> Tensor:
    """Return the mean of the smallest values, of total probability ``share``.

    Args:
        values: float64. Shape ``(..., S)``.
        weight: probabilities, sum 1. Shape ``(S,)``.
        share: in (0, 1].

    Returns:
        Shape ``(...)``.
    """
    ordered, place = values.sort(dim=-1)
    own = weight[place]
    before = own.cumsum(dim=-1) - own
    kept = torch.minimum(own, (share - before).clamp(min=0))
    return (ordered * kept).sum(dim=-1) / kept.sum(dim=-1)


def _limit(problem: ScenarioProblem) -> float:
    return problem.budget * (1 + BUDGET_SLACK)


FORMULATIONS: Registry[AbstractFormulation] = Registry(
    "formulations",
    AbstractFormulation,  # type: ignore[type-abstract]  # the interface itself
    {
        "chance-constraint": "dfl.solvers.scenarios.formulations:ChanceConstraint",
        "expected-value": "dfl.solvers.scenarios.formulations:ExpectedValue",
        "mean-risk": "dfl.solvers.scenarios.formulations:MeanRisk",
        "simple-recourse": "dfl.solvers.scenarios.formulations:SimpleRecourse",
        "worst-case": "dfl.solvers.scenarios.formulations:WorstCase",
    },
)
