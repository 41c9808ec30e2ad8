"""The decision loss on randomised rows that decision-focused and bilevel methods share."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.data.uplift_data import UpliftData
from dfl.errors import UnsupportedProblemError
from dfl.layers.base import AtPrice
from dfl.losses.base import AbstractDecisionLoss
from dfl.models import Logs, Parameters
from dfl.problem import BUDGET_SLACK, AllocationProblem, ObservedCost
from dfl.scale import alone, gathered, over_rows, rank_of, rows_apart
from dfl.solvers.dual_bisection import DualBisection
from dfl.solvers.passes.decide import price_in
from dfl.training.networks import Networks
from dfl.training.rows import Batch, RowPool

__all__ = ["BUDGETS", "DecisionLevel", "PriceFrom", "budget_per_head", "per_head"]

PriceFrom: TypeAlias = Literal["rows", "batch"]

BUDGETS = tuple(Budget(share=share) for share in (0.1, 0.3, 0.5, 0.7, 0.9))
"""What is trained for by default: networks trained for one budget decide badly at the others."""


@final
class DecisionLevel:
    """What the networks' predictions earn on randomised rows, at each training budget.

    The price of money at which a budget is met in observed cost is the noisiest part of such a
    loss: with 4,096 rows of an advertiser's log its 90 % quantile was 28 times the true one. With
    ``price="rows"`` it is found before each epoch on all rows of the level, wherever the loss
    decides at a price, by the solver that the loss or its layer names for it, and held for the
    epoch.

    Args:
        networks: whose predictions are valued.
        loss: the decision loss.
        budgets: to decide well at; shares are taken of each set's arm means.
        pool: the rows of the level.
        price: ``"rows"``, or ``"batch"``: found on each batch, as published.

    Raises:
        UnsupportedProblemError: if each of several processes has rows of its own, and another
            solver than `DualBisection` is to find the price on all of them.

    Source:
        arXiv:2510.19517, section 4.2 (``price="batch"``). Deviation: ``price="rows"``.
    """

    def __init__(
        self,
        networks: Networks,
        loss: AbstractDecisionLoss,
        budgets: Sequence[Budget],
        pool: RowPool,
        price: PriceFrom,
    ) -> None:
        per_set = [
            [budget_per_head(budget, one.rct) for budget in budgets]
            for one in networks.sets
            if one.rct is not None
        ]
        self._networks, self._loss, self._pool = networks, loss, pool
        self._scaling = networks.scaling
        self._budgets = networks.weight_decay.new_tensor(per_set)[list(networks.plan.dataset)]
        self._on_rows = price == "rows" and loss.decides_at_price
        self._solver = loss.price_solver or DualBisection(on_infeasible="least-spend")
        if self._on_rows and rows_apart() and not isinstance(self._solver, DualBisection):
            raise UnsupportedProblemError(
                "a price of money over rows of several processes is found by dual-bisection alone, "
                f"got {type(self._solver).__name__} as the solver of the price; give all processes "
                "all rows, or take price 'batch'."
            )
        self._multipliers: Tensor | None = None  # (K, L)
        self._unmet: list[Tensor] = []

    @torch.no_grad()
    def start_epoch(self, parameters: Parameters) -> None:
        """Find the prices of the epoch, and forget what the last one logged.

        Where several processes train together, each finds those of its own networks; or all find
        all of them together, where each has rows of its own.
        """
        self._unmet = []
        if not self._on_rows:
            return
        rank, world = (0, 1) if rows_apart() else rank_of()
        own = {
            network: self._prices(
                network, {n: v[network : network + 1] for n, v in parameters.items()}
            )
            for network in range(rank, self._networks.size, world)
        }
        shared = [own] if world == 1 else gathered(own)
        every = {k: prices for found in shared for k, prices in found.items()}
        found = [every[network] for network in range(self._networks.size)]
        self._multipliers = torch.stack([prices.to(self._budgets) for prices, _ in found])
        self._unmet = [torch.stack([unmet.to(self._budgets.device) for _, unmet in found])]

    def __call__(self, outcomes: Tensor, batch: Batch) -> Tensor:
        """Return the loss ``(K,)``, averaged over budgets, in units of the revenue's scale.

        Args:
            outcomes: predicted outcomes in network units. Shape ``(K, B, 2, M)``.
            batch: the same rows, of the level's pool.

        Raises:
            InvalidValueError: if a treatment has no row in a batch.
        """
        if self._multipliers is None:
            return self.within(outcomes, batch)
        prices = self._multipliers.T  # (L, K): one call for all budgets costs less than several
        revenue, cost = (
            one.expand(len(prices), *one.shape) for one in self._scaling.currency(outcomes)
        )
        losses = self._loss(revenue, cost, batch.logged.repeated(len(prices)), AtPrice(prices))
        return losses.mean(dim=0) / self._scaling.revenue_scale

    def within(self, outcomes: Tensor, batch: Batch) -> Tensor:
        """Return the same where the batch itself meets the budgets; for batches that are large.

        Args:
            outcomes: predicted outcomes in network units. Shape ``(K, B, 2, M)``.
            batch: the same rows, randomised.

        Raises:
            InvalidValueError: if a treatment has no row in a batch.
        """
        revenue, cost = self._scaling.currency(outcomes)
        totals = self._budgets * batch.treatment.shape[-1]
        if self._loss.decides_at_price:
            self._unmet.append(_least_spend(cost.detach(), batch)[:, None] > totals)
        if not self._loss.uses_budget:
            totals = totals[:, :1]
        losses = [self._loss(revenue, cost, batch.logged, total) for total in totals.unbind(dim=1)]
        return torch.stack(losses).mean(dim=0) / self._scaling.revenue_scale

    def logs(self) -> Logs:
        """Return the mean price of money, and the share of budgets that no price met."""
        logs = {}
        if self._multipliers is not None:
            logs["price"] = float(self._multipliers.mean())
        if self._unmet:
            logs["budgets_unmet"] = float(torch.stack(self._unmet).double().mean())
        return logs

    def _prices(self, network: int, parameters: Parameters) -> tuple[Tensor, Tensor]:
        """Return each budget's multiplier on all rows of a network's set, and which are unmet."""
        pool, stacked = self._pool, self._networks.stacked
        dataset = self._networks.plan.dataset[network]
        rows = slice(pool.start[dataset], pool.start[dataset] + pool.length[dataset])
        chunks = list(pool.chunks(dataset)) or [rows]
        outcomes = torch.cat([stacked(parameters, pool.features[chunk])[0] for chunk in chunks])
        revenue, cost = self._networks.scalings[dataset].currency(outcomes)
        assert pool.weight is not None  # rows of the level are randomised
        with nullcontext() if rows_apart() else alone():
            observed = ObservedCost(pool.treatment[rows], pool.cost[rows], pool.weight[rows])
            observed = observed.self_normalised()
            prices, unmet = [], []
            for budget in (self._budgets[network] * pool.total[dataset]).tolist():
                found = self._solver.solve(
                    AllocationProblem(revenue, cost, budget, observed=observed)
                )
                prices.append(found.multiplier)
                unmet.append(found.cost > budget * (1 + BUDGET_SLACK))
        return price_in(torch.stack(prices), revenue.dtype), torch.stack(unmet)


def _least_spend(cost: Tensor, batch: Batch) -> Tensor:
    """Return the estimated spend of everyone's cheapest treatment. Shape ``(K,)``."""
    observed = batch.logged.observed_cost
    matched = cost.argmin(dim=-1) == observed.treatment
    return (observed.weight * observed.cost * matched).sum(dim=-1)


def budget_per_head(budget: Budget, rct: UpliftData) -> float:
    """Return a budget in currency per head on randomised rows.

    A share is taken between the smallest and the largest mean cost of an arm, see `per_head`.

    Args:
        budget: money in any unit.
        rct: randomised rows, with those of all processes that share them.
    """
    means = per_head(rct, rct.cost)
    rows = int(over_rows(rct.arm_counts).sum())
    return budget.total_for(rows, float(means.min()) * rows, float(means.max()) * rows) / rows


def per_head(rct: UpliftData, outcome: Tensor) -> Tensor:
    """Return the mean of an outcome in each arm, float64, shape ``(M,)``.

    ``sum_i weight_i y_i 1[t_i = j] / sum_i weight_i 1[t_i = j]``.

    Args:
        rct: randomised rows, with those of all processes that share them.
        outcome: their revenue or cost. Shape ``(N,)``.
    """
    weight = rct.weight.double()
    zeros = weight.new_zeros(rct.treatments)
    total = over_rows(zeros.index_add(0, rct.treatment, weight * outcome.double()))
    return total / over_rows(zeros.index_add(0, rct.treatment, weight))
