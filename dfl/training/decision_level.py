"""The decision loss on randomised rows that decision-focused and bilevel methods share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.data.uplift_data import UpliftData
from dfl.losses.base import AbstractDecisionLoss
from dfl.models import Scaling
from dfl.training.networks import Networks
from dfl.training.rows import Batch

__all__ = ["DecisionLevel", "budget_per_head"]


@final
@dataclass(frozen=True, eq=False)
class DecisionLevel:
    """What the networks' predictions earn on randomised rows, at each training budget.

    Args:
        loss: the decision loss.
        scaling: units of each network, stacked.
        budgets: money per head for each network and budget, in currency. Shape ``(K, L)``.
    """

    loss: AbstractDecisionLoss
    scaling: Scaling
    budgets: Tensor

    @staticmethod
    def of(
        networks: Networks, loss: AbstractDecisionLoss, budgets: Sequence[Budget]
    ) -> "DecisionLevel":
        """Build the level; budgets given as shares are taken of each set's arm means."""
        per_set = [
            [budget_per_head(budget, one.rct) for budget in budgets]
            for one in networks.sets
            if one.rct is not None
        ]
        table = networks.weight_decay.new_tensor(per_set)[list(networks.plan.dataset)]
        return DecisionLevel(loss, networks.scaling, table)

    def __call__(self, outcomes: Tensor, batch: Batch) -> Tensor:
        """Return the loss ``(K,)``, averaged over budgets, in units of the revenue's scale.

        Args:
            outcomes: predicted outcomes in network units. Shape ``(K, B, 2, M)``.
            batch: the same rows, randomised.

        Raises:
            InvalidValueError: if a treatment has no row in a batch.
        """
        revenue, cost = self.scaling.currency(outcomes)
        totals = self.budgets * batch.treatment.shape[-1]
        losses = [self.loss(revenue, cost, batch.logged, total) for total in totals.unbind(dim=1)]
        return torch.stack(losses).mean(dim=0) / self.scaling.revenue_scale


def budget_per_head(budget: Budget, rct: UpliftData) -> float:
    """Return a budget in currency per head on randomised rows.

    A share is taken between the smallest and the largest mean cost of an arm, each
    estimated by ``sum_i weight_i c_i 1[t_i = j] / sum_i weight_i 1[t_i = j]``.

    Args:
        budget: money in any unit.
        rct: randomised rows.
    """
    weight = rct.weight.double()
    zeros = weight.new_zeros(rct.treatments)
    money = zeros.index_add(0, rct.treatment, weight * rct.cost.double())
    heads = zeros.index_add(0, rct.treatment, weight)
    means, rows = money / heads, len(rct)
    return budget.total_for(rows, float(means.min()) * rows, float(means.max()) * rows) / rows
