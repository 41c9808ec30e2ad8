"""`AllocationProblem`: who could get what, what it earns and costs, and the budget."""

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_number, check_tensor
from dfl.errors import DTypeError, InfeasibleBudgetError, InvalidValueError, ShapeError
from dfl.problem.amounts import (
    BUDGET_SLACK,
    check_amounts,
    check_floating,
    is_finite,
    rounding,
    total_if_sound,
)
from dfl.problem.constraints import check_allowed, check_capacity, check_pinned
from dfl.problem.observed_cost import ObservedCost

__all__ = ["AllocationProblem"]


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
            ``()`` or ``(K,)``; with an axis of budgets in ``cost``, infinity is no limit. One
            that is short of the cheapest choice by no more than a sum of that many numbers
            of its dtype, or of the costs', rounds is raised to it.
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
        DTypeError: if something else than a tensor came, a tensor is not float32/float64, or
            devices or dtypes differ.
        InvalidValueError: if a value is not finite, a cost is negative or a budget is not a
            number; if someone is allowed
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
    _least: Tensor | None = field(init=False, repr=False, default=None)  # kept from the checks

    def __post_init__(self) -> None:
        """Check everything that the class promises."""
        _check_kinds(self)
        check_floating("revenue", self.revenue)
        check_floating("cost", self.cost)
        _check_shapes(self.revenue, self.cost, self.budgets)
        if self.cost.dtype != self.revenue.dtype or self.cost.device != self.revenue.device:
            raise DTypeError(
                "revenue and cost must share dtype and device, got "
                f"{self.revenue.dtype} on {self.revenue.device} and "
                f"{self.cost.dtype} on {self.cost.device}."
            )
        of_first = total_if_sound(self.revenue, self.cost)
        if of_first is None:
            of_first = self._check_values()
        _check_budgets(self.budgets, self.cost)
        if self.allowed is not None:
            check_allowed(self.allowed, self.revenue)
        if self.pinned is not None:
            check_pinned(self.pinned, self.allowed, self.revenue)
        if self.capacity is not None:
            check_capacity(self.capacity, self.pinned, self.revenue)
        if self.min_return is not None:
            check_number("min_return", self.min_return, at_least=0)
            object.__setattr__(self, "min_return", float(self.min_return))  # numpy's among them
        if self.observed is None:
            self._check_cheapest(of_first)
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
        given = torch.as_tensor(self.budget, dtype=torch.float64, device="cpu").detach()
        given = given.reshape(-1)
        return given if self._least is None else given.maximum(self._least)

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

    def _check_values(self) -> Tensor:
        """Check all amounts; return the total cost of the first treatment."""
        if not is_finite(self.revenue, self.revenue.detach().sum()):
            raise InvalidValueError(
                "revenue must be finite, got NaN or infinity; find the rows with "
                "~revenue.isfinite().all(1)."
            )
        return check_amounts("cost", self.cost)[0]

    def _check_cheapest(self, of_first: Tensor) -> None:
        choices, cost, budgets = self.choices, self.cost.detach(), self.budgets
        margin = 1 + 1e4 * torch.finfo(cost.dtype).eps  # of a sum in the costs' own precision
        if choices is None and bool((of_first.double().cpu() * margin <= budgets).all()):
            return  # the usual case, without another pass over the costs
        if choices is not None:
            banned = ~choices if cost.ndim == 2 else ~choices[..., None]
            cost = cost.masked_fill(banned, torch.inf)
        least = cost.amin(dim=1).sum(dim=0, dtype=torch.float64).reshape(-1).cpu()
        slack = max(rounding(one, self.rows) for one in (self.budget, cost))
        if bool((least > budgets * (1 + slack)).any()):
            raise InfeasibleBudgetError(
                f"budget must be at least the cost of the cheapest choice for everyone, "
                f"{least.tolist()}, got {budgets.tolist()}; raise the budget or add a "
                "cheaper treatment."
            )
        if bool((least > budgets * (1 + BUDGET_SLACK)).any()):
            object.__setattr__(self, "_least", least)

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
        if highest >= self.treatments:
            raise InvalidValueError(
                f"observed treatment must lie in 0 .. {self.treatments - 1}, got "
                f"{lowest} .. {highest}."
            )


def _check_kinds(problem: AllocationProblem) -> None:
    """Refuse what is not of the kind asked for, before anything is computed with it."""
    for name in ("revenue", "cost", "allowed", "pinned", "capacity"):
        value = getattr(problem, name)
        if value is not None or name in ("revenue", "cost"):
            check_tensor(name, value)
    if problem.observed is not None and not isinstance(problem.observed, ObservedCost):
        raise DTypeError(
            f"observed must be an ObservedCost, got {type(problem.observed).__name__}."
        )
    try:
        _ = problem.budgets
    except OverflowError:
        check_number("budget", problem.budget)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidValueError(
            f"budget must be a number or a tensor of numbers, got {problem.budget!r}; of a Budget "
            "take .total_of(cost)."
        ) from None


def _check_budgets(budgets: Tensor, cost: Tensor) -> None:
    wrong = ~budgets.isfinite() if cost.ndim == 2 else budgets.isnan() | budgets.isneginf()
    if bool(wrong.any()):
        raise InvalidValueError(
            f"budget must be finite, got {budgets.tolist()}; infinity is no limit among several "
            "budgets only, those of cost (N, M, K)."
        )


def _check_shapes(revenue: Tensor, cost: Tensor, budgets: Tensor) -> None:
    if revenue.ndim != 2 or revenue.shape[1] == 0:
        raise ShapeError(f"revenue must be (N, M) with M >= 1, got {tuple(revenue.shape)}.")
    if cost.ndim not in (2, 3) or cost.shape[:2] != revenue.shape:
        raise ShapeError(
            f"cost must be {tuple(revenue.shape)} as revenue is, or that with one more axis "
            f"for several budgets, got {tuple(cost.shape)}."
        )
    if cost.ndim == 3 and not cost.shape[2]:
        raise ShapeError(f"cost must have one budget at least, got {tuple(cost.shape)}.")
    expected = cost.shape[2] if cost.ndim == 3 else 1
    if budgets.shape[0] != expected:
        raise ShapeError(f"budget must have {expected} value(s), got {budgets.shape[0]}.")
