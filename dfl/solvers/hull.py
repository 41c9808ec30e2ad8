"""Upper concave hull of every person's treatments, as steps from the cheapest upwards."""

from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from dfl.budget_path import choice_after
from dfl.solvers.decide import cheapest

__all__ = ["HullSteps", "hull_steps"]

# On the CPU, so many numbers at a time: they stay in cache, and torch, which starts threads from
# 32,768 on, works on them alone; waiting for threads costs more where other programs run.
_CHUNK_NUMBERS = 30_000


@final
@dataclass(frozen=True, eq=False)
class HullSteps:
    """Every step that a falling multiplier can make worth its money.

    At multiplier ``m`` each person starts at ``base`` and takes the steps whose
    ``multiplier`` is above ``m``. A person's steps come in order, their multipliers never
    rising; S steps in all.

    Args:
        base: cheapest treatment, the one of largest revenue among equally cheap ones.
            Shape ``(N,)``.
        row: the person. int64, shape ``(S,)``, as all that follow.
        previous: treatment before the step.
        treatment: treatment after the step.
        added_cost: extra cost, in currency, > 0. float64.
        added_revenue: extra revenue, in currency, > 0. float64.
        multiplier: ``added_revenue / added_cost``, and never above the person's step
            before, whatever the rounding. float64.
    """

    base: Tensor
    row: Tensor
    previous: Tensor
    treatment: Tensor
    added_cost: Tensor
    added_revenue: Tensor
    multiplier: Tensor

    def sorted(self) -> "HullSteps":
        """Return the steps by falling multiplier, equal ones in their present order."""
        order = self.multiplier.argsort(descending=True, stable=True)
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return HullSteps(
            columns.pop("base"), **{name: column[order] for name, column in columns.items()}
        )

    def choice(self, multiplier: float | Tensor) -> Tensor:
        """Return everyone's treatment at a multiplier. int64, shape ``(N,)``."""
        taken = (self.multiplier > multiplier).nonzero()[:, 0]
        return choice_after(self.base, self.row, self.treatment, taken)


def hull_steps(revenue: Tensor, cost: Tensor) -> HullSteps:  # (N, M) twice
    """Walk along the upper concave hull of the points ``(cost_j, revenue_j)`` of each person.

    From the treatment reached so far, the next one is the dearer treatment of largest
    ``added revenue / added cost``, the nearest where several lie on one line; all people
    walk together, and those at the end drop out. Free gains are part of the start;
    treatments that are dominated, or dominated by a mix of two others, never come up.

    Args:
        revenue: revenue, in currency, finite. Shape ``(N, M)``, M >= 1.
        cost: cost, in the same currency, finite. Shape ``(N, M)``.

    Returns:
        The steps, at most ``N * (M - 1)``. The arithmetic is float64 whatever the inputs are.

    Source:
        Sinha and Zoltners (1979), doi:10.1287/opre.27.3.503, and Zemel (1984),
        doi:10.1016/0020-0190(84)90014-0: only hull steps matter to the LP relaxation.
    """
    rows = torch.arange(revenue.shape[0], device=revenue.device)
    everyone = max(revenue.shape[0], 1)
    on_cpu = revenue.device.type == "cpu"
    size = max(_CHUNK_NUMBERS // revenue.shape[1], 1) if on_cpu else everyone
    chunks = [slice(start, start + size) for start in range(0, everyone, size)]
    columns = zip(*(_walk(revenue[one], cost[one], rows[one]) for one in chunks), strict=True)
    return HullSteps(*(torch.cat(column) for column in columns))


def _walk(revenue: Tensor, cost: Tensor, row: Tensor) -> tuple[Tensor, ...]:
    """Return the fields of `HullSteps` for some people, first steps of all of them first."""
    base = here = cheapest(revenue, cost)
    revenue, cost = revenue.double(), cost.double()
    ceiling = revenue.new_full(row.shape, torch.finfo(torch.float64).max)
    taken: list[tuple[Tensor, ...]] = [
        (row[:0], base[:0], base[:0], ceiling[:0], ceiling[:0], ceiling[:0])
    ]
    for _ in range(revenue.shape[1] - 1):
        revenue_gain = revenue - revenue.gather(1, here[:, None])
        cost_gain = cost - cost.gather(1, here[:, None])
        slope, there = _steepest(revenue_gain, cost_gain)
        left = (slope > 0).nonzero()[:, 0]
        row, here, there, slope, ceiling = _pick(left, row, here, there, slope, ceiling)
        revenue, cost = _pick(left, revenue, cost)
        revenue_gain, cost_gain = _pick(left, revenue_gain, cost_gain)
        ceiling = torch.minimum(slope, ceiling)
        added = (gain.gather(1, there[:, None])[:, 0] for gain in (cost_gain, revenue_gain))
        taken.append((row, here, there, *added, ceiling))
        here = there
    return base, *(torch.cat(column) for column in zip(*taken, strict=True))


def _steepest(revenue_gain: Tensor, cost_gain: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest slope of each row, 0 where no treatment gains, and its treatment."""
    gains = (cost_gain > 0) & (revenue_gain > 0)
    slope = torch.where(gains, revenue_gain / cost_gain, 0)  # elsewhere it may be NaN
    best = slope.amax(dim=1)
    nearest = torch.where(slope == best[:, None], cost_gain, torch.inf).argmin(dim=1)
    return best, nearest


def _pick(rows: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
    """Return some rows; many times faster than ``column[rows]`` in two dimensions."""
    return tuple(column.index_select(0, rows) for column in columns)
