"""`RandomisedRows`: logged outcomes with weights that undo the draw of the treatment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from dfl.budget import Budget
from dfl.data.uplift_data import UpliftData
from dfl.errors import InfeasibleBudgetError, InvalidValueError, ShapeError
from dfl.stats.arrays import Counts, Integers, Vector

__all__ = ["RandomisedRows", "check_predictions", "per_head_budgets"]

_SLACK = 1e-9  # relative; sums in another order differ by rounding


@final
@dataclass(frozen=True, eq=False)
class RandomisedRows:
    """Logged rows in float64, ready to be weighted draw after draw.

    Args:
        treatment: treatment received. Shape ``(N,)``.
        arms: number of treatments M.
        revenue: observed revenue, divided by the propensity where that is known, in
            currency. Shape ``(N,)``.
        cost: observed cost, divided likewise, in currency. Shape ``(N,)``.
        known: whether the propensity is known. If not, it is the share of the arm, taken
            anew in every draw.
    """

    treatment: Integers
    arms: int
    revenue: Vector
    cost: Vector
    known: bool

    @classmethod
    def of(cls, data: UpliftData) -> "RandomisedRows":
        """Take what is needed from logs.

        Raises:
            InvalidValueError: for observational rows of unknown propensity.
        """
        if data.source == "obs" and data.propensity is None:
            raise InvalidValueError(
                "data must be randomised, or carry a known propensity: the value of a policy "
                "cannot be read off observational rows; keep randomised rows for evaluation."
            )
        revenue = data.revenue.to("cpu", torch.float64)
        cost = data.cost.to("cpu", torch.float64)
        if data.propensity is not None:
            chosen = data.propensity.gather(1, data.treatment[:, None]).squeeze(1)
            propensity = chosen.to("cpu", torch.float64)
            revenue, cost = revenue / propensity, cost / propensity
        treatment = data.treatment.cpu().numpy()
        known = data.propensity is not None
        return cls(treatment, data.treatments, revenue.numpy(), cost.numpy(), known)

    def scale(self, counts: Counts) -> Vector:
        """Return what turns sums over the rows of an arm into means per head.

        ``1 / n_t`` with ``n_t`` the drawn rows of the arm, which is inverse propensity
        ``n / n_t`` over ``n``; ``1 / n`` where the propensity is known and divided out.

        Args:
            counts: how often each row comes. Shape ``(N,)``.

        Returns:
            Shape ``(M,)``.
        """
        per_arm = np.bincount(self.treatment, weights=counts, minlength=self.arms)
        return 1 / (np.full(self.arms, per_arm.sum()) if self.known else per_arm)

    def arm_means(self, counts: Counts) -> tuple[Vector, Vector]:
        """Return mean cost and revenue of every treatment, per head, each ``(M,)``.

        Args:
            counts: how often each row comes. Shape ``(N,)``.
        """
        scale = self.scale(counts)
        cost = np.bincount(self.treatment, weights=counts * self.cost, minlength=self.arms)
        revenue = np.bincount(self.treatment, weights=counts * self.revenue, minlength=self.arms)
        return cost * scale, revenue * scale

    def as_logged(self) -> Counts:
        """Return the counts of the rows as they are: one each, shape ``(N,)``."""
        return np.ones(len(self.treatment), dtype=np.int16)


def check_predictions(revenue: Tensor, cost: Tensor, rows: int, treatments: int) -> None:
    """Refuse predictions that do not fit the rows or are not finite.

    Args:
        revenue: predicted revenue. Shape ``(N, M)``.
        cost: predicted cost. Shape ``(N, M)``.
        rows: N.
        treatments: M.

    Raises:
        ShapeError: if a shape is not ``(N, M)``.
        InvalidValueError: if a prediction is NaN or infinite.
    """
    for name, predicted in (("revenue", revenue), ("cost", cost)):
        if tuple(predicted.shape) != (rows, treatments):
            raise ShapeError(
                f"predicted {name} must be {(rows, treatments)}, one row per row of the data and "
                f"one column per treatment, got {tuple(predicted.shape)}."
            )
        if not bool(predicted.isfinite().all()):
            raise InvalidValueError(
                f"predicted {name} must be finite, got NaN or infinity in "
                f"{int((~predicted.isfinite()).sum())} value(s)."
            )


def per_head_budgets(budgets: Sequence[Budget], rows: int, arm_cost: Vector) -> list[float]:
    """Return budgets in currency per head.

    Args:
        budgets: in any unit; ``share`` lies between the cheapest and the dearest treatment
            given to everyone.
        rows: N.
        arm_cost: mean cost of every treatment, in currency. Shape ``(M,)``.

    Raises:
        InvalidValueError: if there is no budget.
        InfeasibleBudgetError: if a budget is below the cheapest treatment for everyone.
    """
    if not budgets:
        raise InvalidValueError("budgets must hold at least one Budget, got none.")
    cheapest, dearest = float(arm_cost.min()), float(arm_cost.max())
    amounts = [b.total_for(rows, cheapest * rows, dearest * rows) / rows for b in budgets]
    for budget, amount in zip(budgets, amounts, strict=True):
        if amount < cheapest - _SLACK * dearest:
            raise InfeasibleBudgetError(
                f"budget {budget} is {amount:g} per head, below the {cheapest:g} per head that "
                "the cheapest treatment costs; raise the budget."
            )
    return amounts
