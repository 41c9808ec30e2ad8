"""The nouns that every part speaks: an allocation problem and its answer."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_number
from dfl.errors import (
    DTypeError,
    InfeasibleBudgetError,
    InfeasibleProblemError,
    InvalidValueError,
    ShapeError,
)

__all__ = ["BUDGET_SLACK", "Allocation", "AllocationProblem", "ObservedCost", "Split"]

BUDGET_SLACK = 1e-9
"""Relative excess over a budget that is taken for rounding: sums in another order differ."""


@final
@dataclass(frozen=True, eq=False)
class ObservedCost:
    """What logged people really cost, for budgets met on randomised logs.

    The spend of a choice ``z`` is then estimated by inverse propensity weighting,
    ``sum_i weight_i * cost_i * 1[treatment_i = z_i]``, instead of by predicted costs.

    Args:
        treatment: treatment received, int64 in ``0 .. M-1``. Shape ``(N,)``; layers also
            take ``(..., N)``, other people for each leading axis.
        cost: cost observed, in currency, >= 0. Shape of ``treatment``.
        weight: inverse propensity of the treatment received, ``1 / p(treatment_i)``, >= 0,
            no unit. Shape of ``treatment``.

    Raises:
        ShapeError: if the three shapes differ or have no axis.
        DTypeError: if ``treatment`` is not int64, or the others are not floating point.
        InvalidValueError: if a cost or weight is negative or not finite.
    """

    treatment: Tensor
    cost: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        """Check shapes, dtypes and ranges."""
        rows = self.treatment.shape
        if not rows or self.cost.shape != rows or self.weight.shape != rows:
            raise ShapeError(
                "observed treatment, cost and weight must share one shape (..., N), got "
                f"{tuple(rows)}, {tuple(self.cost.shape)} and {tuple(self.weight.shape)}."
            )
        if self.treatment.dtype != torch.int64:
            raise DTypeError(f"observed treatment must be int64, got {self.treatment.dtype}.")
        _check_amounts("observed cost", self.cost)
        _check_amounts("observed weight", self.weight)


@final
@dataclass(frozen=True, eq=False)
class AllocationProblem:
    """Give each of N people one of M treatments so that revenue is largest within a budget.

    ``max_z sum_ij z_ij revenue_ij  s.t.  sum_ij z_ij cost_ij <= budget,  sum_j z_ij = 1,
    z_ij in {0, 1}``: the multiple-choice knapsack problem.

    Args:
        revenue: revenue of each person under each treatment, in currency, any sign. Shape
            ``(N, M)``, float32 or float64.
        cost: cost, in the same currency, >= 0. Shape ``(N, M)``, or ``(N, M, K)`` where K
            budgets bind together. Column 0 is usually "do nothing".
        budget: money for these N people together, in the same currency. A number, or shape
            ``()`` or ``(K,)``.
        observed: logged costs; where given, the budget is met by the estimated observed
            spend and not by ``cost``, which then only steers the choice.
        allowed: which treatments each person may get; all where None. bool, shape ``(N, M)``.
        pinned: the treatment a person must get, -1 for those who are free; all free where
            None. int64, shape ``(N,)``.
        capacity: at most so many people on each treatment, ``sum_i z_ij <= capacity_j``;
            infinity where there is no limit. Any real dtype, shape ``(M,)``.
        min_return: least revenue per unit of cost of the whole allocation, ``sum_ij z_ij
            revenue_ij >= min_return * sum_ij z_ij cost_ij``, >= 0; with K budgets, their costs
            added up.

    Raises:
        ShapeError: if shapes do not fit, or there is no treatment.
        DTypeError: if a tensor is not float32/float64 or devices or dtypes differ.
        InvalidValueError: if a value is not finite or a cost is negative; if someone is allowed
            no treatment, or is pinned to one that does not exist or is not allowed; if a
            capacity or ``min_return`` is negative or NaN.
        InfeasibleBudgetError: if even the cheapest choice for everyone costs more than the
            budget (checked per budget; not checked with ``observed``).
        InfeasibleProblemError: if the capacities add up to fewer than N people, or more people
            are pinned to a treatment than it takes. Whether the constraints can be met together
            only a solver can tell.

    Source:
        Zhou et al. (2024), arXiv:2407.13664, equation 1 (MTBAP).
    """

    revenue: Tensor
    cost: Tensor
    budget: float | Tensor
    observed: ObservedCost | None = None
    allowed: Tensor | None = None
    pinned: Tensor | None = None
    capacity: Tensor | None = None
    min_return: float | None = None

    def __post_init__(self) -> None:
        """Check everything that the class promises."""
        _check_floating("revenue", self.revenue)
        _check_shapes(self.revenue, self.cost, self.budgets)
        if self.cost.dtype != self.revenue.dtype or self.cost.device != self.revenue.device:
            raise DTypeError(
                "revenue and cost must share dtype and device, got "
                f"{self.revenue.dtype} on {self.revenue.device} and "
                f"{self.cost.dtype} on {self.cost.device}."
            )
        if not _is_finite(self.revenue):
            raise InvalidValueError(
                "revenue must be finite, got NaN or infinity; find the rows with "
                "~revenue.isfinite().all(1)."
            )
        _check_amounts("cost", self.cost)
        if not bool(self.budgets.isfinite().all()):
            raise InvalidValueError(f"budget must be finite, got {self.budgets.tolist()}.")
        if self.allowed is not None:
            _check_allowed(self.allowed, self.revenue)
        if self.pinned is not None:
            _check_pinned(self.pinned, self.allowed, self.revenue)
        if self.capacity is not None:
            _check_capacity(self.capacity, self.pinned, self.revenue)
        if self.min_return is not None:
            check_number("min_return", self.min_return, at_least=0)
        if self.observed is None:
            self._check_cheapest()
        else:
            self._check_observed(self.observed)

    @property
    def rows(self) -> int:
        """Number of people, N."""
        return self.revenue.shape[0]

    @property
    def treatments(self) -> int:
        """Number of treatments, M."""
        return self.revenue.shape[1]

    @property
    def budgets(self) -> Tensor:
        """The budget as a float64 tensor of shape ``(K,)``, on the CPU; K = 1 for a number."""
        return torch.as_tensor(self.budget, dtype=torch.float64, device="cpu").reshape(-1)

    @property
    def choices(self) -> Tensor | None:
        """What ``allowed`` and ``pinned`` leave to each person, None for everything.

        bool, shape ``(N, M)``.
        """
        if self.pinned is None:
            return self.allowed
        every = torch.arange(self.treatments, device=self.pinned.device)
        left = (self.pinned[:, None] == every) | (self.pinned < 0)[:, None]
        return left if self.allowed is None else left & self.allowed

    def _check_cheapest(self) -> None:
        choices = self.choices
        cost = self.cost
        if choices is None and self._meets_budgets(cost[:, 0]):
            return  # the usual case, without a pass over all costs
        if choices is not None:
            banned = ~choices if cost.ndim == 2 else ~choices[..., None]
            cost = cost.masked_fill(banned, torch.inf)
        cheapest = cost.amin(dim=1)
        if not self._meets_budgets(cheapest):
            totals = cheapest.sum(dim=0, dtype=torch.float64).reshape(-1).tolist()
            raise InfeasibleBudgetError(
                f"budget must be at least the cost of the cheapest choice for everyone, "
                f"{totals}, got {self.budgets.tolist()}; raise the budget or add a "
                "cheaper treatment."
            )

    def _meets_budgets(self, cost: Tensor) -> bool:  # (N,) or (N, K)
        totals = cost.sum(dim=0, dtype=torch.float64).reshape(-1).cpu()
        return bool((totals <= self.budgets * (1 + BUDGET_SLACK)).all())

    def _check_observed(self, observed: ObservedCost) -> None:
        if self.cost.ndim == 3:
            raise ShapeError("observed costs go with one budget, got cost (N, M, K).")
        if observed.treatment.shape != (self.rows,):
            raise ShapeError(
                f"observed must be ({self.rows},) as revenue has rows, "
                f"got {tuple(observed.treatment.shape)}."
            )
        if not self.rows:
            return
        lowest, highest = (int(end) for end in observed.treatment.aminmax())
        if lowest < 0 or highest >= self.treatments:
            raise InvalidValueError(
                f"observed treatment must lie in 0 .. {self.treatments - 1}, got "
                f"{lowest} .. {highest}."
            )


@final
@dataclass(frozen=True)
class Split:
    """The one fractional person of the linear-programming optimum.

    Args:
        row: the person.
        low: cheaper treatment.
        high: dearer treatment.
        share: weight on ``high``, in (0, 1); the rest is on ``low``.
    """

    row: int
    low: int
    high: int
    share: float


@final
@dataclass(frozen=True, eq=False)
class Allocation:
    """A feasible choice for everyone, with a certificate of how good it is.

    Args:
        choice: treatment of each person, int64, on the problem's device. Shape ``(N,)``.
        multiplier: money's shadow price: revenue gained by one more unit of budget, >= 0.
            float64, shape ``()`` or ``(K,)``.
        revenue: total revenue of ``choice``, in currency. float64, shape ``()``.
        cost: total cost of ``choice``, in currency, within the budget. float64, shape
            ``()`` or ``(K,)``. With observed costs: the estimated observed spend.
        upper_bound: no allocation within the budget earns more (dual value), in currency;
            infinity where the solver has no bound. float64, shape ``()``.
        split: the fractional person of the LP optimum, where the solver finds one.
    """

    choice: Tensor
    multiplier: Tensor
    revenue: Tensor
    cost: Tensor
    upper_bound: Tensor
    split: Split | None = None

    @property
    def gap(self) -> float:
        """Relative distance to the upper bound, ``(upper_bound - revenue) / |upper_bound|``.

        Infinity where the solver has no bound.
        """
        difference = float(self.upper_bound - self.revenue)
        if math.isinf(difference):
            return difference
        return difference / max(abs(float(self.upper_bound)), torch.finfo(torch.float64).tiny)


def _check_floating(name: str, tensor: Tensor) -> None:
    if tensor.dtype not in (torch.float32, torch.float64):
        raise DTypeError(f"{name} must be float32 or float64, got {tensor.dtype}.")


def _check_amounts(name: str, tensor: Tensor) -> None:
    """Refuse amounts that are not floating point, not finite, or negative."""
    _check_floating(name, tensor)
    if not tensor.numel():
        return
    lowest, highest = (float(end) for end in tensor.detach().aminmax())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise InvalidValueError(f"{name} must be finite, got NaN or infinity.")
    if lowest < 0:
        raise InvalidValueError(f"{name} must be >= 0, got a minimum of {lowest:g}.")


def _is_finite(tensor: Tensor) -> bool:
    """Read a tensor once: NaN comes through both ends of ``aminmax``."""
    return not tensor.numel() or all(math.isfinite(float(end)) for end in tensor.detach().aminmax())


def _check_allowed(allowed: Tensor, revenue: Tensor) -> None:
    if allowed.dtype != torch.bool or allowed.device != revenue.device:
        raise DTypeError(
            f"allowed must be bool on {revenue.device}, got {allowed.dtype} on {allowed.device}."
        )
    if allowed.shape != revenue.shape:
        raise ShapeError(
            f"allowed must be {tuple(revenue.shape)} as revenue is, got {tuple(allowed.shape)}."
        )
    nothing = ~allowed.any(dim=1)
    if bool(nothing.any()):
        raise InvalidValueError(
            f"allowed must leave everyone a treatment, got {int(nothing.sum())} row(s) without; "
            f"the first is row {int(nothing.nonzero()[0])}."
        )


def _check_pinned(pinned: Tensor, allowed: Tensor | None, revenue: Tensor) -> None:
    rows, treatments = revenue.shape
    if pinned.dtype != torch.int64 or pinned.device != revenue.device:
        raise DTypeError(
            f"pinned must be int64 on {revenue.device}, got {pinned.dtype} on {pinned.device}."
        )
    if pinned.shape != (rows,):
        raise ShapeError(f"pinned must be ({rows},), got {tuple(pinned.shape)}.")
    if bool(((pinned < -1) | (pinned >= treatments)).any()):
        raise InvalidValueError(
            f"pinned must lie in -1 .. {treatments - 1}, -1 for people who are free, got "
            f"{int(pinned.min())} .. {int(pinned.max())}."
        )
    if allowed is not None:
        fixed = (pinned >= 0).nonzero()[:, 0]
        clash = fixed[~allowed[fixed, pinned[fixed]]]
        if clash.shape[0]:
            raise InvalidValueError(
                f"pinned must be a treatment that is allowed, got {clash.shape[0]} row(s) where "
                f"it is not; the first is row {int(clash[0])}."
            )


def _check_capacity(capacity: Tensor, pinned: Tensor | None, revenue: Tensor) -> None:
    rows, treatments = revenue.shape
    if capacity.shape != (treatments,):
        raise ShapeError(f"capacity must be ({treatments},), got {tuple(capacity.shape)}.")
    if not bool((capacity >= 0).all()):
        raise InvalidValueError(f"capacity must be >= 0, got {capacity.tolist()}.")
    places = capacity.double().floor()
    if float(places.sum()) < rows:
        raise InfeasibleProblemError(
            f"capacity must take all {rows} people, got places for {float(places.sum()):g}; raise "
            "a capacity, or set that of doing nothing to infinity."
        )
    if pinned is not None:
        taken = torch.bincount(pinned[pinned >= 0], minlength=treatments).to(places.device)
        if bool((taken > places).any()):
            raise InfeasibleProblemError(
                f"capacity must take the people pinned, {taken.tolist()} per treatment, got "
                f"{capacity.tolist()}; raise it or pin fewer."
            )


def _check_shapes(revenue: Tensor, cost: Tensor, budgets: Tensor) -> None:
    if revenue.ndim != 2 or revenue.shape[1] == 0:
        raise ShapeError(f"revenue must be (N, M) with M >= 1, got {tuple(revenue.shape)}.")
    if cost.ndim not in (2, 3) or cost.shape[:2] != revenue.shape:
        raise ShapeError(
            f"cost must be {tuple(revenue.shape)} as revenue is, or that with one more axis "
            f"for several budgets, got {tuple(cost.shape)}."
        )
    expected = cost.shape[2] if cost.ndim == 3 else 1
    if budgets.shape[0] != expected:
        raise ShapeError(f"budget must have {expected} value(s), got {budgets.shape[0]}.")
