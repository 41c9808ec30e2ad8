"""Interface of the back ends: the passes over all people that each writes for itself."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from dfl.budget_path import HullSteps
from dfl.scale import Sketch

__all__ = ["AbstractPasses", "Along", "Sifted", "most_others"]


class Sifted(NamedTuple):
    """People whose best treatment is the same at both ends of a bracket, and the others.

    Args:
        choice: best treatment at the bracket's upper end. int64, shape ``(N,)``.
        others: people for whom another treatment is better at its lower end. int64, ``(D,)``.
        others_revenue: their rows of the revenue. Shape ``(D, M)``.
        others_cost: their rows of the cost. Shape ``(D, M)``.
        cost: total cost of ``choice`` of all but the others, in currency.
        revenue: its total revenue, in currency.
    """

    choice: Tensor
    others: Tensor
    others_revenue: Tensor
    others_cost: Tensor
    cost: float
    revenue: float

    def filled(self, of_others: Tensor) -> Tensor:
        """Write the others' treatments into ``choice``; return it."""
        return self.choice.index_copy_(0, self.others, of_others.to(self.choice))


def most_others(rows: int) -> int:
    """Return how many of so many people may be left over by a sift that pays."""
    return rows // 4


class Along(NamedTuple):
    """Steps in the order they are taken, and the totals along the way, see `BudgetPath`."""

    order: Tensor
    multipliers: Tensor
    costs: Tensor
    revenues: Tensor


class AbstractPasses(ABC):
    """What is done once per person, written for one kind of processor.

    All back ends give the same numbers: the comparisons that decide are the same ones, in
    the same precision. Revenue and cost have shape ``(N, M)``, are finite, and lie on one
    device.
    """

    @abstractmethod
    def decide(self, revenue: Tensor, cost: Tensor, price: float) -> Tensor:
        """Choose the best treatment of each person at a price, ties as in `decide`.

        Compared in the inputs' precision. Returns int64, shape ``(N,)``.
        """

    @abstractmethod
    def sift(self, revenue: Tensor, cost: Tensor, low: float, high: float) -> Sifted | None:
        """Compare everyone's best treatment at two prices ``0 <= low < high``, in float64.

        Ties go either way: who is on a tie at an end may choose either treatment there.
        None if it differs for more than `most_others` people: sifting does not pay then.
        """

    @abstractmethod
    def hull(self, revenue: Tensor, cost: Tensor) -> HullSteps:
        """Walk along everyone's hull, in float64, see `hull_steps`."""

    @abstractmethod
    def sketch(self, revenue: Tensor, cost: Tensor, digits: int) -> Sketch:
        """Add up the steps of everyone's hull by multiplier.

        Args:
            revenue: on the CPU, N >= 1.
            cost: likewise.
            digits: of the sketch, at most 10.
        """

    @abstractmethod
    def along(self, steps: HullSteps, cost: float, revenue: float) -> Along:
        """Sort the steps by falling multiplier, equal ones in their present order; add up.

        Args:
            steps: S steps.
            cost: total cost before all steps.
            revenue: total revenue before all steps.
        """
