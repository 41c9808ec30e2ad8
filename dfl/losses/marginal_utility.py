"""`MarginalUtility`, `marginal_utility_loss`: learn what each step up in treatment gains (DPM)."""

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from dfl.layers.base import BudgetLike
from dfl.layers.pricing.options import Softness, check_values
from dfl.layers.pricing.problems import ready
from dfl.losses.base import AbstractDecisionLoss, LoggedBatch
from dfl.losses.estimators.increments import arm_means, increment_score, shifted, width_of
from dfl.losses.estimators.policy_value import check_every_treatment_seen

__all__ = ["MarginalUtility", "marginal_utility_loss"]


def marginal_utility_loss(
    utility: Tensor,  # (..., N, M - 1)
    treatment: Tensor,  # (..., N)
    revenue: Tensor,  # (..., N)
    cost: Tensor,  # (..., N)
    weight: Tensor,  # (..., N)
) -> Tensor:  # (...)
    """Compute the loss whose best utility is half the marginal one of each step j to j + 1.

    ``mean over treatments of the mean over their rows of cost (q_{t-1}^2 - q_t^2) - revenue
    (q_{t-1} - q_t)``, a ``q`` beyond the ends being 0. On randomised rows that is, on average,
    ``mean_j [q_j^2 * cost step_j - q_j * revenue step_j]``, smallest at ``q_j = revenue step /
    (2 cost step)``.

    Args:
        utility: q of each step.
        treatment: received, each of the M at least once.
        revenue: observed, in currency.
        cost: observed, in currency.
        weight: inverse propensity of the treatment received; equal weights and arms give the
            plain mean.

    Returns:
        Loss in currency per head.

    Source:
        Zhou et al. (2023), arXiv:2211.15728, DPM, as code has it that is probably its supplement,
        there for arms of equal size. Whether the paper's own loss has the factor 2, so that the
        best ``q`` is the marginal utility itself, is not known.
    """
    ends = pad(utility, (1, 1))
    received = treatment.unsqueeze(-1)
    below = ends.gather(-1, received).squeeze(-1)
    above = ends.gather(-1, received + 1).squeeze(-1)
    each = cost * (below.square() - above.square()) - revenue * (below - above)
    means = arm_means(each.unsqueeze(-1), treatment, weight, utility.shape[-1] + 1)
    return means.mean(dim=(-2, -1))


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class MarginalUtility(AbstractDecisionLoss):
    """The marginal utility loss of the steps that predicted revenue and cost imply.

    With predicted increments ``R`` and ``C`` from treatment j to j + 1, ``q = R / (2 (R + C))``,
    and `marginal_utility_loss` gets revenue, and revenue plus cost: at its best, ``R / C`` is the
    marginal utility itself, however large. Treatments must be in rising order of cost. The
    budget is not used: the order by utility serves every budget.

    Args:
        softness: below it increments are kept positive smoothly; relative to the mean logged
            cost. A batch in which nobody cost anything then has no unit, and its loss is 0.

    Source:
        Zhou et al. (2023), arXiv:2211.15728, DPM, see `marginal_utility_loss`. Deviations:
        utilities beyond (0, 2), by the share of revenue; arms of any size; revenue is taken around
        its mean, which changes nothing on average.
    """

    softness: Softness = field(default_factory=lambda: Softness(0.1))

    def __post_init__(self) -> None:
        """Check the option."""
        check_values(softness=self.softness)

    @property
    def uses_budget(self) -> bool:
        """False: the order by utility serves every budget."""
        return False

    def __call__(
        self, revenue: Tensor, cost: Tensor, batch: LoggedBatch, budget: BudgetLike
    ) -> Tensor:
        """Return the loss per leading axis, in currency per head; see the interface."""
        revenue, cost = ready(revenue, cost)
        check_every_treatment_seen(batch, revenue.shape[-1], revenue.shape[:-1])
        width = width_of(batch, self.softness)
        utility = increment_score(revenue.diff(dim=-1), cost.diff(dim=-1), width).sigmoid() / 2
        gain, total = shifted(batch)
        loss = marginal_utility_loss(utility, batch.treatment, gain, total, batch.weight)
        return torch.where(width > 0, loss, 0)
