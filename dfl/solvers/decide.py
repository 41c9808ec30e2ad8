"""Everyone's best treatment at a given price of money."""

import torch
from torch import Tensor

from dfl.errors import InvalidValueError, ShapeError

__all__ = ["cheapest", "decide"]


def decide(
    revenue: Tensor,  # (..., N, M)
    cost: Tensor,  # (..., N, M)
    multiplier: float | Tensor,  # (...)
) -> Tensor:  # (..., N)
    """Choose ``argmax_j revenue_j - multiplier * cost_j`` for each person.

    Ties go to the cheaper treatment, then to the larger revenue, then to the lower index.
    Two treatments are compared by the revenue that each unit of extra cost brings, against
    the multiplier: the same quotients as in `match_intervals`, so that both agree at the
    breakpoints too, and no revenue is lost in the rounding of ``multiplier * cost``.

    Args:
        revenue: revenue per person and treatment, in currency, finite. Shape
            ``(..., N, M)``; leading axes are separate problems.
        cost: cost, in the same currency, finite. Shape of ``revenue``.
        multiplier: price of money, revenue per unit of cost, >= 0. A number, or a tensor
            that broadcasts over the leading axes.

    Returns:
        Treatment per person, int64, shape ``(..., N)``.

    Raises:
        ShapeError: if the shapes do not fit.
        InvalidValueError: if a multiplier is negative or NaN.
    """
    if revenue.ndim < 2 or revenue.shape[-1] == 0 or cost.shape != revenue.shape:
        raise ShapeError(
            "revenue and cost must share one shape (..., N, M) with M >= 1, got "
            f"{tuple(revenue.shape)} and {tuple(cost.shape)}."
        )
    price = torch.as_tensor(multiplier, dtype=revenue.dtype, device=revenue.device)
    if not bool((price >= 0).all()):
        raise InvalidValueError(f"multiplier must be >= 0, got {price.min().item():g}.")
    if price.ndim > revenue.ndim - 2:
        raise ShapeError(
            f"multiplier must broadcast over {tuple(revenue.shape[:-2])}, the leading axes of "
            f"revenue, got {tuple(price.shape)}."
        )
    return _tournament(revenue, cost, price.unsqueeze(-1))


def cheapest(revenue: Tensor, cost: Tensor) -> Tensor:  # (..., N, M) twice -> (..., N)
    """Choose each person's cheapest treatment, ties as in `decide`: money at any price."""
    tied = cost == cost.amin(dim=-1, keepdim=True)
    return revenue.masked_fill(~tied, -torch.inf).argmax(dim=-1)


def _tournament(revenue: Tensor, cost: Tensor, price: Tensor) -> Tensor:
    """Let each treatment meet the best one before it."""
    best_revenue, best_cost = revenue[..., 0], cost[..., 0]
    choice = torch.zeros(revenue.shape[:-1], dtype=torch.int64, device=revenue.device)
    for j in range(1, revenue.shape[-1]):
        revenue_gain, cost_gain = revenue[..., j] - best_revenue, cost[..., j] - best_cost
        same_cost = cost_gain == 0
        slope = revenue_gain / cost_gain.masked_fill(same_cost, 1)
        wins = torch.where(cost_gain > 0, slope > price, slope <= price)
        wins = torch.where(same_cost, revenue_gain > 0, wins)
        best_revenue = torch.where(wins, revenue[..., j], best_revenue)
        best_cost = torch.where(wins, cost[..., j], best_cost)
        choice.masked_fill_(wins, j)
    return choice
