"""Problems that the tests of the solvers share, and slow truths to hold answers against."""

from itertools import product

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import coo_array, vstack
from torch import Tensor

from dfl.problem import AllocationProblem, ObservedCost

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


def brute_force(problem: AllocationProblem, *, slack: float = 0.0) -> float:
    """Return the best revenue over all ``M ** N`` choices within ``budget * (1 + slack)``."""
    rows, treatments = problem.revenue.shape
    budget = float(problem.budgets[0]) * (1 + slack)
    everyone = torch.tensor(list(product(range(treatments), repeat=rows)), dtype=torch.int64).T
    cost = problem.cost.double().gather(1, everyone).sum(0)
    revenue = problem.revenue.double().gather(1, everyone).sum(0)
    return float(revenue[cost <= max(budget, float(cost.min()))].max())


def largest_step(problem: AllocationProblem) -> float:
    """Return the largest range of anyone's revenues: no step earns more."""
    spread = problem.revenue.amax(1) - problem.revenue.amin(1)
    return float(spread.max()) if spread.numel() else 0.0


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
