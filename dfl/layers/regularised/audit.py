"""What a solver's answer is worth: is it feasible, and how far from the optimum."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.layers.regularised.row_maps import AbstractRowMap

__all__ = ["Audit", "audit"]


@final
@dataclass(frozen=True, eq=False)
class Audit:
    """How good the answers are, problem by problem.

    Args:
        failed: whether the answer was not taken. bool, shape ``(...)``.
        infeasibility: largest violation of a constraint, as a share of 1 or of the budget.
            Shape ``(...)``.
        gap: dual minus primal objective per person, in units of the temperature. ``(...)``.
    """

    failed: Tensor
    infeasibility: Tensor
    gap: Tensor


@torch.no_grad()
def audit(
    row_map: AbstractRowMap | None,
    gain: Tensor,
    cost: Tensor,
    budget: Tensor,
    answer: tuple[Tensor, Tensor],
    tolerance: float,
) -> Audit:
    """Check answers by the constraints and by the duality gap at the multiplier found.

    ``dual = multiplier * budget + sum_i max_x ((gain_i - multiplier * cost_i) . x + bonus(x))``
    in closed form, whatever the solver said about itself.

    Args:
        row_map: the regulariser, None for a plain linear program.
        gain: revenue / temperature. Shape ``(K, N, M)``.
        cost: shape ``(K, N, M)``.
        budget: shape ``(K,)``.
        answer: shares ``(K, N, M)`` and multiplier ``(K,)``; NaN never passes.
        tolerance: largest infeasibility and gap that pass.
    """
    shares, multiplier = answer[0].mT, answer[1].clamp_min(0)
    spent = (cost.mT * shares).sum(dim=(-2, -1))
    violations = torch.stack(
        [
            -shares.amin(dim=(-2, -1)),
            (shares.sum(dim=-2) - 1).abs().amax(dim=-1),
            (spent - budget) / torch.where(budget > 0, budget, 1),
            torch.zeros_like(budget),
        ]
    )
    infeasibility = violations.amax(dim=0)
    kept = shares.clamp_min(0)
    scores = (gain - multiplier[..., None, None] * cost).mT
    if row_map is None:
        best, bonus = scores.amax(dim=-2), torch.zeros_like(scores[..., 0, :])
    else:
        optimum = row_map.shares(scores)
        best = (scores * optimum).sum(dim=-2) + row_map.bonus(optimum)
        bonus = row_map.bonus(kept)
    dual = multiplier * budget + best.sum(dim=-1)
    primal = ((gain.mT * kept).sum(dim=-2) + bonus).sum(dim=-1)
    gap = (dual - primal) / max(shares.shape[-1], 1)
    passed = (infeasibility <= tolerance) & (gap.abs() <= tolerance)
    return Audit(~passed, infeasibility, gap)
