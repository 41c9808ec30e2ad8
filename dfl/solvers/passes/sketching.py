"""`hull_sketch`: the sketch of some people by their hull steps, for any back end."""

import torch
from torch import Tensor

from dfl.scale import Bracket, Chunks, Sketch
from dfl.solvers.passes.base import AbstractPasses

__all__ = ["hull_sketch"]

_HULLS = Chunks(1 << 18)  # numbers whose steps are held at once


def hull_sketch(
    passes: AbstractPasses,
    revenue: Tensor,
    cost: Tensor,
    digits: int,
    within: Bracket | None = None,
) -> Sketch:
    """Sketch everyone's steps, or those within a bracket.

    Args:
        passes: the back end that walks along the hulls.
        revenue: shape ``(N, M)``, N >= 1, on the CPU.
        cost: shape ``(N, M)``.
        digits: of the sketch.
        within: steps above it count as taken, those below not at all; None: every step.
    """
    parts = []
    for part in _HULLS.of(*revenue.shape):
        steps = passes.hull(revenue[part], cost[part])
        spent, earned = (_total(one[part], steps.base) for one in (cost, revenue))
        taken = torch.ones_like(steps.row, dtype=torch.bool)
        if within is not None:
            above = steps.multiplier > within.high
            spent += float(steps.added_cost[above].sum())
            earned += float(steps.added_revenue[above].sum())
            taken = ~above & (steps.multiplier >= within.low)
        columns = (steps.multiplier, steps.added_cost, steps.added_revenue)
        sketch = Sketch.of(
            *(column[taken].numpy() for column in columns),
            digits=digits,
            rows=steps.base.shape[0],
            spent=spent,
            earned=earned,
            dearest=float(cost[part].amax(dim=1).sum(dtype=torch.float64)),
        )
        parts.append(sketch)
    return Sketch.merged(parts)


def _total(amount: Tensor, choice: Tensor) -> float:
    return float(amount.gather(1, choice[:, None]).sum(dtype=torch.float64))
