"""`ScenarioProblem`: an allocation whose revenue and cost are known as scenarios only."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.checks import check_number, check_tensor
from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.problem.amounts import check_amounts, check_floating, is_finite

__all__ = ["ScenarioProblem"]


@final
@dataclass(frozen=True, eq=False)
class ScenarioProblem:
    """Give each of N segments (or people) one of M treatments before the scenario is known.

    One choice holds in every scenario: in scenario s it earns ``sum_i revenue[s, i, z_i]`` and
    costs ``sum_i cost[s, i, z_i]``. What the budget demands of these costs is up to a
    `dfl.solvers.scenarios.AbstractFormulation`.

    Args:
        revenue: revenue of a whole segment under each treatment, in currency, any sign. Shape
            ``(S, N, M)``, float32 or float64.
        cost: cost, in the same currency, >= 0. Shape ``(S, N, M)``.
        budget: money for all segments together, in the same currency, >= 0.
        probability: of each scenario, > 0, sum 1; equal where None. Shape ``(S,)``.

    Raises:
        ShapeError: if shapes do not fit, or one of S, N and M is 0.
        DTypeError: if one is no tensor, or not floating point, or dtypes or devices differ.
        InvalidValueError: if a value is not finite, a cost or the budget is negative, or the
            probabilities are not positive with sum 1.
    """

    revenue: Tensor
    cost: Tensor
    budget: float
    probability: Tensor | None = None

    def __post_init__(self) -> None:
        """Check everything that the class promises."""
        check_tensor("revenue", self.revenue)
        check_tensor("cost", self.cost)
        check_floating("revenue", self.revenue)
        if self.revenue.ndim != 3 or not self.revenue.numel():
            raise ShapeError(
                f"revenue must be (S, N, M), each >= 1, got {tuple(self.revenue.shape)}."
            )
        if self.cost.shape != self.revenue.shape:
            raise ShapeError(
                f"cost must be {tuple(self.revenue.shape)} as revenue is, got "
                f"{tuple(self.cost.shape)}."
            )
        if self.cost.dtype != self.revenue.dtype or self.cost.device != self.revenue.device:
            raise DTypeError(
                "revenue and cost must share dtype and device, got "
                f"{self.revenue.dtype} on {self.revenue.device} and "
                f"{self.cost.dtype} on {self.cost.device}."
            )
        if not is_finite(self.revenue, self.revenue.detach().sum()):
            raise InvalidValueError("revenue must be finite, got NaN or infinity.")
        check_amounts("cost", self.cost)
        check_number("budget", self.budget, at_least=0)
        self._check_probability()

    @property
    def scenarios(self) -> int:
        """Number of scenarios S."""
        return self.revenue.shape[0]

    @property
    def weight(self) -> Tensor:
        """Probability of each scenario, float64, shape ``(S,)``."""
        if self.probability is not None:
            return self.probability.double()
        return self.revenue.new_full((self.scenarios,), 1 / self.scenarios, dtype=torch.float64)

    @property
    def mean_revenue(self) -> Tensor:
        """Expected revenue, float64, shape ``(N, M)``."""
        return torch.einsum("s,snm->nm", self.weight, self.revenue.double())

    @property
    def mean_cost(self) -> Tensor:
        """Expected cost, float64, shape ``(N, M)``."""
        return torch.einsum("s,snm->nm", self.weight, self.cost.double())

    def totals(self, choice: Tensor) -> tuple[Tensor, Tensor]:
        """Return revenue and cost of a choice in every scenario, float64, each ``(..., S)``.

        Args:
            choice: treatment of each segment, int64. Shape ``(..., N)``.
        """
        row = torch.arange(choice.shape[-1], device=choice.device)
        revenue, cost = (
            one[:, row, choice].double().sum(dim=-1) for one in (self.revenue, self.cost)
        )
        return revenue.movedim(0, -1), cost.movedim(0, -1)

    def _check_probability(self) -> None:
        given = self.probability
        if given is None:
            return
        check_tensor("probability", given)
        if given.shape != (self.scenarios,):
            raise ShapeError(f"probability must be ({self.scenarios},), got {tuple(given.shape)}.")
        if not bool((given > 0).all()) or abs(float(given.sum(dtype=torch.float64)) - 1) > 1e-6:
            raise InvalidValueError(
                f"probability must be > 0 and sum to 1, got a minimum of {float(given.min()):g} "
                f"and a sum of {float(given.sum()):g}."
            )
