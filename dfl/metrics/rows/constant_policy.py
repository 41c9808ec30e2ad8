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

__all__ = ["ConstantPolicies", "ReferenceOutcome", "Rule"]

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


@final
@dataclass(frozen=True, eq=False)
class ConstantPolicies:
    """Mean cost and revenue of every treatment, as logged and in every draw.

    Args:
        budgets: money per head, in currency.
        means: mean cost and revenue of every treatment, each ``(M,)``.
        drawn: the same of each draw.
        bootstrap: that made the draws.
        rows_key: of the rows and draws.
    """

    budgets: tuple[float, ...]
    means: tuple[Vector, Vector]
    drawn: tuple[tuple[Vector, Vector], ...]
    bootstrap: Bootstrap
    rows_key: int

    @staticmethod
    def of(
        data: UpliftData,
        budgets: Sequence[Budget],
        estimator: PolicyEstimator,
        bootstrap: Bootstrap,
    ) -> "ConstantPolicies":
        """Estimate the means.

        Raises:
            DTypeError: if the budgets are no sequence of `Budget`.
            InvalidValueError: if no budget is given, the rows are observational and carry no
                propensity, or a treatment is too rare to bootstrap.
            InfeasibleBudgetError: if even the cheapest treatment costs more than a budget.
        """
        rows = RandomisedRows.of(data, estimator)
        means = rows.arm_means(rows.as_logged())
        amounts = per_head_budgets(budgets, len(data), means[0])
        drawn = tuple(rows.arm_means(counts) for counts in redrawn(data, bootstrap))
        return ConstantPolicies(tuple(amounts), means, drawn, bootstrap, rows_key(data, bootstrap))

    def outcomes(self, rule: Rule) -> tuple[ReferenceOutcome, ...]:
        """Return what the shares that a rule chooses earn at each budget, chosen in each draw."""
        return tuple(self._outcome(rule, amount) for amount in self.budgets)

    def _outcome(self, rule: Rule, amount: float) -> ReferenceOutcome:
        cost, revenue = self.means
        shares = rule(cost, revenue, amount)
        values = [float(rule(c, r, amount) @ r) for c, r in self.drawn]
        estimate = self.bootstrap.estimate(float(shares @ revenue), values, self.rows_key)
        return ReferenceOutcome(amount, float(shares @ cost), tuple(shares.tolist()), estimate)
