"""`CostSensitive`: squared errors that count where they would change a decision."""

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_number
from dfl.layers.base import of_received
from dfl.layers.pricing.options import Softness, check_values
from dfl.layers.pricing.priced import scores
from dfl.losses.base import LoggedBatch
from dfl.losses.estimators.priced import AbstractPricedLoss

__all__ = ["CostSensitive"]

_EQUAL = 16  # times the precision of their dtype: scores that differ by less are equal


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class CostSensitive(AbstractPricedLoss):
    """Regression of the score at the treatment received, weighed by what an error would cost.

    With predicted scores ``a = revenue - multiplier * cost``, the logged one ``y_i``, its error
    ``e_i = a_{i,t_i} - y_i`` and ``w_i`` the inverse propensity::

        sd_r * sum_i w_i k_i h_i (e_i / sd)^2 / sum_i w_i

    - ``sd``, ``sd_r``: standard deviations of the logged scores and revenues, so that the loss does
      not explode with the price of a batch whose logged costs hardly meet the budget; a batch whose
      scores are equal but for rounding teaches nothing, its loss is 0;
    - ``k_i = exp(-(g_i / width)^2 / 2)``, ``g_i`` the distance from ``a_{i,t_i}`` to the best other
      treatment's score: errors count where they would turn the decision;
    - ``h_i``: ``1 + asymmetry`` for an error to the side that does harm, too low for the best
      treatment or too high for another, else ``1 - asymmetry``.

    ``k`` and what is best come from the batch's baseline or, without one, the predictions, held
    constant. Without asymmetry the minimiser is the mean score whatever the weights; with it,
    an expectile: chosen treatments are predicted a little above, the others below.

    Args:
        width: of the weights ``k``.
        asymmetry: in [0, 1).
        price: of money; a fixed one costs no solve at all, else it is found on the logs, in `dfcl`
            once per epoch.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Schutte, Berden, Guns, Postek and Yorke-Smith (2026), arXiv:2605.18005, of which we have
        read the abstract: cost-insensitive normalisation, asymmetric penalties by the decision,
        costs per instance that mimic the task's loss locally. The three formulas are our reading,
        and so is that logs show one treatment's outcome.
    """

    width: Softness = field(default_factory=lambda: Softness(1.0))
    asymmetry: float = 0.2

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        check_values(width=self.width)
        check_number("asymmetry", self.asymmetry, at_least=0, below=1)

    def of_scores(self, predicted: Tensor, multiplier: Tensor, batch: LoggedBatch) -> Tensor:
        """Return the loss of predicted scores; see the class."""
        logged = batch.revenue - multiplier[..., None] * batch.cost
        error = of_received(predicted, batch.treatment) - logged
        lead = _lead(_reference(predicted, batch, multiplier), batch.treatment)
        near = torch.exp(-(lead / self.width.of(predicted).squeeze(-1)).square() / 2)
        harmful = torch.where(lead > 0, error < 0, error > 0)
        side = torch.full_like(lead, 1 - self.asymmetry).masked_fill(harmful, 1 + self.asymmetry)
        each = near * side * (error / _spread(logged)[..., None]).square()
        mean = (batch.weight * each).sum(dim=-1) / batch.weight.sum(dim=-1)
        return batch.revenue.std(dim=-1, correction=0) * mean


def _spread(logged: Tensor) -> Tensor:
    """Return the standard deviation, ``(..., N) -> (...)``; infinity where all is rounding."""
    limits = torch.finfo(logged.dtype)
    spread = logged.std(dim=-1, correction=0)
    rounding = (_EQUAL * limits.eps * logged.abs().amax(dim=-1)).clamp_min(limits.tiny)
    return spread.masked_fill(spread <= rounding, torch.inf)


def _reference(predicted: Tensor, batch: LoggedBatch, multiplier: Tensor) -> Tensor:
    """Return the scores that say who is near to which decision, without a graph."""
    if batch.baseline_revenue is None or batch.baseline_cost is None:
        return predicted.detach()
    return scores(batch.baseline_revenue, batch.baseline_cost, multiplier).to(predicted)


def _lead(reference: Tensor, treatment: Tensor) -> Tensor:
    """Return by how much the treatment received scores above the best other, ``(..., N)``."""
    index = treatment.unsqueeze(-1)
    others = reference.scatter(-1, index, -torch.inf).amax(dim=-1)
    return reference.gather(-1, index).squeeze(-1) - others
