"""Treatments drawn at random: what can be had without looking at anybody."""

from collections.abc import Sequence

import numpy as np

from dfl.budget import Budget
from dfl.data.uplift_data import UpliftData
from dfl.metrics.rows.constant_policy import ConstantPolicies, ReferenceOutcome
from dfl.metrics.rows.randomised_rows import PolicyEstimator
from dfl.stats.arrays import Vector
from dfl.stats.bootstrap import DEFAULT_BOOTSTRAP, Bootstrap

__all__ = ["random_allocation", "random_shares"]

_SLACK = 1e-9  # treatments whose mean costs differ by rounding cost the same


def random_allocation(
    data: UpliftData,
    budgets: Sequence[Budget],
    *,
    estimator: PolicyEstimator = "doubly-robust",
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> tuple[ReferenceOutcome, ...]:
    """Estimate what treatments drawn at random earn.

    Every treatment with equal probability where the budget allows it, else that mixed with
    the cheapest treatment so that the budget is spent.

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
    return ConstantPolicies.of(data, budgets, estimator, bootstrap).outcomes(random_shares)


def random_shares(cost: Vector, revenue: Vector, budget: float) -> Vector:
    """Return equal shares, mixed with the cheapest treatment down to the budget.

    Args:
        cost: mean cost of every treatment, in currency. Shape ``(M,)``.
        revenue: not looked at.
        budget: money per head. Below every cost, the cheapest treatment is returned alone;
            where all cost the same, it plays no part.

    Returns:
        Shape ``(M,)``, sums to 1.
    """
    del revenue
    cheapest, dearer = float(cost.min()), float(cost.mean() - cost.min())
    within = budget >= cheapest + dearer or not dearer > _SLACK * abs(cheapest)
    mixed = 1.0 if within else max(budget - cheapest, 0.0) / dearer
    shares = np.full(len(cost), mixed / len(cost))
    shares[cost.argmin()] += 1 - mixed
    return shares
