"""The regularised optimum within a budget, differentiable through its multiplier."""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd import Function

from dfl.layers.pricing.arms_first import arms_first, blocks
from dfl.layers.pricing.batching import Columns, columns_of, lift, price_of, problems_of
from dfl.layers.pricing.eager import eagerly, signed
from dfl.layers.regularised.implicit_gradient import People, add_up, divide
from dfl.layers.regularised.row_maps import AbstractRowMap
from dfl.layers.regularised.soft_problem import SoftProblem
from dfl.problem import ObservedCost

__all__ = ["Money", "soft_optimum"]


@final
@dataclass(frozen=True, eq=False)
class Money:
    """What limits the shares.

    Args:
        budget: money, float64. Shape ``(...)``.
        observed: logged costs, where they meet the budget. Shape ``(..., N)``.
        start: the multiplier of the hard optimum, whose solver has checked the problems; None
            to check them here and make a first guess. Shape ``(...)``.
        differentiate: send gradients through the multiplier.
    """

    budget: Tensor
    observed: ObservedCost | None = None
    start: Tensor | None = None
    differentiate: bool = True


def soft_optimum(
    row_map: AbstractRowMap, revenue: Tensor, cost: Tensor, temperature: Tensor, money: Money
) -> tuple[Tensor, Tensor]:
    """Return the shares that are best within the budget, and the multiplier.

    ``max_x sum_ij revenue_ij x_ij + temperature * sum_i bonus(x_i)  s.t.  sum_ij price_ij
    x_ij <= budget``, rows on the simplex, price = cost: ``x_i = row_map((revenue_i -
    multiplier * cost_i) / temperature)`` at the smallest multiplier >= 0 that the budget
    allows. With another price, the same shares at a multiplier where ``sum_ij price_ij x_ij
    = budget``; where there is none, at that of the least spend met.

    Backward, with ``J`` the Jacobian of the rows, ``g`` the gradient in the shares and ``h``
    that in the multiplier: ``kappa = (sum g * J cost - temperature * h) / sum price * J cost``
    where the budget binds, else 0; ``d revenue = J (g - kappa * price) / temperature``, ``d
    cost = - multiplier * d revenue - kappa * x`` (the last term where price is cost), ``d
    budget = kappa``. The temperature is held constant.

    Args:
        row_map: the regulariser.
        revenue: in currency. Shape ``(..., N, M)``.
        cost: in currency, >= 0. Shape ``(..., N, M)``.
        temperature: of unit currency, > 0. Shape ``(...)``.
        money: the budget.

    Returns:
        Shares ``(..., N, M)``, multiplier ``(...)``, dtype of ``revenue``. Derivatives of all
        orders in reverse, first ones forward; kinks of the row map apart.

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
        money.budget,
        *columns_of(money.observed, revenue),
        temperature,
        money.start,
        row_map,
        money.differentiate,
    )
    return shares, multiplier


@final
@signed
class _SoftOptimum(Function):
    """A root-find on plain values, then the implicit derivative; problems in leading axes."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        revenue, cost, budget, *_, temperature, start, row_map, _ = inputs
        columns: Columns = inputs[3:6]
        if start is None:  # else the solver that found it has checked the problems
            for _ in problems_of(revenue, cost, budget, columns):
                pass  # each is checked as it is made
        problem = SoftProblem.of(row_map, revenue, cost, price_of(columns, cost), temperature)
        shares, multiplier, binds = problem.solve(budget, start)
        return shares.mT, multiplier.to(revenue.dtype), binds

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, cost, _, *columns, temperature, _, ctx.row_map, ctx.differentiate = inputs
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
        people = [_people(ctx.row_map, saved, part) for part in parts]
        slopes = [arms_first(slope[..., part, :]) for part in parts]
        kappa = torch.zeros_like(saved[6], dtype=torch.float64)
        if ctx.differentiate:
            kappa = _kappa(people, slopes, multiplier_slope, saved[7])
        if len(parts) == 1:
            by_revenue, by_cost = people[0].pull(slopes[0], kappa)
        else:
            by_revenue, by_cost = (torch.empty_like(shares.mT) for _ in range(2))
            for part, some, given in zip(parts, people, slopes, strict=True):
                by_revenue[..., part], by_cost[..., part] = some.pull(given, kappa)
        return by_revenue.mT, by_cost.mT, kappa, *(None,) * 7

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, Tensor, None]:
        everyone = _people(ctx.row_map, ctx.saved_tensors, slice(None))
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


def _people(row_map: AbstractRowMap, saved: tuple[Any, ...], part: slice) -> People:
    cost, *columns, temperature, shares, multiplier, _ = saved
    cost = cost[..., part, :]
    treatment, paid, weight = (None if each is None else each[..., part] for each in columns)
    price = price_of((treatment, paid, weight), cost)
    return People(
        row_map,
        arms_first(cost),
        None if price is None else arms_first(price),
        arms_first(shares[..., part, :]),
        temperature,
        multiplier,
    )


def _kappa(
    people: list[People], slopes: list[Tensor], multiplier_slope: Tensor | None, binds: Tensor
) -> Tensor:
    """Return ``(sum slope * J cost - temperature * multiplier_slope) / sum price * J cost``."""
    found = [some.reaction(slope) for some, slope in zip(people, slopes, strict=True)]
    gained, fall, size = (add_up(list(each)) for each in zip(*found, strict=True))
    if multiplier_slope is not None:
        gained = gained - people[0].temperature * multiplier_slope
    return divide(gained, fall, size, binds)
