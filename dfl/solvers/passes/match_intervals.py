"""For which multipliers does the decision equal the treatment that was received?"""

import torch
from torch import Tensor

from dfl.errors import DTypeError, InvalidValueError, ShapeError

__all__ = ["match_intervals"]


def match_intervals(
    revenue: Tensor,  # (..., N, M)
    cost: Tensor,  # (..., N, M)
    treatment: Tensor,  # (..., N)
) -> tuple[Tensor, Tensor]:  # (..., N), (..., N)
    """Find the interval of multipliers at which each person's decision is ``treatment``.

    The decision ``argmax_j revenue_j - multiplier * cost_j``, ties as in `decide`, equals
    ``t`` for one interval of multipliers: ``low <= multiplier < high`` with

    ``low  = max of (revenue_j - revenue_t) / (cost_j - cost_t) over dearer j``, at least 0,
    ``high = min of (revenue_t - revenue_j) / (cost_t - cost_j) over cheaper j``, else infinity.

    With the intervals at hand, spend and value of a policy on logged people follow for any
    multiplier in O(N), without an argmax.

    Args:
        revenue: revenue per person and treatment, in currency, finite. Shape
            ``(..., N, M)``; leading axes are separate problems.
        cost: cost, in the same currency, finite. Shape of ``revenue``.
        treatment: treatment received, int64 in ``0 .. M-1``. Shape ``(..., N)``, or one that
            broadcasts to it, such as ``(N,)`` for many models of the same people.

    Returns:
        ``low`` and ``high``, revenue per unit of cost, shape ``(..., N)``, dtype of
        ``revenue``. ``low >= 0``; ``high`` may be infinite; where ``low >= high`` no
        multiplier leads to ``treatment``. `decide` agrees to the last bit, except that
        where three treatments are tied but for rounding it may find more matches.

    Raises:
        ShapeError: if the shapes do not fit.
        DTypeError: if ``treatment`` is not int64.
        InvalidValueError: if a treatment is not in ``0 .. M-1``.
    """
    index = _check(revenue, cost, treatment)
    revenue_gain = revenue - revenue.gather(-1, index)
    cost_gain = cost - cost.gather(-1, index)
    same_cost = cost_gain == 0
    slope = revenue_gain / cost_gain.masked_fill(same_cost, 1)
    low = slope.masked_fill(cost_gain <= 0, 0).amax(dim=-1)
    high = slope.masked_fill(cost_gain >= 0, torch.inf).amin(dim=-1)
    earlier = torch.arange(revenue.shape[-1], device=revenue.device) < index
    preferred = (revenue_gain > 0) | ((revenue_gain == 0) & earlier)
    return low.masked_fill((same_cost & preferred).any(dim=-1), torch.inf), high


def _check(revenue: Tensor, cost: Tensor, treatment: Tensor) -> Tensor:
    """Check the inputs; return ``treatment`` as an index, shape ``(..., N, 1)``."""
    if revenue.ndim < 2 or revenue.shape[-1] == 0 or cost.shape != revenue.shape:
        raise ShapeError(
            "revenue and cost must share one shape (..., N, M) with M >= 1, got "
            f"{tuple(revenue.shape)} and {tuple(cost.shape)}."
        )
    if treatment.dtype != torch.int64:
        raise DTypeError(f"treatment must be int64, got {treatment.dtype}.")
    rows, leading = revenue.shape[:-1], revenue.ndim - 1 - treatment.ndim
    if leading < 0 or any(
        have not in (1, want) for have, want in zip(treatment.shape, rows[leading:], strict=True)
    ):
        raise ShapeError(f"treatment must be {tuple(rows)}, got {tuple(treatment.shape)}.")
    if treatment.numel():
        lowest, highest = (int(end) for end in treatment.aminmax())
        if lowest < 0 or highest >= revenue.shape[-1]:
            raise InvalidValueError(
                f"treatment must lie in 0 .. {revenue.shape[-1] - 1}, got {lowest} .. {highest}."
            )
    return treatment.expand(rows).unsqueeze(-1)
