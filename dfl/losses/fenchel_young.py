"""`FenchelYoung` and `fenchel_young`: how far values are from deciding as a target does."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_choice, check_tensor
from dfl.errors import ShapeError
from dfl.layers.base import of_received
from dfl.layers.perturbed.expected_choice import expected_maximum
from dfl.layers.perturbed.noise import SmoothNoise
from dfl.layers.pricing.options import Softness, check_values, far_below
from dfl.losses.base import LoggedBatch
from dfl.losses.estimators.priced import AbstractPricedLoss
from dfl.problem.amounts import check_finite

__all__ = ["FenchelYoung", "fenchel_young"]


def fenchel_young(
    values: Tensor,  # (..., D)
    target: Tensor,  # (..., D)
    maximum: Callable[[Tensor], Tensor],
) -> Tensor:  # (...)
    """Compute the Fenchel-Young loss of values against a target decision.

    ``F(value) - value @ target`` with ``F`` a smoothed maximum; its gradient is the smoothed
    decision minus the target. Convex in the values and, for a target that is itself a hard
    decision, >= 0 under noise of mean 0. For mixtures the constant that would make the minimum
    zero is left out.

    Args:
        values: value of each entry. Shape ``(..., D)``.
        target: decision to imitate; no gradient goes there. Shape of ``values``.
        maximum: values ``(..., D)`` to ``(...)``: the method ``maximum`` of a
            `PerturbedDecision` over any argmax, or `expected_maximum` for a choice of one entry.

    Returns:
        Loss of each instance, in units of value. Shape ``(...)``.

    Raises:
        ShapeError: if shapes differ, or the maximum returns another.
        DTypeError: if values or target are no tensors.
        InvalidValueError: if the target is not finite.

    Source:
        Blondel, Martins and Niculae (2020), arXiv:1901.02324, definition 2; Berthet et al.
        (2020), arXiv:2002.08676, section 4.
    """
    check_tensor("values", values)
    check_tensor("target", target)
    if target.shape != values.shape:
        raise ShapeError(
            f"target must have the shape of values, {tuple(values.shape)}, got "
            f"{tuple(target.shape)}."
        )
    check_finite("target", target)
    target = target.detach()
    reached = torch.where(target == 0, 0, values)  # a value of minus infinity may be left out
    reached = (reached * target).sum(dim=-1)
    largest = maximum(values)
    if largest.shape != reached.shape:
        raise ShapeError(
            f"maximum must return {tuple(reached.shape)}, one number per row of values, got "
            f"{tuple(largest.shape)}; of a PerturbedDecision give the method maximum."
        )
    return largest - reached


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class FenchelYoung(AbstractPricedLoss):
    """Fenchel-Young losses against logged treatments, weighted by what those earned.

    Nobody knows a logged person's best treatment, so the received one stands as the target, and
    how well it did says whether to imitate or to avoid it. With scores ``v = revenue -
    multiplier * cost``, ``L_j(v)`` the loss against treatment j, ``y_i`` the logged outcome's
    score, ``m_i`` the person's mean predicted score, ``e_i = y_i - m_i`` and ``w_i`` the inverse
    propensity::

        sum_i w_i (e_i L_{t_i}(v_i)             if e_i > 0
                   -e_i sum_{k != t_i} L_k(v_i) otherwise) / sum_i w_i |e_i|

    On average over the randomised treatment, each ``L_j`` weighs ``E[e | j]`` plus what is the
    same for all j. The minimiser's choice is therefore the treatment of the best true score,
    whatever the propensities, and ``m`` only steers the noise. The softened decision itself is a
    mixture: better treatments get larger shares, not all of it. The multiplier, ``m`` and the
    size of the noise are held constant; with no multiplier given, it is the one that meets the
    budget on the logs.

    Args:
        noise: ``"normal"`` or ``"gumbel"``, both exact. Gumbel: ``L_j`` is the cross-entropy.
        softness: tau, the size of the noise.
        price: of money, fixed or met by the decision.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Losses: Berthet et al. (2020), arXiv:2002.08676. Weights: outcome weighted learning,
        Zhao et al. (2012), doi:10.1080/01621459.2012.695674; residuals, Zhou et al. (2017),
        doi:10.1080/01621459.2015.1093947; the form for negative residuals and more than two
        treatments is ours.
    """

    noise: SmoothNoise = "gumbel"
    softness: Softness = field(default_factory=lambda: Softness(0.3))

    def __post_init__(self) -> None:
        """Check the options."""
        super().__post_init__()
        check_values(softness=self.softness)
        check_choice("noise", self.noise, ("gumbel", "normal"))

    def of_scores(self, predicted: Tensor, multiplier: Tensor, batch: LoggedBatch) -> Tensor:
        """Return the weighted mean loss per leading axis, in currency per head."""
        tau = self.softness.of(predicted)
        smooth = tau * expected_maximum(predicted / tau, self.noise).unsqueeze(-1)
        losses = smooth - predicted  # of every treatment as the target
        outcome = batch.revenue - multiplier[..., None] * batch.cost
        far = far_below(predicted)  # masks by a large number would drown the others' residuals
        mean = predicted.detach().masked_fill(far, 0).sum(dim=-1) / (~far).sum(dim=-1)
        residual = outcome - mean
        received = of_received(losses, batch.treatment)
        judged = torch.where(residual > 0, received, losses.sum(dim=-1) - received)
        weight = batch.weight * residual.abs()
        total = weight.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(predicted.dtype).tiny)
        return (weight / total * judged).sum(dim=-1)
