"""What treatment shares, the same for everyone, earn at a budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from dfl.budget import Budget
from dfl.data.uplift_data import UpliftData
from dfl.metrics.rows.randomised_rows import PolicyEstimator, RandomisedRows, per_head_budgets
from dfl.metrics.rows.redrawn import redrawn, rows_key
from dfl.stats.arrays import Vector
from dfl.stats.bootstrap import Bootstrap, Estimate

__all__ = ["ReferenceOutcome", "Rule", "reference_outcomes"]

Rule: TypeAlias = Callable[[Vector, Vector, float], Vector]
"""Shares ``(M,)`` from mean cost and mean revenue of every treatment, and money per head."""


@final
@dataclass(frozen=True, eq=False)
class ReferenceOutcome:
    """What a policy that ignores features earns at a budget; amounts per head.

    Args:
        budget: money per head, in currency.
        cost: estimated spend, in currency.
        shares: share of people given each treatment, sums to 1. Length M.
        estimate: revenue, in currency, with its error.
    """

    budget: float
    cost: float
    shares: tuple[float, ...]
    estimate: Estimate


def reference_outcomes(
    data: UpliftData,
    budgets: Sequence[Budget],
    estimator: PolicyEstimator,
    bootstrap: Bootstrap,
    rule: Rule,
) -> tuple[ReferenceOutcome, ...]:
    """Estimate what the shares that a rule chooses earn at each budget; chosen anew in each draw.

    Raises:
        DTypeError: if the budgets are no sequence of `Budget`.
        InvalidValueError: if no budget is given, the rows are observational and carry no
            propensity, or a treatment is too rare to bootstrap.
        InfeasibleBudgetError: if even the cheapest treatment costs more than a budget.
    """
    rows = RandomisedRows.of(data, estimator)
    cost, revenue = rows.arm_means(rows.as_logged())
    amounts = per_head_budgets(budgets, len(data), cost)
    drawn = [rows.arm_means(counts) for counts in redrawn(data, bootstrap)]
    key = rows_key(data, bootstrap)
    outcomes = []
    for amount in amounts:
        shares = rule(cost, revenue, amount)
        values = [float(rule(c, r, amount) @ r) for c, r in drawn]
        estimate = bootstrap.estimate(float(shares @ revenue), values, key)
        mix = tuple(shares.tolist())
        outcomes.append(ReferenceOutcome(amount, float(shares @ cost), mix, estimate))
    return tuple(outcomes)
