"""The best constant mix: the most that one set of treatment shares for everyone earns."""

from collections.abc import Sequence

import numpy as np

from dfl.budget import Budget
from dfl.data.uplift_data import UpliftData
from dfl.metrics.rows.constant_policy import ConstantPolicies, ReferenceOutcome
from dfl.metrics.rows.randomised_rows import PolicyEstimator
from dfl.stats.arrays import Vector
from dfl.stats.bootstrap import DEFAULT_BOOTSTRAP, Bootstrap

__all__ = ["best_constant_mix", "best_mix_shares"]

_SLACK = 1e-9  # relative to the dearest treatment; sums in another order differ by rounding


def best_constant_mix(
    data: UpliftData,
    budgets: Sequence[Budget],
    *,
    estimator: PolicyEstimator = "doubly-robust",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> tuple[ReferenceOutcome, ...]:
    """Estimate the most that one set of treatment shares, the same for everyone, earns.

    ``max shares @ revenue  s.t.  shares @ cost <= budget`` over the simplex, on estimated arm
    means; the mix is chosen anew in every bootstrap draw. Chosen and valued on the same rows
    it is slightly optimistic, which makes it a strict reference for a model.

    Args:
        data: randomised rows, or rows of known propensity.
        budgets: in any unit, as in `expected_outcome`.
        estimator: of the arm means, as in `expected_outcome`.
        bootstrap: draws, level and seed.

    Returns:
        One `ReferenceOutcome` per budget, in the order given.

    Raises:
        DTypeError: if the budgets are no sequence of `Budget`.
        InvalidValueError: if no budget is given, the rows are observational and carry no
            propensity, or a treatment is too rare to bootstrap.
        InfeasibleBudgetError: if even the cheapest treatment costs more than a budget.
    """
    return ConstantPolicies.of(data, budgets, estimator, bootstrap).outcomes(best_mix_shares)


def best_mix_shares(cost: Vector, revenue: Vector, budget: float) -> Vector:
    """Return the shares of the best constant mix.

    A linear programme with two constraints has an optimum on at most two treatments, one
    within the budget and one above it, so all pairs are tried.

    Args:
        cost: mean cost of every treatment, in currency. Shape ``(M,)``.
        revenue: mean revenue, in currency. Shape ``(M,)``.
        budget: money per head. Below every cost, the cheapest treatment is returned alone.

    Returns:
        Shape ``(M,)``, sums to 1.
    """
    fits = cost <= budget + _SLACK * np.abs(cost).max()
    fits[cost.argmin()] = True
    room = np.where(fits, np.maximum(budget - cost, 0), 0)[:, None]
    step = cost[None, :] - cost[:, None]
    pair = fits[:, None] & ~fits[None, :]
    share = np.divide(room, step, out=np.zeros_like(step), where=pair)
    value = revenue[:, None] + share * (revenue[None, :] - revenue[:, None])
    low, high = np.unravel_index(np.where(fits[:, None], value, -np.inf).argmax(), value.shape)
    shares = np.zeros(len(cost))
    shares[low] = 1 - share[low, high]
    shares[high] += share[low, high]
    return shares
