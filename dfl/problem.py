"""The nouns that every part speaks: an allocation problem and its answer."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.errors import DTypeError, InfeasibleBudgetError, InvalidValueError, ShapeError

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

    Raises:
        ShapeError: if shapes do not fit, or there is no treatment.
        DTypeError: if a tensor is not float32/float64 or devices or dtypes differ.
        InvalidValueError: if a value is not finite or a cost is negative.
        InfeasibleBudgetError: if even the cheapest choice for everyone costs more than the
            budget (checked per budget; not checked with ``observed``).

    Source:
        Zhou et al. (2024), arXiv:2407.13664, equation 1 (MTBAP).
    """

    revenue: Tensor
    cost: Tensor
    budget: float | Tensor
    observed: ObservedCost | None = None

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
        if not bool(self.revenue.isfinite().all()):
            raise InvalidValueError(
                "revenue must be finite, got NaN or infinity; find the rows with "
                "~revenue.isfinite().all(1)."
            )
        _check_amounts("cost", self.cost)
        if not bool(self.budgets.isfinite().all()):
            raise InvalidValueError(f"budget must be finite, got {self.budgets.tolist()}.")
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

    def _check_cheapest(self) -> None:
        cheapest = self.cost.amin(dim=1).sum(dim=0, dtype=torch.float64).reshape(-1).cpu()
        if bool((cheapest > self.budgets * (1 + BUDGET_SLACK)).any()):
            raise InfeasibleBudgetError(
                f"budget must be at least the cost of the cheapest choice for everyone, "
                f"{cheapest.tolist()}, got {self.budgets.tolist()}; raise the budget or add a "
                "cheaper treatment."
            )

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
    if not bool(tensor.isfinite().all()):
        raise InvalidValueError(f"{name} must be finite, got NaN or infinity.")
    if bool((tensor < 0).any()):
        raise InvalidValueError(f"{name} must be >= 0, got a minimum of {float(tensor.min()):g}.")


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
