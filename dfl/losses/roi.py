"""`Roi` and `direct_roi_loss`: learn the return on each unit of cost itself (DRP)."""

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import softplus

from dfl.layers.base import BudgetLike
from dfl.layers.pricing.options import Softness, check_values
from dfl.layers.pricing.problems import ready
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.estimators.increments import arm_means, increment_score, shifted, width_of
from dfl.losses.estimators.policy_value import check_every_treatment_seen

__all__ = ["Roi", "direct_roi_loss"]


def direct_roi_loss(
    score: Tensor,  # (..., N)
    treatment: Tensor,  # (..., N)
    revenue: Tensor,  # (..., N)
    cost: Tensor,  # (..., N)
    weight: Tensor,  # (..., N)
) -> Tensor:  # (...)
    """Compute the loss whose best score is the log-odds of the return on investment.

    ``- [mean over treated of l - mean over untreated of l]``, ``l = revenue ln(q / (1 - q)) +
    cost ln(1 - q)``, ``q = sigmoid(score)``. On randomised rows its derivative given the
    features is ``cost effect * q - revenue effect``: the best ``q`` is the ratio of the effects,
    which must lie in (0, 1).

    Args:
        score: log-odds of the predicted ROI.
        treatment: 1 treated, 0 not; both must occur.
        revenue: observed, in currency.
        cost: observed, in currency.
        weight: inverse propensity of the treatment received; equal weights give plain means.

    Returns:
        Loss in currency per head. Not bounded below: a network that can tell every row apart
        drives it to minus infinity.

    Source:
        Zhou et al. (2023), arXiv:2211.15728, DRP, as code has it that is probably its supplement.
    """
    each = revenue * score - cost * softplus(score)
    means = arm_means(each.unsqueeze(-1), treatment, weight, 2).squeeze(-1)
    return means[..., 0] - means[..., 1]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Roi(AbstractDecisionLoss):
    """The direct ROI loss of the return that predicted revenue and cost imply.

    Each treatment j > 0 stands against treatment 0, and the losses of these pairs are averaged.
    With predicted increments ``R = revenue_j - revenue_0`` and ``C = cost_j - cost_0``, the score
    is ``ln R - ln C``, and `direct_roi_loss` gets revenue, and revenue plus cost: its best ``q``
    is then the share of revenue in revenue plus cost, so that ``R / C`` is the ROI itself,
    however large. The budget is not used: the order by ROI serves every budget.

    Args:
        softness: below it increments are kept positive smoothly; relative to the mean logged
            cost. A batch in which nobody cost anything then has no unit, and its loss is 0.

    Source:
        Zhou et al. (2023), arXiv:2211.15728, DRP. Deviations: a return beyond (0, 1), by the
        share of revenue; several treatments; revenue is taken around its mean, which changes
        nothing on average.
    """

    softness: Softness = field(default_factory=lambda: Softness(0.1))

    def __post_init__(self) -> None:
        """Check the option."""
        check_values(softness=self.softness)

    @property
    def uses_budget(self) -> bool:
        """False: the order by ROI serves every budget."""
        return False

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: BudgetLike
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head; see the interface."""
        revenue, cost = ready(revenue, cost)
        treatments = revenue.shape[-1]
        check_every_treatment_seen(batch, treatments, revenue.shape[:-1])
        width = width_of(batch, self.softness)
        score = increment_score(
            revenue[..., 1:] - revenue[..., :1], cost[..., 1:] - cost[..., :1], width
        )
        gain, total = (column.unsqueeze(-1) for column in shifted(batch))
        each = gain * score - total * softplus(score)  # every row under every pair
        means = arm_means(each, batch.treatment, batch.weight, treatments)
        pairs = means[..., 1:, :].diagonal(dim1=-2, dim2=-1) - means[..., 0, :]
        loss = -pairs.sum(dim=-1) / max(treatments - 1, 1)
        return torch.where(width > 0, loss, 0)
