"""Interface of the differentiable layers, and what they return."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from dfl.problem import ObservedCost

__all__ = ["AbstractLayer", "SoftAllocation"]


class SoftAllocation(NamedTuple):
    """A soft allocation and the price of money at which it was made.

    A named tuple, so that `torch.func` transforms and `torch.compile` see through it.

    Args:
        shares: share of each treatment for each person, rows on the simplex; carries the
            gradient. Dtype and device of the layer's input. Shape ``(..., N, M)``.
        multiplier: revenue gained by one more unit of budget, >= 0. Shape ``(...)``.
    """

    shares: Tensor
    multiplier: Tensor


class AbstractLayer(nn.Module, ABC):
    """Turns predicted revenue and cost into a soft allocation that carries a gradient."""

    @abstractmethod
    def forward(
        self,
        revenue: Tensor,  # (..., N, M)
        cost: Tensor,  # (..., N, M)
        budget: float | Tensor,
        observed: ObservedCost | None = None,
    ) -> SoftAllocation:
        """Return the share of each treatment for each person.

        Args:
            revenue: predicted revenue, in currency. Leading axes are separate problems
                (the members of an ensemble, say). Shape ``(..., N, M)``.
            cost: predicted cost, in the same currency. Shape ``(..., N, M)``.
            budget: money for the N people together, in the same currency. A number for
                all problems, or shape ``(...)``, one per leading axis.
            observed: logged costs of these people, shape ``(..., N)``; where given, the
                budget is met by the estimated observed spend.

        Returns:
            Shares ``(..., N, M)`` and multiplier ``(...)``.

        Raises:
            ShapeError: if shapes do not fit.
            InvalidValueError: if an input is not finite.
        """
