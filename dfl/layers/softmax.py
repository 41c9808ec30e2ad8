"""`Softmax`: choose in proportion to the exponential of revenue minus priced cost."""

from typing import Literal, final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError, ShapeError
from dfl.layers.base import AbstractLayer, SoftAllocation
from dfl.problem import AllocationProblem, ObservedCost
from dfl.solvers.base import AbstractSolver
from dfl.solvers.dual_bisection import DualBisection

__all__ = ["Softmax"]


@final
class Softmax(AbstractLayer):
    """Softmax over treatments of the scores at a multiplier.

    ``shares_ij = softmax_j((revenue_ij - multiplier * cost_ij) / tau)``. As ``tau`` falls to
    0 this becomes the hard choice at the same multiplier. It is the exact optimum of the
    dual with an entropy bonus of weight ``tau``. The multiplier is held constant in the
    gradient.

    Args:
        temperature: softness, > 0: of unit currency with ``scale="absolute"``, without unit
            with ``scale="relative"``.
        scale: ``"relative"``: tau is ``temperature`` times the standard deviation of the
            scores around each person's mean score, so that currency and data set do not
            matter; held constant in the gradient. ``"absolute"``: tau is ``temperature``.
        multiplier: a fixed multiplier >= 0, or None to find the one that meets the budget.
        solver: finds the multiplier; sees detached values. Default: bisection which, on
            logs where no multiplier meets the budget, takes the one of least spend.

    Raises:
        InvalidValueError: if the temperature is not > 0 or the multiplier is negative.

    Shapes:
        revenue, cost ``(..., N, M)`` -> shares ``(..., N, M)``, multiplier ``(...)``.

    Source:
        arXiv:2510.19517, PPL; arXiv:2407.13664, equation 7 and MER (temperature).
        Deviation: the relative temperature.
    """

    def __init__(
        self,
        *,
        temperature: float = 0.3,
        scale: Literal["relative", "absolute"] = "relative",
        multiplier: float | None = None,
        solver: AbstractSolver | None = None,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise InvalidValueError(f"temperature must be > 0, got {temperature:g}.")
        if multiplier is not None and not multiplier >= 0:
            raise InvalidValueError(f"multiplier must be >= 0, got {multiplier:g}.")
        if scale not in ("relative", "absolute"):
            raise InvalidValueError(f"scale must be 'relative' or 'absolute', got {scale!r}.")
        self.temperature = temperature
        self.scale = scale
        self.multiplier = multiplier
        self.solver = DualBisection(on_infeasible="least-spend") if solver is None else solver

    def extra_repr(self) -> str:
        """Return the options for printing."""
        return (
            f"temperature={self.temperature:g}, scale={self.scale!r}, "
            f"multiplier={self.multiplier}, solver={self.solver}"
        )

    def forward(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: float | Tensor,
        observed: ObservedCost | None = None,
    ) -> SoftAllocation:
        """Return shares and multiplier; see the interface."""
        if revenue.ndim < 2 or revenue.shape != cost.shape:
            raise ShapeError(
                "revenue and cost must share one shape (..., N, M), got "
                f"{tuple(revenue.shape)} and {tuple(cost.shape)}."
            )
        if self.multiplier is not None:
            multiplier = revenue.new_full(revenue.shape[:-2], self.multiplier)
        else:
            multiplier = self._find(revenue.detach(), cost.detach(), budget, observed)
        scores = revenue - multiplier[..., None, None] * cost
        shares = (scores / self._tau(scores.detach())).softmax(dim=-1)
        return SoftAllocation(shares, multiplier)

    def _tau(self, scores: Tensor) -> Tensor | float:
        if self.scale == "absolute":
            return self.temperature
        around = scores - scores.mean(dim=-1, keepdim=True)
        spread = around.square().mean(dim=(-2, -1), keepdim=True).sqrt()
        return self.temperature * spread.clamp_min(torch.finfo(scores.dtype).tiny)

    def _find(
        self, revenue: Tensor, cost: Tensor, budget: float | Tensor, observed: ObservedCost | None
    ) -> Tensor:
        """Solve each leading axis's problem for its multiplier."""
        leading, flat = revenue.shape[:-2], (-1, *revenue.shape[-2:])
        revenues, costs = revenue.reshape(flat), cost.reshape(flat)
        budgets = torch.as_tensor(budget, dtype=torch.float64).expand(leading).reshape(-1).tolist()
        logs = [None] * len(budgets) if observed is None else _unstack(observed, revenue.shape[-2])
        if len(logs) != len(budgets):
            raise ShapeError(
                f"observed must be {tuple(revenue.shape[:-1])} as revenue has rows, "
                f"got {tuple(observed.treatment.shape) if observed else None}."
            )
        found = [
            self.solver.solve(AllocationProblem(*problem)).multiplier
            for problem in zip(revenues, costs, budgets, logs, strict=True)
        ]
        return torch.stack(found).to(revenue).reshape(leading)


def _unstack(observed: ObservedCost, rows: int) -> list[ObservedCost]:
    """Split observed costs ``(..., N)`` into one `ObservedCost` per leading axis."""
    if observed.treatment.shape[-1] != rows:
        raise ShapeError(f"observed must have {rows} rows, got {observed.treatment.shape[-1]}.")
    columns = (observed.treatment, observed.cost, observed.weight)
    flat = [column.reshape(-1, rows) for column in columns]
    return [ObservedCost(*one) for one in zip(*flat, strict=True)]
