"""`Uncertainty`: what may come otherwise than the table says, as scenarios."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_count, check_number
from dfl.problem import ScenarioProblem
from dfl.segments.table import SegmentTable

__all__ = ["Uncertainty"]


@final
@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """Scenarios of a segment table: cells, traffic and redemption vary independently.

    In each scenario every cell's mean is drawn anew, normal with its standard error (costs not
    below 0); every segment's people are multiplied by a lognormal factor of its own, and all costs
    by one that they share, each of mean 1.

    Args:
        cells: whether cells are drawn; else they are as the table says.
        traffic: standard deviation of the logarithm of a segment's factor, >= 0.
        redemption: likewise of the factor that all costs share, >= 0.

    Raises:
        InvalidValueError: if a spread is negative.
    """

    cells: bool = True
    traffic: float = 0.1
    redemption: float = 0.1

    def __post_init__(self) -> None:
        """Check the spreads."""
        check_number("traffic", self.traffic, at_least=0)
        check_number("redemption", self.redemption, at_least=0)

    def draw(
        self,
        table: SegmentTable,
        people: float,
        budget: float,
        scenarios: int,
        generator: torch.Generator,
    ) -> ScenarioProblem:
        """Return independent scenarios of the totals of each segment.

        Args:
            table: per head.
            people: expected number of people in all segments.
            budget: for all of them, in currency.
            scenarios: how many, >= 1.
            generator: source of randomness, on the CPU.

        Raises:
            InvalidValueError: if a number is out of range.
        """
        check_number("people", people, above=0)
        check_count("scenarios", scenarios, at_least=1)
        shape = (scenarios, *table.revenue.shape)
        heads = people * table.share * _factor(self.traffic, shape[:2], generator)
        shared = _factor(self.redemption, shape[:1], generator)

        def cells(mean: Tensor, error: Tensor) -> Tensor:
            if not self.cells:
                return mean.expand(shape)
            return mean + error * torch.randn(shape, generator=generator, dtype=torch.float64)

        revenue = cells(table.revenue, table.revenue_error)
        cost = cells(table.cost, table.cost_error).clamp(min=0)
        return ScenarioProblem(
            heads[..., None] * revenue,
            heads[..., None] * cost * shared[:, None, None],
            budget,
        )


def _factor(spread: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return lognormal factors of mean 1."""
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (spread * drawn - spread**2 / 2).exp()
