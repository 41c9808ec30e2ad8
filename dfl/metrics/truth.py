"""True value of allocations, where a simulator knows every potential outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_tensor
from dfl.data.uplift_data import PotentialOutcomes
from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.metrics.constant_mix import best_mix_shares
from dfl.metrics.random_allocation import random_shares
from dfl.metrics.rows.randomised_rows import check_people, per_head_budgets, true_amounts
from dfl.metrics.spend_curve import true_curve
from dfl.problem import AllocationProblem
from dfl.solvers.greedy_dual import GreedyDual

__all__ = [
    "TrueOutcome",
    "TruePolicyValue",
    "TrueScale",
    "check_not_above_oracle",
    "true_policy_value",
]

_TOLERANCE = 1e-6  # of the largest true revenue; rounding of sums and of the budget's slack


@final
@dataclass(frozen=True)
class TruePolicyValue:
    """True value of a choice for everyone; times N for totals.

    Args:
        value: revenue per head, in currency.
        cost: spend per head, in currency.
    """

    value: float
    cost: float


@final
@dataclass(frozen=True)
class TrueOutcome:
    """True revenue of a model's allocation at a budget; amounts in currency per head.

    Args:
        budget: money.
        value: revenue of the model's allocation.
        cost: its spend, at most the budget.
        multiplier: price of money at which the two mixed policies meet.
        mixed_with_cheapest: share of people given the cheapest treatment because no
            multiplier meets the budget, in [0, 1].
        oracle: revenue of the best policy that knows the truth.
        constant_mix: revenue of the best constant mix of treatments.
        random: revenue of a random allocation.
    """

    budget: float
    value: float
    cost: float
    multiplier: float
    mixed_with_cheapest: float
    oracle: float
    constant_mix: float
    random: float

    @property
    def regret(self) -> float:
        """What the oracle earns more, in currency per head, >= 0 up to rounding."""
        return self.oracle - self.value

    @property
    def share_of_gain(self) -> float:
        """Share of the oracle's gain over the best constant mix: 1 oracle, 0 mix, no unit.

        Raises:
            InvalidValueError: if the oracle gains nothing over the mix.
        """
        gain = self.oracle - self.constant_mix
        if not gain > 1e-9 * abs(self.oracle):
            raise InvalidValueError(
                f"the share of the oracle's gain is undefined at budget {self.budget:g} per head: "
                f"oracle {self.oracle:g} and best constant mix {self.constant_mix:g} earn the "
                "same; choose a budget between the cheapest and the dearest treatment."
            )
        return (self.value - self.constant_mix) / gain


@final
@dataclass(frozen=True, eq=False)
class TrueScale:
    """What can be had at most and without a model, once for all models measured on it.

    Args:
        truth: expected revenue and cost of everyone under every treatment.
        budgets: money per head, in currency.
        oracle: per budget, the linear-programming optimum on the truth, per head: no policy,
            random or not, earns more.
        constant_mix: per budget, the best constant mix, per head.
        random: per budget, equal shares mixed down to the budget, per head.
    """

    truth: PotentialOutcomes
    budgets: tuple[float, ...]
    oracle: tuple[float, ...]
    constant_mix: tuple[float, ...]
    random: tuple[float, ...]

    @classmethod
    def of(cls, truth: PotentialOutcomes, budgets: Sequence[Budget]) -> "TrueScale":
        """Solve the true problem at every budget.

        Args:
            truth: of the people to be measured on.
            budgets: in any unit; a share lies between the cheapest and the dearest treatment
                given to everyone, by true mean costs.

        Raises:
            DTypeError: if the budgets are no sequence of `Budget`.
            InvalidValueError: if no budget is given, or there is nobody.
            InfeasibleBudgetError: if the cheapest treatment for everyone costs more than a
                budget.
        """
        cost, revenue = true_amounts(truth)
        mean_cost, mean_revenue = cost.mean(dim=0).numpy(), revenue.mean(dim=0).numpy()
        rows = len(revenue)
        amounts = per_head_budgets(budgets, rows, mean_cost)
        path = GreedyDual().path(AllocationProblem(revenue, cost, max(amounts) * rows))
        # Only the optimum is wanted: the path's straight lines, without writing choices out.
        totals = np.array(amounts) * rows
        oracle = np.interp(totals, path.costs.numpy(), path.revenues.numpy()) / rows
        mix = (best_mix_shares(mean_cost, mean_revenue, amount) for amount in amounts)
        draw = (random_shares(mean_cost, mean_revenue, amount) for amount in amounts)
        return cls(
            truth,
            tuple(amounts),
            tuple(oracle.tolist()),
            tuple(float(shares @ mean_revenue) for shares in mix),
            tuple(float(shares @ mean_revenue) for shares in draw),
        )

    def measure(self, revenue: Tensor, cost: Tensor) -> tuple[TrueOutcome, ...]:
        """Return the true value of a model's allocation at every budget.

        The model decides by its predictions; the multiplier is set so that the **true**
        spend meets the budget, by the rule of `SpendCurve.at`.

        Args:
            revenue: predicted revenue, in currency. Shape ``(N, M)``.
            cost: predicted cost, in currency. Shape ``(N, M)``.

        Raises:
            ShapeError: if predictions do not fit the truth.
            InvalidValueError: if predictions are not finite, or a value is above the
                oracle's, which only a fault in the programme can cause.
        """
        curve = true_curve(self.truth, revenue, cost)
        scale = float(self.truth.revenue.detach().abs().max())
        outcomes = []
        columns = zip(self.budgets, self.oracle, self.constant_mix, self.random, strict=True)
        for budget, oracle, constant_mix, random in columns:
            point = curve.at(budget)
            check_not_above_oracle(point.value, oracle, scale=scale)
            outcomes.append(
                TrueOutcome(
                    budget,
                    point.value,
                    point.cost,
                    point.multiplier,
                    point.mixed_with_cheapest,
                    oracle,
                    constant_mix,
                    random,
                )
            )
        return tuple(outcomes)


def true_policy_value(truth: PotentialOutcomes, choice: Tensor) -> TruePolicyValue:
    """Return the true mean revenue and cost of a choice.

    Args:
        truth: expected revenue and cost of everyone under every treatment.
        choice: treatment of each person, int64 in ``0 .. M-1``. Shape ``(N,)``.

    Raises:
        ShapeError: if ``choice`` is not ``(N,)``.
        DTypeError: if it is no tensor of int64.
        InvalidValueError: if a treatment is not in ``0 .. M-1``, or there is nobody.
    """
    check_tensor("choice", choice)
    check_people(truth)
    rows, arms = truth.revenue.shape
    if tuple(choice.shape) != (rows,):
        raise ShapeError(f"choice must be ({rows},), one per person, got {tuple(choice.shape)}.")
    if choice.dtype != torch.int64:
        raise DTypeError(f"choice must be int64, got {choice.dtype}.")
    lowest, highest = int(choice.min()), int(choice.max())
    if lowest < 0 or highest >= arms:
        raise InvalidValueError(f"choice must lie in 0 .. {arms - 1}, got {lowest} .. {highest}.")
    chosen = choice[:, None].to(truth.revenue.device)
    value, spend = (
        float(one.detach().gather(1, chosen).double().mean()) for one in (truth.revenue, truth.cost)
    )
    return TruePolicyValue(value, spend)


def check_not_above_oracle(value: float, oracle: float, *, scale: float) -> None:
    """Refuse a true value above the oracle's: it was not earned within the budget.

    Args:
        value: true revenue per head of a policy within the budget, in currency.
        oracle: linear-programming optimum per head at that budget, in currency.
        scale: largest revenue, in currency; rounding is measured against it.

    Raises:
        InvalidValueError: if ``value`` is above ``oracle`` by more than 1e-6 of ``scale``, or
            either is NaN.
    """
    if not value <= oracle + _TOLERANCE * abs(scale):
        raise InvalidValueError(
            f"a true value of {value:g} per head is above the oracle's {oracle:g}: the policy "
            "overspends, or value and oracle come from different people or budgets."
        )
