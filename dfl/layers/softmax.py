"""`Softmax`: choose in proportion to the exponential of revenue minus priced cost."""

from typing import Any, cast, final

import torch
from torch import Tensor
from torch.autograd import Function

from dfl.checks import check_choice
from dfl.errors import InvalidValueError
from dfl.kernels import by_triton
from dfl.layers.base import AbstractLayer, BudgetLike, SoftAllocation
from dfl.layers.pricing.options import Price, Softness, check_values
from dfl.layers.pricing.problems import (
    arms_first,
    blocks,
    budget_of_each,
    eagerly,
    ready,
    signed,
)
from dfl.layers.regularised.regulariser import Entropy
from dfl.layers.regularised.soft_optimum import BudgetConstraint, soft_optimum
from dfl.problem import ObservedCost
from dfl.solvers.dual_bisection import DualBisection

__all__ = ["Softmax", "received_share"]

_SOFTNESS = Softness(0.3)
_PRICE = Price(solver=DualBisection(on_infeasible="least-spend"))


@final
class Softmax(AbstractLayer):
    """Softmax over treatments of the scores at a price of money.

    ``shares_ij = softmax_j((revenue_ij - multiplier * cost_ij) / tau)``. As ``tau`` falls to
    0 this becomes the hard choice at the same multiplier. It is the exact optimum of the
    dual with an entropy bonus of weight ``tau``.

    With ``met_by="shares"`` it is the optimum of ``sum_ij revenue_ij x_ij + tau * entropy(x)``
    within the budget, at multiplier 0 where money is left, and its gradient can follow the
    multiplier. Else the multiplier is held constant.

    Args:
        softness: tau; relative to the scores at the fixed multiplier or the solver's.
        price: of money. With observed costs, their estimated observed spend is what meets the
            budget; where no multiplier meets it, that of the least spend met.
        multiplier_gradient: send gradients through the multiplier, by the implicit function
            theorem; needs ``met_by="shares"``: the solver's multiplier hangs on one person.

    Raises:
        InvalidValueError: if options do not fit together.

    Shapes:
        revenue, cost ``(..., N, M)`` -> shares ``(..., N, M)``, multiplier ``(...)``.

    Source:
        arXiv:2510.19517, PPL; arXiv:2407.13664, equation 7 and MER (temperature).
        Deviations: the relative temperature, ``met_by="shares"``.
    """

    price: Price

    def __init__(
        self,
        *,
        softness: Softness = _SOFTNESS,
        price: Price = _PRICE,
        multiplier_gradient: bool = False,
    ) -> None:
        super().__init__()
        check_values(softness=softness, price=price)
        check_choice("multiplier_gradient", multiplier_gradient, (True, False))
        if multiplier_gradient and price.met_by != "shares":
            raise InvalidValueError(
                "multiplier_gradient needs price.met_by='shares', got met_by='decision'."
            )
        self.softness = softness
        self.price = price
        self.multiplier_gradient = multiplier_gradient

    def forward(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: BudgetLike,
        observed: ObservedCost | None = None,
        allowed: Tensor | None = None,
    ) -> SoftAllocation:
        """Return shares and multiplier; see the interface."""
        revenue, cost = ready(revenue, cost, allowed)
        masked = allowed is not None
        start, tau = self._start(revenue, cost, budget, observed, masked=masked)
        if start is None or self.price.met_by == "shares":
            budgets = budget_of_each(budget, cost)
            within = BudgetConstraint(
                budgets, observed, start, self.multiplier_gradient, masked=masked
            )
            return SoftAllocation(*soft_optimum(Entropy(), revenue, cost, tau, within))
        scores = revenue - start[..., None, None] * cost
        shares = arms_first(scores / tau[..., None, None]).softmax(dim=-2).mT
        return SoftAllocation(shares, start)

    def received(
        self, revenue: Tensor, cost: Tensor, budget: BudgetLike, observed: ObservedCost
    ) -> tuple[Tensor, Tensor]:
        """Return shares and multiplier; see the interface. Several times faster for large N."""
        if self.price.met_by == "shares":
            return super().received(revenue, cost, budget, observed)
        revenue, cost = ready(revenue, cost)
        start, tau = self._start(revenue, cost, budget, observed)
        assert start is not None  # fixed or found: only shares do without
        return received_share(revenue, cost, start, tau, observed.treatment), start

    def _start(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: BudgetLike,
        observed: ObservedCost | None,
        *,
        masked: bool = False,
    ) -> tuple[Tensor | None, Tensor]:
        """Return the fixed or the solver's multiplier, None where neither is needed, and tau."""
        start = None
        if self.price.met_by == "decision" or self.softness.scale == "relative":
            start = self.price.find(revenue, cost, budget, observed, masked=masked)
        return start, self.softness.tau(revenue, cost, start)


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
        if by_triton(revenue, cost, multiplier, temperature, treatment):
            from dfl.kernels.received_share import received_and_shares

            return received_and_shares(revenue, cost, multiplier, temperature, treatment)
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
        moved = moved / temperature.unsqueeze(-1)
        if shares_slope is None and by_triton(moved, multiplier, treatment, shares):
            from dfl.kernels.received_share import pull_back

            by_revenue, by_cost = pull_back(moved, multiplier, treatment, shares)
            return by_revenue.mT, by_cost.mT, None, None, None
        moved, treatment = moved.unsqueeze(-2), treatment.unsqueeze(-2)
        if shares_slope is None and not torch.is_grad_enabled():
            by_revenue, by_cost = torch.empty_like(shares), torch.empty_like(shares)
            for part in blocks(shares.shape[-1], multiplier.numel()):
                block = torch.mul(shares[..., part], -moved[..., part], out=by_revenue[..., part])
                block.scatter_add_(-2, treatment[..., part], moved[..., part])
                torch.mul(block, -price, out=by_cost[..., part])
            return by_revenue.mT, by_cost.mT, None, None, None
        by_revenue = (-shares * moved).scatter_add(-2, treatment, moved)
        if shares_slope is not None:  # of a derivative of this derivative
            by_revenue = by_revenue + _jacobian_product(shares, shares_slope) / tau
        return by_revenue.mT, (-price * by_revenue).mT, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, Tensor]:
        multiplier, temperature, treatment, _, shares = ctx.saved_tensors
        revenue, cost = (
            torch.zeros_like(shares) if each is None else each.mT for each in tangents[:2]
        )
        moved = revenue - multiplier[..., None, None] * cost
        turned = _jacobian_product(shares, moved) / temperature[..., None, None]
        return turned.gather(-2, treatment.unsqueeze(-2)).squeeze(-2), turned


def _jacobian_product(shares: Tensor, vector: Tensor) -> Tensor:
    return shares * (vector - (shares * vector).sum(dim=-2, keepdim=True))
