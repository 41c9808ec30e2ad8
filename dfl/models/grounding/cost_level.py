"""`CostLevel`: brings predicted costs to the experiment's level where they are far from it."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.models.grounding.evidence import Evidence

__all__ = ["CostLevel"]

_ERRORS = 5.0  # standard errors of the mean difference: less may be chance
_RATIO = 1.5  # of the means: less is harmless, for errors of cost and revenue cancel in part
_SHARE = 0.1  # of the mean cost over treatments: a level next to nothing may be wrong by far
_ROWS = 20  # of a treatment in the experiment
_STEEPEST = 10.0  # a prediction of next to nothing says little about who costs more


@final
@dataclass(frozen=True, eq=False)
class CostLevel:
    """Turns predicted costs into ``factor_j c_j + offset_j``, treatment by treatment.

    Where the logs' costs are wrong altogether (recorded in another unit, or under the wrong
    treatment), networks that learned from them and from a small experiment predict costs that
    the experiment refutes. There the factor is the ratio of the means, observed over
    predicted, at most 10, and the offset what is then missing to the observed mean. Elsewhere
    they are 1 and 0: smaller corrections of cost do not pay, see docs/grounded.md.

    Args:
        factor: no unit. Shape ``(M,)``, float64.
        offset: in currency. Shape ``(M,)``, float64.

    Source:
        Our own.
    """

    factor: Tensor
    offset: Tensor

    @staticmethod
    def fit(evidence: Evidence) -> "CostLevel":
        """Hold the mean costs of the experiment's rows against those predicted, per treatment.

        A level is changed where they differ by more than five standard errors and a tenth of the
        mean over all treatments, one is more than 1.5 times the other, and rows are 20 at least.
        What one row's cost differs by chance is read from the experiment or from the logs,
        whichever says more: few rows without a cost do not say that there is none.

        Args:
            evidence: costs beside their predictions.
        """
        counts, seen, off, spread = _by_treatment(evidence, ~evidence.logged)
        _, _, _, in_logs = _by_treatment(evidence, evidence.logged)
        said, spread = seen - off, torch.maximum(spread, in_logs)
        surely = (off.square() * counts > _ERRORS**2 * spread) & (counts >= _ROWS)
        matters = off.abs() > _SHARE * seen.mean()
        another = torch.maximum(seen, said) > _RATIO * torch.minimum(seen, said)
        far = surely & matters & another
        factor = torch.where(far, (seen / said).clamp(max=_STEEPEST), 1.0)
        return CostLevel(factor, torch.where(factor == _STEEPEST, seen - factor * said, 0.0))

    @property
    def changed(self) -> Tensor:
        """Which treatments are at another level than predicted. Shape ``(M,)``, bool."""
        return self.factor != 1

    def __call__(self, cost: Tensor) -> Tensor:
        """Return costs ``(N, M)`` at the experiment's level, in their own dtype."""
        return (cost.double() * self.factor + self.offset).to(cost)

    def spread(self, spread: Tensor) -> Tensor:
        """Return what the levels make of standard deviations ``(N, M)`` of costs."""
        return (spread.double() * self.factor).to(spread)


def _by_treatment(evidence: Evidence, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return counts, mean outcome, mean error of the predictions, and the error's variance."""
    treatment, treatments = evidence.treatment[rows], evidence.predicted.shape[1]
    counts = treatment.bincount(minlength=treatments)

    def mean(values: Tensor) -> Tensor:
        total = values.new_zeros(treatments).index_add_(0, treatment, values)
        return total / counts.clamp(min=1)

    outcome = evidence.outcome[rows].double()
    error = outcome - evidence.own[rows]
    off = mean(error)
    return counts, mean(outcome), off, mean((error - off[treatment]).square())
