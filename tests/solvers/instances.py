"""Problems that the tests of the solvers share, and slow truths to hold answers against."""

from collections.abc import Collection
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import coo_array, vstack
from torch import Tensor

from dfl.problem import BUDGET_SLACK, AllocationProblem, ObservedCost

KINDS = ("continuous", "integers", "zeros", "duplicates", "dominated", "priced", "negative")


def problem(
    seed: int, *, rows: int, treatments: int, kind: str = "continuous"
) -> AllocationProblem:
    """Make a float64 problem of a kind, its budget anywhere from the lowest to past the dearest."""
    draw = np.random.default_rng(seed)
    shape = (rows, treatments)
    cost = np.cumsum(draw.gamma(1.0, size=shape), axis=1)
    revenue = np.cumsum(draw.gamma(1.0, size=shape) * 0.8 ** np.arange(treatments), axis=1)
    if kind == "integers":
        cost, revenue = draw.integers(0, 4, shape) * 1.0, draw.integers(0, 4, shape) * 1.0
    elif kind == "zeros":
        cost = cost * (draw.random(shape) < 0.5)
    elif kind == "duplicates":
        copy = draw.integers(0, treatments, treatments)
        cost, revenue = cost[:, copy], revenue[:, copy]
    elif kind == "dominated":
        revenue = draw.permuted(revenue, axis=1)
    elif kind == "priced":  # one price per unit of cost: nearly everything is tied
        revenue = 0.3 * cost
    elif kind == "negative":
        revenue = revenue - 5 * draw.random(shape)
    share = (0.0, 1.0, 1.2, *draw.random(7))[seed % 10]
    low, high = cost.min(axis=1).sum(), cost.max(axis=1).sum()
    budget = low + share * (high - low)
    return AllocationProblem(torch.from_numpy(revenue), torch.from_numpy(cost), float(budget))


def observed_problem(seed: int, *, rows: int, treatments: int = 4) -> AllocationProblem:
    """Make a problem whose budget is met by the observed costs of a uniform experiment."""
    draw = np.random.default_rng(seed)
    predicted = problem(seed, rows=rows, treatments=treatments)
    treatment = torch.from_numpy(draw.integers(0, treatments, rows))
    cost = predicted.cost.gather(1, treatment[:, None])[:, 0]
    noise = torch.from_numpy(draw.gamma(1.0, size=rows))
    observed = ObservedCost(
        treatment, cost * noise, torch.full((rows,), float(treatments)).double()
    )
    lowest = ipw_spend(observed, torch.zeros_like(treatment))
    budget = lowest + draw.random() * (ipw_spend(observed, predicted.revenue.argmax(1)) - lowest)
    return AllocationProblem(predicted.revenue, predicted.cost, abs(float(budget)), observed)


def ipw_spend(observed: ObservedCost, choice: Tensor) -> Tensor:
    """Estimate the spend of a choice on logs."""
    return (observed.weight * observed.cost * (observed.treatment == choice)).sum()


def linear_program(problem: AllocationProblem) -> float:
    """Solve the LP relaxation by HiGHS."""
    rows, treatments = problem.revenue.shape
    every = np.arange(rows * treatments)
    people = coo_array((np.ones(every.size), (every // treatments, every)))
    solution = linprog(
        -problem.revenue.numpy().ravel(),
        A_ub=coo_array(problem.cost.numpy().reshape(1, -1)),
        b_ub=[float(problem.budgets[0])],
        A_eq=vstack([people]),
        b_eq=np.ones(rows),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if solution.status != 0:
        raise RuntimeError(solution.message)
    return float(-solution.fun)


FEATURES = ("allowed", "pinned", "capacity", "min_return", "budgets")


def constrained(
    seed: int,
    *,
    rows: int,
    treatments: int,
    features: Collection[str],
    kind: str = "continuous",
) -> AllocationProblem:
    """Make a problem with some of `FEATURES`, all of them binding here and there.

    A plan drawn at random meets every constraint with a little to spare, so that the problem has
    an answer.
    """
    draw = np.random.default_rng([seed, 1])
    plain = problem(seed, rows=rows, treatments=treatments, kind=kind)
    plan = torch.from_numpy(draw.integers(0, treatments, rows))
    everyone = torch.arange(rows)
    spare = 1 + 0.2 * draw.random()
    spent = spare * float(plain.cost[everyone, plan].sum())
    changed = replace(plain, budget=max(float(plain.budget), spent))
    if "budgets" in features:
        factor = torch.from_numpy(draw.random((rows, treatments, 2)))
        cost = torch.cat([plain.cost[..., None], plain.cost[..., None] * factor], dim=2)
        changed = replace(changed, cost=cost, budget=spare * cost[everyone, plan].sum(0))
    if "allowed" in features:
        allowed = torch.from_numpy(draw.random((rows, treatments)) < 0.6)
        allowed[everyone, plan] = True
        changed = replace(changed, allowed=allowed)
    if "pinned" in features:
        fixed = torch.from_numpy(draw.random(rows) < 0.3)
        changed = replace(changed, pinned=torch.where(fixed, plan, -1))
    if "capacity" in features:
        capacity = torch.bincount(plan, minlength=treatments) + 0.5
        capacity[draw.integers(0, treatments)] = torch.inf
        changed = replace(changed, capacity=capacity)
    if "min_return" in features:
        earned = float(plain.revenue[everyone, plan].sum())
        paid = float(changed.cost[everyone, plan].sum())
        if earned > 0 and paid > 0:
            changed = replace(changed, min_return=0.95 * earned / paid)
    return changed


def meets(problem: AllocationProblem, choice: Tensor, *, slack: float = BUDGET_SLACK) -> Tensor:
    """Say which choices meet every constraint, up to a relative excess. (N, C) to (C,)."""
    rows, treatments = problem.revenue.shape
    everyone = torch.arange(rows, device=choice.device)[:, None]
    cost = problem.cost.double().reshape(rows, treatments, problem.budgets.shape[0])
    cost = cost[everyone, choice].sum(0)
    budget = problem.budgets.to(cost.device) * (1 + slack)
    if not slack:  # a budget may be short of the cheapest choice by rounding
        budget = budget.maximum(cost.amin(0))
    met = (cost <= budget).all(1)
    if problem.choices is not None:
        met &= problem.choices[everyone, choice].all(0)
    if problem.capacity is not None:
        counts = torch.stack([(choice == j).sum(0) for j in range(treatments)])
        met &= (counts <= problem.capacity[:, None].to(counts.device)).all(0)
    if problem.min_return is not None:
        revenue = problem.revenue.double().gather(1, choice).sum(0)
        wanted = problem.min_return * cost.sum(1)
        met &= revenue >= wanted - slack * wanted.abs()
    return met


def brute_force(problem: AllocationProblem, *, slack: float = 0.0) -> float:
    """Return the best revenue over all ``M ** N`` choices, constraints met up to ``slack``."""
    rows, treatments = problem.revenue.shape
    everyone = torch.tensor(list(product(range(treatments), repeat=rows)), dtype=torch.int64).T
    everyone = everyone.reshape(rows, treatments**rows)
    revenue = problem.revenue.double().gather(1, everyone).sum(0)
    return float(revenue[meets(problem, everyone, slack=slack)].max())


def largest_step(problem: AllocationProblem) -> float:
    """Return the largest range of anyone's open revenues: no step earns more."""
    revenue, choices = problem.revenue, problem.choices
    if not revenue.shape[0]:
        return 0.0
    if choices is None:
        return float((revenue.amax(1) - revenue.amin(1)).max())
    most = revenue.masked_fill(~choices, -torch.inf).amax(1)
    return float((most - revenue.masked_fill(~choices, torch.inf).amin(1)).max())


def magnitude(problem: AllocationProblem) -> float:
    """Return the size that rounding is relative to: everyone's largest revenue, added up."""
    return float(problem.revenue.double().abs().amax(1).sum())


_POWERS = st.sampled_from([1e-12, 1e-6, 1e-3, 1.0, 1e3, 1e6, 1e12])
_AMOUNTS = st.one_of(
    st.integers(0, 3).map(float),  # ties, zeros and duplicates
    st.builds(lambda power, digit: power * digit, _POWERS, st.integers(1, 9)),
    st.floats(0, 10),
)


@st.composite
def problems(draw: st.DrawFn) -> AllocationProblem:
    """Small problems: ties, zeros, duplicates, dominated treatments, 1e-12 to 1e12."""
    rows, treatments = draw(st.integers(0, 4)), draw(st.integers(1, 4))
    size = rows * treatments
    cost = draw(st.lists(_AMOUNTS, min_size=size, max_size=size))
    sign = draw(st.sampled_from([1.0, -1.0]))
    revenue = draw(st.lists(_AMOUNTS, min_size=size, max_size=size))
    revenues, costs = (
        torch.tensor(column, dtype=torch.float64).reshape(rows, treatments)
        for column in ([sign * value for value in revenue], cost)
    )
    low, high = float(costs.amin(1).sum()), float(costs.amax(1).sum())
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 1.1]))
    return AllocationProblem(revenues, costs, low + share * (high - low))


@st.composite
def masked_problems(draw: st.DrawFn) -> AllocationProblem:
    """Small problems in which some treatments are banned and some people pinned."""
    plain = draw(problems())
    choice = draw(choices_of(plain))
    flags = st.lists(st.booleans(), min_size=plain.revenue.numel(), max_size=plain.revenue.numel())
    allowed = torch.tensor(draw(flags), dtype=torch.bool).reshape(plain.revenue.shape)
    allowed[torch.arange(plain.rows), choice] = True
    fixed = draw(st.lists(st.integers(0, 2), min_size=plain.rows, max_size=plain.rows))
    pinned = torch.where(torch.tensor(fixed, dtype=torch.int64) == 0, choice, -1)
    spent = float(plain.cost.gather(1, choice[:, None]).sum())
    return replace(plain, budget=max(plain.budget, spent), allowed=allowed, pinned=pinned)


@st.composite
def constrained_problems(draw: st.DrawFn) -> AllocationProblem:
    """Small problems with two budgets, capacities and a least return, met by some choice."""
    masked = draw(st.one_of(problems(), masked_problems()))
    rows, treatments = masked.revenue.shape
    open_choices = masked.choices
    plan = draw(choices_of(masked))
    if open_choices is not None:
        first = open_choices.long().argmax(1)
        plan = torch.where(open_choices[torch.arange(rows), plan], plan, first)
    second = masked.cost.flip(0) * torch.tensor(draw(st.sampled_from([0.0, 1e-6, 1.0, 1e6])))
    cost = torch.stack([masked.cost, second], dim=2)
    spent = cost[torch.arange(rows), plan].sum(0)
    earned = float(masked.revenue[torch.arange(rows), plan].sum())
    factor = draw(st.sampled_from([1.0, 1.5]))
    least = earned / float(spent.sum()) * (1 - 1e-9) if earned > 0 and spent.sum() > 0 else 0.0
    return replace(
        masked,
        cost=cost,
        budget=factor * spent,
        capacity=torch.bincount(plan, minlength=treatments) + draw(st.integers(0, 1)),
        min_return=least if earned >= 0 and draw(st.booleans()) else None,
    )


def choices_of(problem: AllocationProblem) -> st.SearchStrategy[Tensor]:
    """Draw a treatment for everyone."""
    one = st.integers(0, problem.treatments - 1)
    return st.lists(one, min_size=problem.rows, max_size=problem.rows).map(
        lambda drawn: torch.tensor(drawn, dtype=torch.int64)
    )
