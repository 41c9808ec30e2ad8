"""`Quadratic`: the quadratically regularised linear program, in closed form."""

from typing import final

from torch import Tensor

from dfl.checks import check_choice
from dfl.layers.base import AbstractLayer, BudgetLike, SoftAllocation
from dfl.layers.pricing.options import Price, Softness, check_values
from dfl.layers.pricing.problems import budget_of_each, ready
from dfl.layers.regularised.regulariser import SquaredNorm
from dfl.layers.regularised.soft_optimum import BudgetConstraint, soft_optimum
from dfl.problem import ObservedCost

__all__ = ["Quadratic"]

_SOFTNESS = Softness(1.0)
_PRICE = Price(met_by="shares")


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
        softness: tau; relative to the scores at the multiplier of the hard optimum.
        price: of money, met by the shares.
        multiplier_gradient: send gradients through the multiplier; else it is held constant,
            and shares react to predictions as though money kept its price.

    With observed costs, the multiplier is one at which the estimated observed spend of the
    shares meets the budget; where there is none, that of the least spend met.

    Raises:
        InvalidValueError: if the price is fixed or to be met by the decision, or an option is of
            another kind.

    Shapes:
        revenue, cost ``(..., N, M)`` -> shares ``(..., N, M)``, multiplier ``(...)``.

    Source:
        Wilder, Dilkina and Tambe (2019), arXiv:1809.05504 (the quadratic term); Martins and
        Astudillo (2016), arXiv:1602.02068 (the projection and its Jacobian). Deviation: the
        multiplier is found and differentiated by itself, without a conic solver.
    """

    price: Price

    def __init__(
        self,
        *,
        softness: Softness = _SOFTNESS,
        price: Price = _PRICE,
        multiplier_gradient: bool = True,
    ) -> None:
        super().__init__()
        check_values(softness=softness, price=price)
        check_choice("price.met_by", price.met_by, ("shares",))
        check_choice("multiplier_gradient", multiplier_gradient, (True, False))
        self.softness = softness
        self.price = price
        self.multiplier_gradient = multiplier_gradient

    def forward(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: BudgetLike,
        observed: ObservedCost | None = None,
        allowed: Tensor | None = None,
    ) -> SoftAllocation:
        """Return shares and multiplier; see the interface.

        Raises:
            ShapeError: if shapes do not fit.
            DTypeError: if an input is not float32 or float64, or dtypes differ.
            InvalidValueError: if an input is not finite or a cost is negative.
            InfeasibleBudgetError: if the cheapest choice for everyone costs more than the
                budget; not with observed costs.
        """
        revenue, cost = ready(revenue, cost, allowed)
        masked, start = allowed is not None, None
        if self.softness.scale == "relative":
            start = self.price.find(revenue, cost, budget, observed, masked=masked)
        tau = self.softness.tau(revenue, cost, start)
        budgets = budget_of_each(budget, cost)
        within = BudgetConstraint(budgets, observed, start, self.multiplier_gradient, masked=masked)
        return SoftAllocation(*soft_optimum(SquaredNorm(), revenue, cost, tau, within))
