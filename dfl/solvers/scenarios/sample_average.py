"""Sample average approximation: few scenarios to choose by, many to judge by."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from scipy import stats
from torch import Tensor

from dfl.checks import check_count, check_number
from dfl.errors import InfeasibleBudgetError
from dfl.problem import BUDGET_SLACK, ScenarioProblem
from dfl.seeds import stream
from dfl.solvers.scenarios.formulations import AbstractFormulation
from dfl.solvers.stochastic import Stochastic

__all__ = ["Draw", "SampleAverage", "sample_average"]

Draw: TypeAlias = Callable[[int, torch.Generator], ScenarioProblem]
"""From a number of scenarios to so many independent, equally likely ones."""

_BATCHES = 50  # whose spread is the error of a value that is no plain mean, such as a CVaR


@final
@dataclass(frozen=True, eq=False)
class SampleAverage:
    """A choice, and how far from the best one it may be.

    Args:
        choice: treatment of each segment, int64. Shape ``(N,)``.
        value: its objective on the scenarios kept for judging, in currency.
        lower: lower confidence limit of its true objective.
        upper: upper confidence limit of the best choice's objective.
        violation: share of the judging scenarios whose cost exceeds the budget.
    """

    choice: Tensor
    value: float
    lower: float
    upper: float
    violation: float

    @property
    def gap(self) -> float:
        """How far below the best choice this one may be, in currency."""
        return self.upper - self.lower


def sample_average(
    draw: Draw,
    solver: Stochastic,
    *,
    scenarios: int = 100,
    replications: int = 10,
    judged: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> SampleAverage:
    """Solve several small samples of scenarios, and judge their choices on a large one.

    With ``v_r`` the bound of replication r, ``E[v_r]`` is no smaller than the best objective, so
    ``mean(v_r) + t sd(v_r) / sqrt(replications)`` is an upper limit. Candidates are compared on
    one half of the judging scenarios, among those that meet the formulation's constraint there;
    the best one is judged on the other half, which gives the lower limit.

    The upper limit is exact where the constraint does not depend on the sample, as in
    `SimpleRecourse`. Where it does (an expected cost, a chance), choices that are not allowed in
    truth may be allowed in a sample and the reverse, and the limit holds in large samples only.

    Args:
        draw: makes independent scenarios of one problem.
        solver: with the formulation.
        scenarios: of each replication, >= 1.
        replications: >= 2.
        judged: scenarios to judge by, >= 200: 50 batches of two, whose spread is the error.
        level: one-sided confidence of each limit, in (0, 1).
        seed: of all scenarios.

    Raises:
        InvalidValueError: if a number is out of range.
        InfeasibleBudgetError: if no choice of the replications meets the constraint on the
            judging scenarios.
        NotConvergedError: as `Stochastic.solve_scenarios`.

    Source:
        Kleywegt, Shapiro and Homem-de-Mello (2002), doi:10.1137/S1052623499363220, section 3.
        Deviation: candidates are chosen and judged on different scenarios.
    """
    check_count("scenarios", scenarios, at_least=1)
    check_count("replications", replications, at_least=2)
    check_count("judged", judged, at_least=4 * _BATCHES)
    check_number("level", level, above=0, below=1)
    found = [
        solver.solve_scenarios(draw(scenarios, stream(seed, "replication", number)))
        for number in range(replications)
    ]
    choosing = draw(judged // 2, stream(seed, "choosing"))
    judging = draw(judged - judged // 2, stream(seed, "judging"))
    candidates = torch.unique(torch.stack([one.choice for one in found]), dim=0)
    revenue, cost = choosing.totals(candidates)
    formulation = solver.formulation
    value = formulation.value(revenue, cost, choosing)
    value = value.masked_fill(~formulation.allows(cost, choosing), -torch.inf)
    if bool(value.isneginf().all()):
        raise InfeasibleBudgetError(
            f"none of the choices of {replications} samples meets the constraint on "
            f"{judged // 2} other scenarios; raise scenarios, or leave some of the budget."
        )
    best = candidates[int(value.argmax())]
    revenue, cost = judging.totals(best)
    shown = float(formulation.value(revenue, cost, judging))
    bounds = torch.tensor([one.upper_bound for one in found], dtype=torch.float64)
    over = (cost > judging.budget * (1 + BUDGET_SLACK)).double()
    return SampleAverage(
        choice=best,
        value=shown,
        lower=shown - _reach(level, _BATCHES) * _error(formulation, revenue, cost, judging),
        upper=float(
            bounds.mean() + _reach(level, replications) * bounds.std() / math.sqrt(replications)
        ),
        violation=float(over.mean()),
    )


def _reach(level: float, count: int) -> float:
    return float(stats.t.ppf(level, count - 1))


def _error(
    formulation: AbstractFormulation, revenue: Tensor, cost: Tensor, problem: ScenarioProblem
) -> float:
    """Return the standard error of a value, by the spread over batches of scenarios."""
    parts = [
        ScenarioProblem(problem.revenue[own], problem.cost[own], problem.budget)
        for own in torch.arange(problem.scenarios).tensor_split(_BATCHES)
    ]
    values = torch.tensor(
        [
            float(formulation.value(r, c, part))
            for r, c, part in zip(
                revenue.tensor_split(_BATCHES), cost.tensor_split(_BATCHES), parts, strict=True
            )
        ],
        dtype=torch.float64,
    )
    return float(values.std() / math.sqrt(_BATCHES))
