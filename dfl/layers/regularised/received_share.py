"""The softmax share of the one treatment that each person received."""

from typing import Any, cast, final

import torch
from torch import Tensor
from torch.autograd import Function

from dfl.layers.pricing.arms_first import arms_first, blocks
from dfl.layers.pricing.eager import eagerly, signed

__all__ = ["received_share"]


def received_share(
    revenue: Tensor, cost: Tensor, multiplier: Tensor, temperature: Tensor, treatment: Tensor
) -> Tensor:
    """Return ``softmax_j((revenue_ij - multiplier * cost_ij) / temperature)`` at ``j = t_i``.

    The same as to gather from the full softmax, several times faster where N is large: all
    that losses on logs need of the shares. ``d received_i / d score_ij = received_i *
    (1[j = t_i] - share_ij)``.

    Args:
        revenue: in currency. Shape ``(..., N, M)``.
        cost: in currency. Shape ``(..., N, M)``.
        multiplier: price of money, held constant. Shape ``(...)``.
        temperature: of unit currency, > 0, held constant. Shape ``(...)``.
        treatment: received, int64 in ``0 .. M-1``. Shape ``(..., N)``.

    Returns:
        Shape ``(..., N)``. Derivatives of all orders in reverse, first ones forward.
    """
    share = eagerly(_ReceivedShare.apply)
    plain = (multiplier.detach(), temperature.detach())
    received, _ = share(revenue, cost, *plain, treatment)  # type: ignore[no-untyped-call]
    return cast("Tensor", received)


@final
@signed
class _ReceivedShare(Function):
    """Keeps the shares, treatments first, for the way back."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        revenue: Tensor, cost: Tensor, multiplier: Tensor, temperature: Tensor, treatment: Tensor
    ) -> tuple[Tensor, Tensor]:
        price, tau = multiplier[..., None, None], temperature[..., None, None]
        received, shares = [], []
        for part in blocks(treatment.shape[-1], multiplier.numel()):
            scores = torch.addcmul(revenue[..., part, :], cost[..., part, :], price, value=-1) / tau
            shares.append(arms_first(scores).softmax(dim=-2))
            received.append(shares[-1].gather(-2, treatment[..., None, part]).squeeze(-2))
        return torch.cat(received, dim=-1), torch.cat(shares, dim=-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, _, multiplier, temperature, treatment = inputs
        ctx.save_for_backward(multiplier, temperature, treatment, *output)
        ctx.save_for_forward(multiplier, temperature, treatment, *output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(
        ctx: Any, slope: Tensor | None, shares_slope: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        multiplier, temperature, treatment, received, shares = ctx.saved_tensors
        price, tau = multiplier[..., None, None], temperature[..., None, None]
        moved = torch.zeros_like(received) if slope is None else slope * received
        moved = (moved / temperature.unsqueeze(-1)).unsqueeze(-2)
        treatment = treatment.unsqueeze(-2)
        if shares_slope is None and not torch.is_grad_enabled():
            by_revenue, by_cost = torch.empty_like(shares), torch.empty_like(shares)
            for part in blocks(shares.shape[-1], multiplier.numel()):
                block = torch.mul(shares[..., part], -moved[..., part], out=by_revenue[..., part])
                block.scatter_add_(-2, treatment[..., part], moved[..., part])
                torch.mul(block, -price, out=by_cost[..., part])
            return by_revenue.mT, by_cost.mT, None, None, None
        by_revenue = (-shares * moved).scatter_add(-2, treatment, moved)
        if shares_slope is not None:  # of a derivative of this derivative
            by_revenue = by_revenue + _spread(shares, shares_slope) / tau
        return by_revenue.mT, (-price * by_revenue).mT, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, Tensor]:
        multiplier, temperature, treatment, _, shares = ctx.saved_tensors
        revenue, cost = (
            torch.zeros_like(shares) if each is None else each.mT for each in tangents[:2]
        )
        moved = revenue - multiplier[..., None, None] * cost
        turned = _spread(shares, moved) / temperature[..., None, None]
        return turned.gather(-2, treatment.unsqueeze(-2)).squeeze(-2), turned


def _spread(shares: Tensor, vector: Tensor) -> Tensor:
    return shares * (vector - (shares * vector).sum(dim=-2, keepdim=True))
