"""Problems in leading axes: checks and layout; services for autograd functions of our own.

Arithmetic over a few treatments runs along the many people: a reduction over an innermost axis
of 5 or 8 treatments cannot use vector instructions; the same reduction over ``(..., M, N)`` can,
and is more than ten times faster.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias, TypeVar, cast, final

import torch
from torch import Tensor
from torch.autograd import Function

from dfl.budget import Budget
from dfl.checks import check_part, check_tensor
from dfl.errors import DflError, DTypeError, InvalidValueError, ShapeError, UnsupportedProblemError
from dfl.layers.base import AtPrice, BudgetLike
from dfl.problem import AllocationProblem, ObservedCost
from dfl.problem.amounts import unmapped

__all__ = [
    "ObservedColumns",
    "arms_first",
    "blocks",
    "budget_of_each",
    "charge_of",
    "check_allowed",
    "columns_of",
    "eagerly",
    "finite",
    "lift",
    "problems_of",
    "ready",
    "signed",
    "upcast",
]

F = TypeVar("F", bound=Callable[..., object])
C = TypeVar("C", bound=type[Function])

ObservedColumns: TypeAlias = tuple[Tensor | None, Tensor | None, Tensor | None]
"""Treatment, cost and weight of observed costs, ``(..., N)`` each, or three times None."""

_BLOCK = 1 << 15  # people at a time: what is computed on the way stays in the processor's cache


def arms_first(amount: Tensor) -> Tensor:
    """Return ``(..., N, M)`` as a contiguous ``(..., M, N)``; a copy only where needed.

    Args:
        amount: any dtype. Shape ``(..., N, M)``.
    """
    turned = amount.mT
    if amount.shape[-1] > 1 and turned.is_contiguous():
        return turned
    return torch.stack(amount.unbind(dim=-1), dim=-2)  # faster than copying the transpose


def blocks(people: int, problems: int = 1, *, whole: bool = False) -> list[slice]:
    """Split people into runs whose amounts fit the processor's cache.

    Args:
        people: N.
        problems: how many problems are worked on at once.
        whole: everyone in one run, as is best where a graph is built.
    """
    size = max(people if whole else _BLOCK // max(problems, 1), 1)
    return [slice(start, min(start + size, people)) for start in range(0, max(people, 1), size)]


def ready(revenue: Tensor, cost: Tensor, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return predictions ``(..., N, M)`` as the arithmetic of layers takes them.

    In float32 under autocast; where a treatment is not allowed, revenue is minus infinity and
    cost that of the cheapest treatment that is.

    Raises:
        ShapeError: if predictions are not both ``(..., N, M)``, or ``allowed`` does not fit.
        DTypeError: if predictions are no tensors or not floating point, or ``allowed`` is not bool.
        InvalidValueError: if someone is allowed no treatment.
    """
    check_tensor("revenue", revenue)
    check_tensor("cost", cost)
    if revenue.ndim < 2 or revenue.shape != cost.shape:
        raise ShapeError(
            "revenue and cost must share one shape (..., N, M), got "
            f"{tuple(revenue.shape)} and {tuple(cost.shape)}."
        )
    for name, column in (("revenue", revenue), ("cost", cost)):
        if not column.is_floating_point():
            raise DTypeError(f"{name} must be floating point, got {column.dtype}.")
    revenue, cost = upcast(revenue), upcast(cost)
    if allowed is None:
        return revenue, cost
    revenue = revenue.masked_fill(~check_allowed(allowed, revenue), -torch.inf)
    return revenue, finite(revenue, cost)[1]


def check_allowed(allowed: Tensor, values: Tensor) -> Tensor:
    """Return ``allowed`` in the shape of values ``(..., M)``.

    Raises:
        ShapeError: if it does not expand to that shape.
        DTypeError: if it is no tensor, or not bool.
        InvalidValueError: if a row has no entry that is allowed.
    """
    check_tensor("allowed", allowed)
    if allowed.dtype != torch.bool:
        raise DTypeError(f"allowed must be bool, got {allowed.dtype}.")
    try:
        allowed = allowed.expand(values.shape)
    except RuntimeError as error:
        raise ShapeError(
            f"allowed must be {tuple(values.shape)}, got {tuple(allowed.shape)}."
        ) from error
    nothing = unmapped(~allowed.any(dim=-1))
    if bool(nothing.any()):
        raise InvalidValueError(
            f"allowed must leave every row an entry, got {int(nothing.sum())} row(s) without."
        )
    return allowed


def upcast(values: Tensor) -> Tensor:
    """Return values in float32 where autocast made them shorter, as torch's own softmax does."""
    short = values.dtype in (torch.bfloat16, torch.float16)
    if short and torch.is_autocast_enabled(values.device.type):
        return values.float()
    return values


def finite(revenue: Tensor, cost: Tensor) -> tuple[Tensor, Tensor]:  # (..., N, M) -> the same
    """Return predictions for solvers, in which no treatment of minus infinity is ever chosen.

    It costs what the cheapest other treatment of its row does, and earns less than any.
    """
    forbidden = revenue == -torch.inf
    least = revenue.masked_fill(forbidden, torch.inf).amin(dim=-1, keepdim=True)
    cheapest = cost.detach().masked_fill(forbidden, torch.inf).amin(dim=-1, keepdim=True)
    low = least - least.abs() - 1
    return torch.where(forbidden, low, revenue), torch.where(forbidden, cheapest, cost)


def budget_of_each(budget: BudgetLike, cost: Tensor) -> Tensor:
    """Return the budget of each problem, float64, with its graph. Shape ``(...)``.

    Args:
        budget: a number, a tensor that expands to the leading axes, or a `Budget`.
        cost: predicted, which a budget's share refers to. Shape ``(..., N, M)``.

    Raises:
        ShapeError: if the budget has other axes.
        InvalidValueError: if it is no amount of money.
        UnsupportedProblemError: if it is a price, which does not say how much may be spent.
    """
    leading = cost.shape[:-2]
    if isinstance(budget, AtPrice):
        raise UnsupportedProblemError(
            "this layer or loss needs an amount of money, got AtPrice; give a budget, or take one "
            "that decides at a price (decides_at_price)."
        )
    amount: float | Tensor
    if not isinstance(budget, Budget):
        amount = budget
    elif budget.share is None:
        amount = budget.total_for(cost.shape[-2], 0.0, 0.0)
    else:
        ends = cost.detach().aminmax(dim=-1)
        cheapest, dearest = (end.sum(dim=-1, dtype=torch.float64) for end in ends)
        amount = cheapest + budget.share * (dearest - cheapest)
    try:
        given = torch.as_tensor(amount, dtype=torch.float64, device=cost.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidValueError(
            f"budget must be a number, a tensor or a Budget, got {budget!r}."
        ) from error
    try:
        return given.expand(leading)
    except RuntimeError as error:
        raise ShapeError(
            f"budget must be a number or {tuple(leading)}, got {tuple(given.shape)}."
        ) from error


def columns_of(observed: ObservedCost | None, revenue: Tensor) -> ObservedColumns:
    """Return observed costs column by column.

    Args:
        observed: logged costs of the people that ``revenue`` has, or None.
        revenue: shape ``(..., N, M)``.

    Raises:
        ShapeError: if there is another number of rows or problems.
        InvalidValueError: if it is something else.
    """
    if observed is None:
        return None, None, None
    check_part("observed", observed, ObservedCost, "ObservedCost(treatment, cost, weight)")
    rows, expected = revenue.shape[-2], revenue.shape[:-1]
    if observed.treatment.shape[-1] != rows:
        raise ShapeError(f"observed must have {rows} rows, got {observed.treatment.shape[-1]}.")
    if observed.treatment.shape != expected:
        raise ShapeError(
            f"observed must be {tuple(expected)} as revenue has rows, "
            f"got {tuple(observed.treatment.shape)}."
        )
    return observed.treatment, observed.cost, observed.weight


def charge_of(columns: ObservedColumns, cost: Tensor) -> Tensor | None:
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
    revenue: Tensor, cost: Tensor, budget: Tensor, columns: ObservedColumns
) -> Iterator[AllocationProblem]:
    """Return each problem by itself, checked.

    Args:
        revenue: shape ``(..., N, M)``.
        cost: shape ``(..., N, M)``.
        budget: shape ``(...)``.
        columns: observed costs.

    Raises:
        DflError: as `AllocationProblem`, and which of several problems it is.
    """
    treatment, paid, weight = columns
    for at in product(*(range(size) for size in budget.shape)):
        observed = None
        if treatment is not None and paid is not None and weight is not None:
            observed = ObservedCost(treatment[at], paid[at], weight[at])
        try:
            problem = AllocationProblem(revenue[at], cost[at], float(budget[at]), observed)
        except DflError as error:
            if not at:
                raise
            which = ", ".join(map(str, at))
            raise type(error)(
                f"{error} (In problem [{which}] of {tuple(budget.shape)}.)"
            ) from error
        yield problem


def lift(size: int, in_dims: tuple[int | None, ...], inputs: tuple[Any, ...]) -> list[Any]:
    """Bring the axis mapped by `torch.func.vmap` to the front, where leading axes are.

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


def eagerly(function: F) -> F:
    """Return a function that breaks the graph where it is called while being compiled.

    Outside of compilation it is the function itself, and nothing of the compiler is imported.

    Args:
        function: calls solvers or other code that is no torch graph.
    """
    if torch.compiler.is_compiling():
        return cast("F", torch.compiler.disable(function))  # type: ignore[no-untyped-call]
    return function


def signed(function: C) -> C:
    """Spare torch to work out and to bind the signature of ``forward`` at every call.

    That costs more than the arithmetic of a small batch.

    Args:
        function: a class with a static ``forward`` and ``setup_context``, applied to positional
            arguments, all of them given.
    """
    parameters = inspect.signature(function.forward).parameters
    function.forward.__signature__ = _AsGiven([*parameters.values()])  # type: ignore[attr-defined]
    return function


@final
class _AsGiven(inspect.Signature):
    """Takes the arguments as they come."""

    def bind(self, *args: Any, **kwargs: Any) -> "_Given":  # type: ignore[override]
        return _Given(args, kwargs)


@final
@dataclass
class _Given:
    """What torch reads of bound arguments; there is no default to fill in."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def apply_defaults(self) -> None:
        pass
