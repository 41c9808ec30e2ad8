"""`Quadratic`: the quadratically regularised linear program, in closed form."""

from typing import final

from torch import Tensor

from dfl.layers.base import AbstractLayer, SoftAllocation
from dfl.layers.pricing.batching import budget_of_each, check_shapes
from dfl.layers.pricing.hard_multiplier import hard_multiplier
from dfl.layers.pricing.softness import Scale, Softness
from dfl.layers.regularised.row_maps import Projection
from dfl.layers.regularised.soft_optimum import Money, soft_optimum
from dfl.problem import ObservedCost
from dfl.solvers.base import AbstractSolver

__all__ = ["Quadratic"]


@final
class Quadratic(AbstractLayer):
    """The best shares within the budget, less a charge for concentrating them.

    ``max_x sum_ij revenue_ij x_ij - tau / 2 * sum_ij x_ij^2  s.t.  sum_ij cost_ij x_ij <=
    budget, sum_j x_ij = 1, x >= 0``. The optimum is the projection of ``(revenue_i -
    multiplier * cost_i) / tau`` on the simplex, person by person, at the multiplier that
    meets the budget, or at 0 where money is left. Most people get one treatment or two. As
    ``tau`` falls to 0 this becomes the optimum of the linear program.

    The gradient is that of the optimum itself, the multiplier's part included; where tau is
    relative, tau is held constant. It can be taken again, between the points where someone
    gains or loses a treatment. Works under `torch.func` and, with graph breaks,
    `torch.compile`. N = 1,000,000 takes a fraction of a second.

    Args:
        temperature: softness, > 0: of unit currency with ``scale="absolute"``, without unit
            with ``scale="relative"``.
        scale: ``"relative"``: tau is ``temperature`` times the standard deviation of the
            scores around each person's mean score at the multiplier of the hard optimum, so
            that currency and data set do not matter. ``"absolute"``: tau is ``temperature``.
        multiplier_gradient: send gradients through the multiplier; else it is held constant,
            and shares react to predictions as though money kept its price.
        solver: finds the multiplier of the hard optimum for the relative scale. Default:
            greedy-dual; with observed costs, dual-bisection.

    With observed costs, the multiplier is one at which the estimated observed spend of the
    shares meets the budget; where there is none, that of the least spend met.

    Raises:
        InvalidValueError: if the temperature is not > 0 or the scale is unknown.

    Shapes:
        revenue, cost ``(..., N, M)`` -> shares ``(..., N, M)``, multiplier ``(...)``.

    Source:
        Wilder, Dilkina and Tambe (2019), arXiv:1809.05504 (the quadratic term); Martins and
        Astudillo (2016), arXiv:1602.02068 (the projection and its Jacobian). Deviation: the
        multiplier is found and differentiated by itself, without a conic solver.
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        scale: Scale = "relative",
        multiplier_gradient: bool = True,
        solver: AbstractSolver | None = None,
    ) -> None:
        super().__init__()
        Softness(temperature, scale)  # checks them
        self.temperature = temperature
        self.scale = scale
        self.multiplier_gradient = multiplier_gradient
        self.solver = solver

    def extra_repr(self) -> str:
        """Return the options for printing."""
        return (
            f"temperature={self.temperature:g}, scale={self.scale!r}, "
            f"multiplier_gradient={self.multiplier_gradient}, solver={self.solver}"
        )

    def forward(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: float | Tensor,
        observed: ObservedCost | None = None,
    ) -> SoftAllocation:
        """Return shares and multiplier; see the interface.

        Raises:
            ShapeError: if shapes do not fit.
            DTypeError: if an input is not float32 or float64, or dtypes differ.
            InvalidValueError: if an input is not finite or a cost is negative.
            InfeasibleBudgetError: if the cheapest choice for everyone costs more than the
                budget; not with observed costs.
        """
        check_shapes(revenue, cost)
        budgets = budget_of_each(budget, revenue)
        start = None
        if self.scale == "relative":
            start = hard_multiplier(self.solver, revenue, cost, budgets, observed)
        tau = Softness(self.temperature, self.scale).tau(revenue, cost, start)
        money = Money(budgets, observed, start, self.multiplier_gradient)
        return SoftAllocation(*soft_optimum(Projection(), revenue, cost, tau, money))
