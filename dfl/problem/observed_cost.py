"""`ObservedCost`: what logged people really cost."""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_tensor, put_off, putting_off
from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.problem.amounts import check_amounts, unmapped
from dfl.scale import gathered, over_rows, rows_apart

__all__ = ["ObservedCost"]


@final
@dataclass(frozen=True, eq=False)
class ObservedCost:
    """What logged people really cost, for budgets met on randomised logs.

    The spend of a choice ``z`` is then estimated by inverse propensity weighting,
    ``sum_i weight_i * cost_i * 1[treatment_i = z_i]``, instead of by predicted costs. With
    weights as they are that is Horvitz-Thompson's estimate, which moves with the number of rows
    that happened to receive each treatment; `self_normalised` takes that out.

    Args:
        treatment: treatment received, int64 in ``0 .. M-1``. Shape ``(N,)``; layers also
            take ``(..., N)``, other people for each leading axis.
        cost: cost observed, in currency, >= 0. Shape of ``treatment``.
        weight: inverse propensity of the treatment received, ``1 / p(treatment_i)``, >= 0,
            no unit. Shape of ``treatment``.

    Raises:
        ShapeError: if the three shapes differ or have no axis.
        DTypeError: if one is no tensor, ``treatment`` is not int64, or the others are not
            floating point.
        InvalidValueError: if a treatment is negative, or a cost or weight is negative or not
            finite.
    """

    treatment: Tensor
    cost: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        """Check shapes, dtypes and ranges."""
        for name in ("treatment", "cost", "weight"):
            check_tensor(f"observed {name}", getattr(self, name))
        rows = self.treatment.shape
        if not rows or self.cost.shape != rows or self.weight.shape != rows:
            raise ShapeError(
                "observed treatment, cost and weight must share one shape (..., N), got "
                f"{tuple(rows)}, {tuple(self.cost.shape)} and {tuple(self.weight.shape)}."
            )
        if self.treatment.dtype != torch.int64:
            raise DTypeError(f"observed treatment must be int64, got {self.treatment.dtype}.")
        self._check_treatment()
        check_amounts("observed cost", self.cost)
        check_amounts("observed weight", self.weight)

    def _check_treatment(self) -> None:
        if putting_off():
            put_off((self.treatment >= 0).all(), "observed treatment must be >= 0, got less.")
            return
        received = unmapped(self.treatment)
        lowest = int(received.amin()) if received.numel() else 0
        if lowest < 0:
            raise InvalidValueError(f"observed treatment must be >= 0, got a minimum of {lowest}.")

    def self_normalised(self) -> "ObservedCost":
        """Return the same logs, with weights that add up to N in each treatment's rows.

        ``w_i N / sum_{k: t_k = t_i} w_k``: the spend of one treatment for everyone is then N
        times its mean cost, and exactly N times a cost that is constant, however many rows
        happened to receive it. That is how `dfl.metrics` estimates spend. Rows are those of all
        processes, where several share them.
        """
        here = self.treatment.shape[-1]
        arms = int(unmapped(self.treatment).max()) + 1 if here else 0
        every = gathered((here, arms)) if rows_apart() else [(here, arms)]
        rows, arms = sum(count for count, _ in every), max(most for _, most in every)
        if not rows:
            return self
        weight = self.weight.double()  # one after another, float32 loses a percent of 1e7 rows
        total = weight.new_zeros(*weight.shape[:-1], arms)
        total = over_rows(total.scatter_add(-1, self.treatment, weight))
        total = total.gather(-1, self.treatment)
        weight = torch.where(total > 0, weight * rows / total, weight)
        return replace(self, weight=weight.to(self.weight))
