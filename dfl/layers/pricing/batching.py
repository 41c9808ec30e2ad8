"""Leading axes of problems: checked, taken apart, or lifted from under `torch.func.vmap`."""

from collections.abc import Iterator
from itertools import product
from typing import Any, TypeAlias

import torch
from torch import Tensor

from dfl.errors import ShapeError
from dfl.problem import AllocationProblem, ObservedCost

__all__ = [
    "Columns",
    "budget_of_each",
    "check_shapes",
    "columns_of",
    "lift",
    "price_of",
    "problems_of",
]

Columns: TypeAlias = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Treatment, cost and weight of observed costs, ``(..., N)`` each, or three times None."""


def check_shapes(revenue: Tensor, cost: Tensor) -> None:
    """Refuse predictions that are not both ``(..., N, M)``.

    Raises:
        ShapeError: if they are not.
    """
    if revenue.ndim < 2 or revenue.shape != cost.shape:
        raise ShapeError(
            "revenue and cost must share one shape (..., N, M), got "
            f"{tuple(revenue.shape)} and {tuple(cost.shape)}."
        )


def budget_of_each(budget: float | Tensor, revenue: Tensor) -> Tensor:
    """Return the budget of each problem, float64, with its graph. Shape ``(...)``.

    Args:
        budget: a number, or a tensor that expands to the leading axes.
        revenue: shape ``(..., N, M)``.

    Raises:
        ShapeError: if the budget has other axes.
    """
    leading = revenue.shape[:-2]
    given = torch.as_tensor(budget, dtype=torch.float64, device=revenue.device)
    try:
        return given.expand(leading)
    except RuntimeError as error:
        raise ShapeError(
            f"budget must be a number or {tuple(leading)}, got {tuple(given.shape)}."
        ) from error


def columns_of(observed: ObservedCost | None, revenue: Tensor) -> Columns:
    """Return observed costs column by column.

    Args:
        observed: logged costs of the people that ``revenue`` has, or None.
        revenue: shape ``(..., N, M)``.

    Raises:
        ShapeError: if there is another number of rows or problems.
    """
    if observed is None:
        return None, None, None
    rows, expected = revenue.shape[-2], revenue.shape[:-1]
    if observed.treatment.shape[-1] != rows:
        raise ShapeError(f"observed must have {rows} rows, got {observed.treatment.shape[-1]}.")
    if observed.treatment.shape != expected:
        raise ShapeError(
            f"observed must be {tuple(expected)} as revenue has rows, "
            f"got {tuple(observed.treatment.shape)}."
        )
    return observed.treatment, observed.cost, observed.weight


def price_of(columns: Columns, cost: Tensor) -> Tensor | None:
    """Return what a share is charged: ``weight * cost`` where it was received, 0 elsewhere.

    Args:
        columns: observed costs.
        cost: predicted cost, for shape and dtype. Shape ``(..., N, M)``.

    Returns:
        Shape of ``cost``; None without observed costs.
    """
    treatment, paid, weight = columns
    if treatment is None or paid is None or weight is None:
        return None
    amount = (weight * paid).to(cost.dtype).unsqueeze(-1)
    return torch.zeros_like(cost).scatter(-1, treatment.unsqueeze(-1), amount)


def problems_of(
    revenue: Tensor, cost: Tensor, budget: Tensor, columns: Columns
) -> Iterator[AllocationProblem]:
    """Return each problem by itself, checked.

    Args:
        revenue: shape ``(..., N, M)``.
        cost: shape ``(..., N, M)``.
        budget: shape ``(...)``.
        columns: observed costs.
    """
    treatment, paid, weight = columns
    for at in product(*(range(size) for size in budget.shape)):
        observed = None
        if treatment is not None and paid is not None and weight is not None:
            observed = ObservedCost(treatment[at], paid[at], weight[at])
        yield AllocationProblem(revenue[at], cost[at], float(budget[at]), observed)


def lift(size: int, in_dims: tuple[int | None, ...], inputs: tuple[Any, ...]) -> list[Any]:
    """Bring the mapped axis of every tensor to the front, for functions that take leading axes.

    Args:
        size: of the mapped axis.
        in_dims: where it is in each input, None where it is not.
        inputs: tensors, and others, which are left alone.
    """
    return [
        (each.expand(size, *each.shape) if dim is None else each.movedim(dim, 0))
        if isinstance(each, Tensor)
        else each
        for each, dim in zip(inputs, in_dims, strict=True)
    ]
