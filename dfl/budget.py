"""`Budget`: an amount of money whose unit is said, never guessed."""

import math
from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_number, check_tensor
from dfl.errors import InvalidValueError, ShapeError

__all__ = ["Budget"]


@final
@dataclass(frozen=True, kw_only=True)
class Budget:
    """Money available, given in exactly one of three units.

    Args:
        total: currency for all rows together, >= 0.
        per_head: currency per row, >= 0.
        share: place between the cheapest allocation (0) and the dearest (1), in [0, 1]:
            ``total = cheapest + share * (dearest - cheapest)``. No unit, so it carries over
            between data sets and currencies.

    Raises:
        InvalidValueError: unless exactly one unit is given, in its range.
    """

    total: float | None = None
    per_head: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        """Check that one unit is given, and its range."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            raise InvalidValueError(
                "a budget takes exactly one of total, per_head or share, "
                f"got {', '.join(given) or 'none of them'}."
            )
        ((name, value),) = given.items()
        check_number(f"budget {name}", value, at_least=0, at_most=1 if name == "share" else None)

    def __str__(self) -> str:
        """Return the one unit that is set, as ``per_head=0.3``."""
        return next(
            f"{f.name}={getattr(self, f.name):g}"
            for f in fields(self)
            if getattr(self, f.name) is not None
        )

    def total_for(self, rows: int, cheapest: float, dearest: float) -> float:
        """Return the budget in currency for all rows together.

        Args:
            rows: number of people.
            cheapest: total cost of the cheapest allocation, in currency.
            dearest: total cost of the dearest allocation, in currency.
        """
        if self.total is not None:
            return self.total
        if self.per_head is not None:
            return self.per_head * rows
        assert self.share is not None  # __post_init__ leaves no other case
        return cheapest + self.share * (dearest - cheapest)

    def total_of(self, cost: Tensor) -> float:
        """Return the budget in currency for people whose costs are known or predicted.

        Args:
            cost: of every treatment, in currency. Shape ``(N, M)``.

        Raises:
            ShapeError: if it is not ``(N, M)``, or there is no treatment.
            DTypeError: if it is no tensor.
            InvalidValueError: if a cost is not finite.
        """
        check_tensor("cost", cost)
        if cost.ndim != 2 or not cost.shape[1]:
            raise ShapeError(f"cost must be (N, M) with M >= 1, got {tuple(cost.shape)}.")
        cheapest = float(cost.amin(dim=1).sum(dtype=torch.float64))
        dearest = float(cost.amax(dim=1).sum(dtype=torch.float64))
        if not math.isfinite(cheapest) or not math.isfinite(dearest):
            raise InvalidValueError("cost must be finite, got NaN or infinity.")
        return self.total_for(cost.shape[0], cheapest, dearest)
