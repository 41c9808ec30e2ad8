"""Everyone's best treatment at a given price of money."""

import ctypes

import torch
from torch import Tensor

from dfl.errors import InvalidValueError, ShapeError
from dfl.solvers.passes import Backend, passes_for, tournament

__all__ = ["decide", "price_in", "raised"]

_QUOTIENT = 4  # roundings by which a quotient of differences may lie above the exact one


def decide(
    revenue: Tensor,  # (..., N, M)
    cost: Tensor,  # (..., N, M)
    multiplier: float | Tensor,  # (...)
    *,
    backend: Backend = "auto",
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
            that broadcasts over the leading axes. One that the dtype of ``revenue`` does not hold
            is rounded up, see `price_in`.
        backend: see `passes_for`; all choose alike. Used where there is one multiplier.

    Returns:
        Treatment per person, int64, shape ``(..., N)``.

    Raises:
        ShapeError: if the shapes do not fit.
        InvalidValueError: if a multiplier is negative or NaN, or the back end does not exist,
            or not for this device.
        MissingExtraError: if the back end is not installed.
    """
    if revenue.ndim < 2 or revenue.shape[-1] == 0 or cost.shape != revenue.shape:
        raise ShapeError(
            "revenue and cost must share one shape (..., N, M) with M >= 1, got "
            f"{tuple(revenue.shape)} and {tuple(cost.shape)}."
        )
    if not isinstance(multiplier, Tensor) or not multiplier.ndim:
        return _at_one(revenue, cost, float(multiplier), backend)
    price = price_in(multiplier, revenue.dtype).to(revenue.device)
    _check(float(price.min()) if price.numel() else 0.0)
    if price.ndim > revenue.ndim - 2:
        raise ShapeError(
            f"multiplier must broadcast over {tuple(revenue.shape[:-2])}, the leading axes of "
            f"revenue, got {tuple(price.shape)}."
        )
    passes_for(backend, revenue.device)
    return tournament(revenue, cost, price.unsqueeze(-1))


def raised(kind: torch.dtype) -> float:
    """Return the factor by which a price passes what its rounding and that of quotients may be."""
    return 1 + _QUOTIENT * torch.finfo(kind).eps


def price_in(price: Tensor, kind: torch.dtype) -> Tensor:
    """Return prices of money in the dtype of amounts; those that it does not hold, a little higher.

    At a critical price someone is indifferent, and takes the cheaper treatment. Were that price
    rounded down, or by less than quotients of rounded differences, they would take the dearer one,
    beyond the budget.

    Args:
        price: >= 0. Any shape.
        kind: floating point.
    """
    exact = price.detach().double()
    found = exact.to(kind)
    above = (exact * raised(kind)).to(kind)
    above = torch.maximum(above, found.nextafter(found.new_tensor(torch.inf)))  # of tiny ones
    return torch.where(found.double() == exact, found, above)


def _at_one(revenue: Tensor, cost: Tensor, price: float, backend: Backend) -> Tensor:
    """Decide at one multiplier."""
    _check(price)
    if revenue.dtype == torch.float32 and ctypes.c_float(price).value != price:
        price *= raised(torch.float32)  # as `price_in`, but quickly
    passes = passes_for(backend, revenue.device)
    if revenue.ndim == 2:
        return passes.decide(revenue, cost, price)
    flat = revenue.reshape(-1, revenue.shape[-1]), cost.reshape(-1, revenue.shape[-1])
    return passes.decide(*flat, price).view(revenue.shape[:-1])


def _check(lowest: float) -> None:
    if not lowest >= 0:
        raise InvalidValueError(f"multiplier must be >= 0, got {lowest:g}.")
