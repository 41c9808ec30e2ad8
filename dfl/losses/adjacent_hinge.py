"""`AdjacentHinge`: asks of every two treatments of a person that the better one scores more."""

from dataclasses import dataclass, field
from typing import final, get_args

import torch
from torch import Tensor

from dfl.checks import check_choice
from dfl.layers.pricing.options import Softness, check_values
from dfl.losses.base import LoggedBatch
from dfl.losses.estimators.policy_value import (
    PseudoOutcome,
    pseudo_scores,
)
from dfl.losses.estimators.priced import AbstractPricedLoss

__all__ = ["AdjacentHinge"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class AdjacentHinge(AbstractPricedLoss):
    """A hinge on every edge between two decisions that differ in one person's treatment.

    A decision is optimal if it is no worse than its neighbours. At a price of money the feasible
    decisions are one simplex per person, whose vertices are all adjacent, so the neighbours are
    known without a solve. With predicted scores ``a = revenue - multiplier * cost``, pseudo-scores
    ``s`` (see `pseudo_scores`) and a margin ``e``, over the pairs of treatments ``j < k``::

        mean_i 2 / M * sum_{j<k} |s_ij - s_ik| max(0, 1 - sign(s_ij - s_ik) (a_ij - a_ik) / e)

    A pair whose gain has the mean ``g`` over treatments and outcomes wants ``a_ij - a_ik`` of the
    sign of ``g``, noisy as each ``s_ij - s_ik`` may be: for two treatments the minimiser decides as
    the true scores do. For more, pairs may conflict and nothing is proven.

    Args:
        margin: ``e``, by which the better treatment should score more.
        pseudo_outcome: as in `SpoPlus`.
        price: of money; a fixed one costs no solve at all, else it is found on the logs, in `dfcl`
            once per epoch.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Berden, Mahmutogullari, Tsouros and Guns (2025), arXiv:2505.22224, the loss LAVA: ``sum over
        the neighbours k of the optimum b of max(a_k - a_b, -e)``. Deviations, ours: nobody's
        optimum is seen in logs, so every edge is asked, weighed by what pseudo-outcomes say of it
        (Zhao et al., 2012, doi:10.1080/01621459.2012.695674), and ``e`` is relative; the budget
        enters by its price. Treatments off a person's hull are not left out: they lose wherever
        their neighbours on it win.
    """

    margin: Softness = field(default_factory=lambda: Softness(1.0))
    pseudo_outcome: PseudoOutcome = "doubly-robust"

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        check_values(margin=self.margin)
        check_choice("pseudo_outcome", self.pseudo_outcome, get_args(PseudoOutcome))

    def of_scores(self, predicted: Tensor, multiplier: Tensor, batch: LoggedBatch) -> Tensor:
        """Return the loss of predicted scores; see the class."""
        treatments = predicted.shape[-1]
        truth = pseudo_scores(predicted.detach(), batch, multiplier, self.pseudo_outcome)
        first, second = torch.triu_indices(treatments, treatments, 1, device=predicted.device)
        gain = truth[..., first] - truth[..., second]
        lead = (predicted[..., first] - predicted[..., second]) / self.margin.of(predicted)
        asked = gain.abs() * (1 - gain.sign() * lead).clamp(min=0)
        return 2 / treatments * asked.sum(dim=-1).mean(dim=-1)
