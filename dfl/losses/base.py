"""Interface of the decision losses, and the logged rows they read."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_tensor
from dfl.errors import DTypeError, ShapeError
from dfl.layers.base import BudgetLike
from dfl.layers.pricing.options import Price
from dfl.problem import ObservedCost
from dfl.solvers.base import AbstractSolver

__all__ = ["AbstractDecisionLoss", "LoggedBatch"]


@final
@dataclass(frozen=True, eq=False)
class LoggedBatch:
    """Randomised rows on which a policy is valued; leading axes are separate batches.

    Shapes and types are checked here, numbers by the losses, whose checks wait for no GPU.

    Args:
        treatment: treatment received, int64. Shape ``(..., N)``.
        revenue: observed revenue, in currency. Shape ``(..., N)``.
        cost: observed cost, in currency, >= 0. Shape ``(..., N)``.
        weight: inverse propensity of the treatment received. Shape ``(..., N)``.
        baseline_revenue: revenue of every treatment as predicted by a model that did not learn
            from these rows, in currency, or None. Shape ``(..., N, M)``.
        baseline_cost: cost, likewise.

    Raises:
        ShapeError: if a column has another shape than ``treatment``, or a baseline other rows.
        DTypeError: if a column is no tensor, ``treatment`` is not int64, or another column is not
            floating point.
    """

    treatment: Tensor
    revenue: Tensor
    cost: Tensor
    weight: Tensor
    baseline_revenue: Tensor | None = None
    baseline_cost: Tensor | None = None

    def __post_init__(self) -> None:
        """Check shapes and types."""
        for field in fields(self):
            if getattr(self, field.name) is not None or field.default is not None:
                check_tensor(f"batch.{field.name}", getattr(self, field.name))
        if self.treatment.dtype != torch.int64:
            raise DTypeError(f"batch.treatment must be int64, got {self.treatment.dtype}.")
        rows = tuple(self.treatment.shape)
        for name in ("revenue", "cost", "weight", "baseline_revenue", "baseline_cost"):
            column, baseline = getattr(self, name), name.startswith("baseline")
            if column is None:
                continue
            if tuple(column.shape[:-1] if baseline else column.shape) != rows:
                wanted = f"({', '.join(map(str, rows))}, M)" if baseline else f"{rows}"
                raise ShapeError(
                    f"batch.{name} must be {wanted}, as batch.treatment is {rows}, got "
                    f"{tuple(column.shape)}."
                )
            if not column.is_floating_point():
                raise DTypeError(f"batch.{name} must be floating point, got {column.dtype}.")

    def repeated(self, times: int) -> "LoggedBatch":
        """Return the same rows along a new leading axis, ``times`` of them in one's memory."""
        columns: dict[str, Tensor | None] = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {name: one for name, one in columns.items() if one is not None}
        return replace(self, **{name: one.expand(times, *one.shape) for name, one in given.items()})

    @cached_property
    def observed_cost(self) -> ObservedCost:
        """The logged costs, as solvers and layers take them; weights are self-normalised."""
        return self.plain_cost.self_normalised()

    @cached_property
    def plain_cost(self) -> ObservedCost:
        """The logged costs with inverse propensities as they are, for Horvitz-Thompson's spend."""
        return ObservedCost(self.treatment, self.cost, self.weight)


class AbstractDecisionLoss(ABC):
    """Scores predictions by what the decisions they lead to would earn."""

    price: Price | None = None  # of money, at which it decides; None where it asks for none

    @property
    def needs_baseline(self) -> bool:
        """Whether batches must hold predictions of a model that did not learn from their rows."""
        return False

    @property
    def uses_budget(self) -> bool:
        """Whether the loss is another at another budget, so that several are worth a call each."""
        return self.price is None or self.price.multiplier is None

    @property
    def decides_at_price(self) -> bool:
        """Whether the budget plays no part but to find a price, so that `AtPrice` can stand in."""
        return self.price is not None and self.price.found

    @property
    def price_solver(self) -> AbstractSolver | None:
        """Who finds the price of money where the loss decides at one; None for dfl's choice."""
        return None if self.price is None else self.price.solver

    @abstractmethod
    def __call__(
        self,
        revenue: Tensor,  # (..., N, M)
        cost: Tensor,  # (..., N, M)
        batch: LoggedBatch,
        budget: BudgetLike,
    ) -> Tensor:  # (...)
        """Return minus the estimated value per head of the soft decisions.

        Args:
            revenue: predicted revenue, in currency. Shape ``(..., N, M)``.
            cost: predicted cost, in currency, >= 0. Shape ``(..., N, M)``.
            batch: the same people's logged outcomes, ``(..., N)``.
            budget: money for the N people together, in currency: a number, ``(...)``, or a
                `Budget`.

        Returns:
            Loss in currency per head, differentiable in ``revenue`` and ``cost``. Shape
            ``(...)``.

        Raises:
            ShapeError: if shapes do not fit.
            DTypeError: if predictions are not floating point.
            InvalidValueError: if a treatment has no row in a batch, or a logged number is not
                finite. Predictions that are NaN are refused, or the loss is NaN.
        """
