"""The price of money of the hard problem, found by a solver on plain values."""

from typing import Any, cast, final

import torch
from torch import Tensor
from torch.autograd import Function

from dfl.layers.pricing.batching import Columns, columns_of, lift, problems_of
from dfl.layers.pricing.eager import eagerly, signed
from dfl.problem import ObservedCost
from dfl.solvers.base import AbstractSolver
from dfl.solvers.dual_bisection import DualBisection
from dfl.solvers.greedy_dual import GreedyDual

__all__ = ["hard_multiplier"]


def hard_multiplier(
    solver: AbstractSolver | None,
    revenue: Tensor,
    cost: Tensor,
    budget: Tensor,
    observed: ObservedCost | None,
) -> Tensor:
    """Return the multiplier that a solver finds for each problem, held constant.

    Args:
        solver: finds it; None for greedy-dual or, with observed costs, dual-bisection that
            takes the multiplier of least spend where none meets the budget.
        revenue: shape ``(..., N, M)``.
        cost: shape ``(..., N, M)``.
        budget: float64. Shape ``(...)``.
        observed: logged costs, ``(..., N)``, or None.

    Returns:
        Shape ``(...)``, dtype of ``revenue``.

    Raises:
        ShapeError: if ``observed`` has another number of rows or problems.
    """
    if solver is None:
        solver = GreedyDual() if observed is None else DualBisection(on_infeasible="least-spend")
    columns = columns_of(observed, revenue)
    find = eagerly(_HardMultiplier.apply)
    plain = (each.detach() for each in (revenue, cost, budget))
    found = find(*plain, *columns, solver)  # type: ignore[no-untyped-call]
    return cast("Tensor", found)


@final
@signed
class _HardMultiplier(Function):
    """Solves one problem after another; a function, so that `torch.func.vmap` can map it."""

    @staticmethod
    def forward(
        revenue: Tensor,
        cost: Tensor,
        budget: Tensor,
        treatment: Tensor | None,
        paid: Tensor | None,
        weight: Tensor | None,
        solver: AbstractSolver,
    ) -> Tensor:
        columns: Columns = (treatment, paid, weight)
        found = [
            solver.solve(problem).multiplier
            for problem in problems_of(revenue, cost, budget, columns)
        ]
        return torch.stack(found).to(revenue).reshape(budget.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        moved = lift(info.batch_size, in_dims, inputs)
        return _HardMultiplier.apply(*moved), 0  # type: ignore[no-untyped-call]
