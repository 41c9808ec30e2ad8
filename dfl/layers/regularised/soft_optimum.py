"""The regularised optimum within a budget, differentiable through its multiplier."""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd import Function

from dfl.layers.pricing.problems import (
    ObservedColumns,
    arms_first,
    blocks,
    charge_of,
    columns_of,
    eagerly,
    finite,
    lift,
    problems_of,
    signed,
)
from dfl.layers.regularised.regulariser import AbstractRegulariser, jacobian_product
from dfl.layers.regularised.soft_problem import SoftProblem, add_up, total
from dfl.problem import ObservedCost

__all__ = ["BudgetConstraint", "OptimumBlock", "by_budget", "soft_optimum"]


@final
@dataclass(frozen=True, eq=False)
class BudgetConstraint:
    """The budget that the shares must keep.

    Args:
        budget: money, float64. Shape ``(...)``.
        observed: logged costs, where they meet the budget. Shape ``(..., N)``.
        start: the multiplier of the hard optimum, whose solver has checked the problems; None
            to check them here and make a first guess. Shape ``(...)``.
        differentiate: send gradients through the multiplier.
        masked: revenue is minus infinity where a treatment is not allowed.
    """

    budget: Tensor
    observed: ObservedCost | None = None
    start: Tensor | None = None
    differentiate: bool = True
    masked: bool = False


def soft_optimum(
    regulariser: AbstractRegulariser,
    revenue: Tensor,
    cost: Tensor,
    temperature: Tensor,
    within: BudgetConstraint,
) -> tuple[Tensor, Tensor]:
    """Return the shares that are best within the budget, and the multiplier.

    ``max_x sum_ij revenue_ij x_ij + temperature * sum_i bonus(x_i)  s.t.  sum_ij price_ij
    x_ij <= budget``, rows on the simplex, price = cost: ``x_i = map((revenue_i -
    multiplier * cost_i) / temperature)`` at the smallest multiplier >= 0 that the budget
    allows. With another price, the same shares at a multiplier where ``sum_ij price_ij x_ij
    = budget``; where there is none, at that of the least spend met.

    Backward, with ``J`` the Jacobian of the rows, ``g`` the gradient in the shares and ``h``
    that in the multiplier: ``kappa = (sum g * J cost - temperature * h) / sum price * J cost``
    where the budget binds, else 0; ``d revenue = J (g - kappa * price) / temperature``, ``d
    cost = - multiplier * d revenue - kappa * x`` (the last term where price is cost), ``d
    budget = kappa``. The temperature is held constant.

    Args:
        regulariser: the regulariser.
        revenue: in currency. Shape ``(..., N, M)``.
        cost: in currency, >= 0. Shape ``(..., N, M)``.
        temperature: of unit currency, > 0. Shape ``(...)``.
        within: the budget.

    Returns:
        Shares ``(..., N, M)``, multiplier ``(...)``, dtype of ``revenue``. Derivatives of all
        orders in reverse, first ones forward; kinks of the regulariser apart.

    Raises:
        ShapeError: if observed costs are of other people.
        DTypeError: if an input is not float32 or float64, or dtypes differ.
        InvalidValueError: if an input is not finite or a cost is negative.
        InfeasibleBudgetError: if the cheapest choice for everyone costs more than the budget;
            not with observed costs.

    Source:
        Implicit function theorem; Jacobian of the projection: Martins and Astudillo (2016),
        arXiv:1602.02068, equation 9.
    """
    find = eagerly(_SoftOptimum.apply)
    shares, multiplier, _ = find(  # type: ignore[no-untyped-call]
        revenue,
        cost,
        within.budget,
        *columns_of(within.observed, revenue),
        temperature,
        within.start,
        regulariser,
        within.differentiate,
        within.masked,
    )
    return shares, multiplier


@final
@signed
class _SoftOptimum(Function):
    """A root-find on plain values, then the implicit derivative; problems in leading axes."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        revenue, cost, budget, *_, temperature, start, regulariser, _, masked = inputs
        columns: ObservedColumns = inputs[3:6]
        if start is None:  # else the solver that found it has checked the problems
            gain, price = finite(revenue, cost) if masked else (revenue, cost)
            for _ in problems_of(gain, price, budget, columns):
                pass  # each is checked as it is made
        problem = SoftProblem.of(regulariser, revenue, cost, charge_of(columns, cost), temperature)
        shares, multiplier, binds = problem.solve(budget, start)
        return shares.mT, multiplier.to(revenue.dtype), binds

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, cost, _, *columns, temperature, _, ctx.regulariser, ctx.differentiate, _ = inputs
        shares, multiplier, binds = output
        ctx.mark_non_differentiable(binds)
        ctx.set_materialize_grads(False)
        saved = (cost, *columns, temperature, shares, multiplier, binds)
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)

    @staticmethod
    def backward(
        ctx: Any, slope: Tensor | None, multiplier_slope: Tensor | None, _: None
    ) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        shares = saved[5]
        slope = torch.zeros_like(shares) if slope is None else slope
        whole = torch.is_grad_enabled()  # a graph is built: no pieces, nothing in place
        parts = blocks(shares.shape[-2], math.prod(shares.shape[:-2]), whole=whole)
        parted = [_block(ctx.regulariser, saved, part) for part in parts]
        slopes = [arms_first(slope[..., part, :]) for part in parts]
        kappa = torch.zeros_like(saved[6], dtype=torch.float64)
        if ctx.differentiate:
            kappa = by_budget(parted, slopes, multiplier_slope, saved[7])
        if len(parts) == 1:
            by_revenue, by_cost = parted[0].pull(slopes[0], kappa)
        else:
            by_revenue, by_cost = (torch.empty_like(shares.mT) for _ in range(2))
            for part, some, given in zip(parts, parted, slopes, strict=True):
                by_revenue[..., part], by_cost[..., part] = some.pull(given, kappa)
        return by_revenue.mT, by_cost.mT, kappa, *(None,) * 8

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, Tensor, None]:
        everyone = _block(ctx.regulariser, ctx.saved_tensors, slice(None))
        revenue, cost = (
            torch.zeros_like(everyone.shares) if each is None else each.mT for each in tangents[:2]
        )
        budget = torch.zeros_like(everyone.multiplier) if tangents[2] is None else tangents[2]
        binds = ctx.saved_tensors[7] if ctx.differentiate else None
        shares, multiplier = everyone.push(revenue, cost, budget, binds)
        return shares.mT, multiplier, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        moved = lift(info.batch_size, in_dims, inputs)
        return _SoftOptimum.apply(*moved), (0, 0, 0)  # type: ignore[no-untyped-call]


@final
@dataclass(frozen=True, eq=False)
class OptimumBlock:
    """A block of people at a regularised optimum, where derivatives are taken.

    ``x_i = map((revenue_i - multiplier * cost_i) / temperature)`` and, where the budget
    binds, ``sum_ij price_ij x_ij = budget`` over all people. Everything is plain arithmetic
    on what is held here, so that derivatives of these derivatives follow by themselves.

    Args:
        regulariser: the regulariser; ``J`` below is the Jacobian of its shares.
        cost: in currency. Shape ``(..., M, N)``.
        price: what shares are charged, None for the cost. Shape ``(..., M, N)``.
        shares: columns on the simplex. Shape ``(..., M, N)``.
        temperature: of unit currency, > 0, held constant. Shape ``(...)``.
        multiplier: shape ``(...)``.
    """

    regulariser: AbstractRegulariser
    cost: Tensor
    price: Tensor | None
    shares: Tensor
    temperature: Tensor
    multiplier: Tensor

    def pull(self, slope: Tensor, kappa: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients in revenue and cost.

        Args:
            slope: gradient in the shares. Shape ``(..., M, N)``.
            kappa: gradient in the budget. Shape ``(...)``.
        """
        per_share = kappa.to(slope.dtype)[..., None, None]
        left = torch.addcmul(slope, per_share, self._charged, value=-1)
        by_revenue = jacobian_product(self._weights, left) / self.temperature[..., None, None]
        by_cost = by_revenue * -self.multiplier[..., None, None]
        if self.price is None:
            by_cost = torch.addcmul(by_cost, per_share, self.shares, value=-1)
        return by_revenue, by_cost

    def reaction(self, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``sum slope * J cost``, ``sum price * J cost`` and the latter's size.

        Args:
            slope: gradient in the shares. Shape ``(..., M, N)``.
        """
        spread_cost = jacobian_product(self._weights, self.cost)
        gained = total(slope * spread_cost)
        if self.price is None:  # nobody's fall is negative
            fall = total(self.cost * spread_cost)
            return gained, fall, fall
        falls = (self.price * spread_cost).sum(dim=-2, keepdim=True)
        return gained, total(falls), total(falls.detach().abs())

    def push(
        self, revenue: Tensor, cost: Tensor, budget: Tensor, binds: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the directional derivatives of shares and multiplier; these are all people.

        Args:
            revenue: direction. Shape ``(..., M, N)``.
            cost: direction. Shape ``(..., M, N)``.
            budget: direction. Shape ``(...)``.
            binds: where the budget binds, None to hold the multiplier constant.
        """
        moved = revenue - self.multiplier[..., None, None] * cost
        rise = torch.zeros_like(self.multiplier)
        if binds is not None:
            gained = (
                total(jacobian_product(self._weights, self._charged) * moved)
                - self.temperature * budget
            )
            if self.price is None:
                gained = gained + self.temperature * total(self.shares * cost)
            _, fall, size = self.reaction(moved)
            rise = divide(gained, fall, size, binds).to(rise.dtype)
        left = moved - rise[..., None, None] * self.cost
        return jacobian_product(self._weights, left) / self.temperature[..., None, None], rise

    @property
    def _charged(self) -> Tensor:
        return self.cost if self.price is None else self.price

    @property
    def _weights(self) -> Tensor:
        return self.regulariser.weights(self.shares)


def divide(gained: Tensor, fall: Tensor, size: Tensor, binds: Tensor) -> Tensor:
    """Divide where the budget binds and spend falls as money gets dearer; 0 elsewhere.

    Where nobody's shares react, or where logged spend rises, the multiplier has no derivative
    that means anything.

    Args:
        gained: numerator. Shape ``(...)``.
        fall: of the spend, times the temperature. Shape ``(...)``.
        size: sum of its absolute terms. Shape ``(...)``.
        binds: bool. Shape ``(...)``.
    """
    real = binds & (fall > torch.finfo(torch.float32).eps * size)
    return torch.where(real, gained / torch.where(real, fall, 1), 0)


def _block(regulariser: AbstractRegulariser, saved: tuple[Any, ...], part: slice) -> OptimumBlock:
    cost, *columns, temperature, shares, multiplier, _ = saved
    cost = cost[..., part, :]
    treatment, paid, weight = (None if each is None else each[..., part] for each in columns)
    price = charge_of((treatment, paid, weight), cost)
    return OptimumBlock(
        regulariser,
        arms_first(cost),
        None if price is None else arms_first(price),
        arms_first(shares[..., part, :]),
        temperature,
        multiplier,
    )


def by_budget(
    parted: list[OptimumBlock], slopes: list[Tensor], multiplier_slope: Tensor | None, binds: Tensor
) -> Tensor:
    """Return the gradient in the budget of an optimum that stands in blocks of people.

    ``(sum slope * J cost - temperature * multiplier_slope) / sum price * J cost``.
    """
    found = [some.reaction(slope) for some, slope in zip(parted, slopes, strict=True)]
    gained, fall, size = (add_up(list(each)) for each in zip(*found, strict=True))
    if multiplier_slope is not None:
        gained = gained - parted[0].temperature * multiplier_slope
    return divide(gained, fall, size, binds)
