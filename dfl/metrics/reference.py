"""What can be had without a model: the best constant mix, and a random allocation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np

from dfl.budget import Budget
from dfl.data.uplift_data import UpliftData
from dfl.metrics.arrays import Numbers
from dfl.metrics.bootstrap import DEFAULT_BOOTSTRAP, Bootstrap, Estimate
from dfl.metrics.randomised_rows import RandomisedRows, per_head_budgets

__all__ = [
    "ReferenceOutcome",
    "best_constant_mix",
    "best_mix_shares",
    "random_allocation",
    "random_shares",
]

_Rule: TypeAlias = Callable[[Numbers, Numbers, float], Numbers]
_SLACK = 1e-9  # relative to the dearest treatment; sums in another order differ by rounding


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


def best_constant_mix(
    data: UpliftData, budgets: Sequence[Budget], *, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP
) -> tuple[ReferenceOutcome, ...]:
    """Estimate the most that one set of treatment shares, the same for everyone, earns.

    ``max shares @ revenue  s.t.  shares @ cost <= budget`` over the simplex, on estimated arm
    means; the mix is chosen anew in every bootstrap draw. Chosen and valued on the same rows
    it is slightly optimistic, which makes it a strict reference for a model.

    Args:
        data: randomised rows, or rows of known propensity.
        budgets: in any unit, as in `expected_outcome`.
        bootstrap: draws, level and seed.

    Returns:
        One `ReferenceOutcome` per budget, in the order given.

    Raises:
        InvalidValueError: if no budget is given, the rows are observational and carry no
            propensity, or a treatment is too rare to bootstrap.
        InfeasibleBudgetError: if even the cheapest treatment costs more than a budget.
    """
    return _outcomes(data, budgets, bootstrap, best_mix_shares)


def random_allocation(
    data: UpliftData, budgets: Sequence[Budget], *, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP
) -> tuple[ReferenceOutcome, ...]:
    """Estimate what treatments drawn at random earn.

    Every treatment with equal probability where the budget allows it, else that mixed with
    the cheapest treatment so that the budget is spent.

    Args:
        data: randomised rows, or rows of known propensity.
        budgets: in any unit, as in `expected_outcome`.
        bootstrap: draws, level and seed.

    Returns:
        One `ReferenceOutcome` per budget, in the order given.

    Raises:
        InvalidValueError: if no budget is given, the rows are observational and carry no
            propensity, or a treatment is too rare to bootstrap.
        InfeasibleBudgetError: if even the cheapest treatment costs more than a budget.
    """
    return _outcomes(data, budgets, bootstrap, random_shares)


def best_mix_shares(cost: Numbers, revenue: Numbers, budget: float) -> Numbers:
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


def random_shares(cost: Numbers, revenue: Numbers, budget: float) -> Numbers:
    """Return equal shares, mixed with the cheapest treatment down to the budget.

    Args:
        cost: mean cost of every treatment, in currency. Shape ``(M,)``.
        revenue: not looked at.
        budget: money per head. Below every cost, the cheapest treatment is returned alone.

    Returns:
        Shape ``(M,)``, sums to 1.
    """
    del revenue
    cheapest, dearer = float(cost.min()), float(cost.mean() - cost.min())
    mixed = 1.0 if budget >= cheapest + dearer else max(budget - cheapest, 0.0) / dearer
    shares = np.full(len(cost), mixed / len(cost))
    shares[cost.argmin()] += 1 - mixed
    return shares


def _outcomes(
    data: UpliftData, budgets: Sequence[Budget], bootstrap: Bootstrap, rule: _Rule
) -> tuple[ReferenceOutcome, ...]:
    rows = RandomisedRows.of(data)
    cost, revenue = rows.arm_means(rows.as_logged())
    amounts = per_head_budgets(budgets, len(data), cost)
    drawn = [rows.arm_means(counts) for counts in bootstrap.counts(data)]
    key = bootstrap.rows_key(data)
    outcomes = []
    for amount in amounts:
        shares = rule(cost, revenue, amount)
        values = [float(rule(c, r, amount) @ r) for c, r in drawn]
        estimate = bootstrap.estimate(float(shares @ revenue), values, key)
        mix = tuple(shares.tolist())
        outcomes.append(ReferenceOutcome(amount, float(shares @ cost), mix, estimate))
    return tuple(outcomes)
