"""`Limit`, `Used`: something of which a plan may use so much, and what a plan uses of it."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_number, check_tensor

__all__ = ["Limit", "Used", "shortfall"]


@final
@dataclass(frozen=True, eq=False)
class Limit:
    """Something of which a plan may use so much: money in a region, people on a channel.

    Args:
        name: how answers call it.
        use: of each person under each treatment, >= 0, in any unit. Shape ``(N, M)``.
        at_most: of all people together, in the same unit, >= 0; infinity binds nobody.
        money: whether it counts money, which `Wishes.times` multiplies.
        group: the only group of people who use it, where there are groups; None: all may.

    Raises:
        InvalidValueError: if ``at_most`` is no number, or negative.
        DTypeError: if ``use`` is no tensor.
    """

    name: str
    use: Tensor
    at_most: float
    money: bool = False
    group: int | None = None

    def __post_init__(self) -> None:
        """Check use and amount."""
        check_tensor(f"use of {self.name}", self.use)
        check_number(self.name, self.at_most, at_least=0, finite=False)


@final
@dataclass(frozen=True)
class Used:
    """What a plan uses of a limit.

    Args:
        name: of the limit.
        used: in its unit.
        at_most: in its unit.
        price: what one more unit of it would add to the goal; None for what counts people.
    """

    name: str
    used: float
    at_most: float
    price: float | None


def shortfall(amount: Tensor, choices: Tensor | None) -> tuple[Tensor, float]:
    """Return how far each treatment is below the person's best, and the total of the best."""
    among = amount if choices is None else amount.masked_fill(~choices, -torch.inf)
    best = among.amax(dim=1)
    return (best[:, None] - amount).clamp_min(0), float(best.sum())
