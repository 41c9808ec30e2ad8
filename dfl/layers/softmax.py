"""`Softmax`: choose in proportion to the exponential of revenue minus priced cost."""

from typing import Literal, final

from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.layers.base import AbstractLayer, SoftAllocation
from dfl.layers.pricing.arms_first import arms_first
from dfl.layers.pricing.batching import budget_of_each, check_shapes
from dfl.layers.pricing.hard_multiplier import hard_multiplier
from dfl.layers.pricing.softness import Scale, Softness
from dfl.layers.regularised.received_share import received_share
from dfl.layers.regularised.row_maps import RowSoftmax
from dfl.layers.regularised.soft_optimum import Money, soft_optimum
from dfl.problem import ObservedCost
from dfl.solvers.base import AbstractSolver
from dfl.solvers.dual_bisection import DualBisection

__all__ = ["Softmax"]


@final
class Softmax(AbstractLayer):
    """Softmax over treatments of the scores at a multiplier.

    ``shares_ij = softmax_j((revenue_ij - multiplier * cost_ij) / tau)``. As ``tau`` falls to
    0 this becomes the hard choice at the same multiplier. It is the exact optimum of the
    dual with an entropy bonus of weight ``tau``.

    The multiplier is one of three: fixed; that at which the hard choices meet the budget,
    found by a solver and held constant in the gradient; or, with ``met_by="shares"``, that
    at which the expected spend ``sum_ij cost_ij shares_ij`` meets the budget, or 0 where
    money is left. The last gives the optimum of ``sum_ij revenue_ij x_ij + tau * entropy(x)``
    within the budget, and its gradient can follow the multiplier.

    Args:
        temperature: softness, > 0: of unit currency with ``scale="absolute"``, without unit
            with ``scale="relative"``.
        scale: ``"relative"``: tau is ``temperature`` times the standard deviation of the
            scores around each person's mean score, at the fixed multiplier or the solver's,
            so that currency and data set do not matter; held constant in the gradient.
            ``"absolute"``: tau is ``temperature``.
        multiplier: a fixed multiplier >= 0, or None to find the one that meets the budget.
        solver: finds the multiplier; sees detached values. Default: bisection which, on
            logs where no multiplier meets the budget, takes the one of least spend.
        met_by: whether the solver's ``"decision"`` or the expected spend of the ``"shares"``
            meets the budget. With observed costs, their estimated observed spend; where no
            multiplier meets it, that of the least spend met.
        multiplier_gradient: send gradients through the multiplier, by the implicit function
            theorem; needs ``met_by="shares"``: the solver's multiplier hangs on one person.

    Raises:
        InvalidValueError: if the temperature is not > 0, the multiplier is negative, or
            options do not fit together.

    Shapes:
        revenue, cost ``(..., N, M)`` -> shares ``(..., N, M)``, multiplier ``(...)``.

    Source:
        arXiv:2510.19517, PPL; arXiv:2407.13664, equation 7 and MER (temperature).
        Deviations: the relative temperature, ``met_by="shares"``.
    """

    def __init__(
        self,
        *,
        temperature: float = 0.3,
        scale: Scale = "relative",
        multiplier: float | None = None,
        solver: AbstractSolver | None = None,
        met_by: Literal["decision", "shares"] = "decision",
        multiplier_gradient: bool = False,
    ) -> None:
        super().__init__()
        Softness(temperature, scale)  # checks them
        if multiplier is not None and not multiplier >= 0:
            raise InvalidValueError(f"multiplier must be >= 0, got {multiplier:g}.")
        if met_by not in ("decision", "shares"):
            raise InvalidValueError(f"met_by must be 'decision' or 'shares', got {met_by!r}.")
        if multiplier is not None and met_by == "shares":
            raise InvalidValueError(
                "multiplier must be None with met_by='shares', which finds it, got "
                f"{multiplier:g}; leave one of the two out."
            )
        if multiplier_gradient and met_by != "shares":
            raise InvalidValueError(
                "multiplier_gradient needs met_by='shares', got met_by='decision'."
            )
        self.temperature = temperature
        self.scale = scale
        self.multiplier = multiplier
        self.solver = DualBisection(on_infeasible="least-spend") if solver is None else solver
        self.met_by = met_by
        self.multiplier_gradient = multiplier_gradient

    def extra_repr(self) -> str:
        """Return the options for printing."""
        return (
            f"temperature={self.temperature:g}, scale={self.scale!r}, "
            f"multiplier={self.multiplier}, solver={self.solver}, met_by={self.met_by!r}, "
            f"multiplier_gradient={self.multiplier_gradient}"
        )

    def forward(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: float | Tensor,
        observed: ObservedCost | None = None,
    ) -> SoftAllocation:
        """Return shares and multiplier; see the interface."""
        check_shapes(revenue, cost)
        start = self._start(revenue, cost, budget, observed)
        tau = self._tau(revenue, cost, start)
        if self.met_by == "shares":
            budgets = budget_of_each(budget, revenue)
            money = Money(budgets, observed, start, self.multiplier_gradient)
            return SoftAllocation(*soft_optimum(RowSoftmax(), revenue, cost, tau, money))
        assert start is not None  # fixed or found: only shares do without
        scores = revenue - start[..., None, None] * cost
        shares = arms_first(scores / tau[..., None, None]).softmax(dim=-2).mT
        return SoftAllocation(shares, start)

    def received(
        self,
        revenue: Tensor,
        cost: Tensor,
        budget: float | Tensor,
        observed: ObservedCost,
    ) -> tuple[Tensor, Tensor]:
        """Return each person's share of the treatment received, and the multiplier.

        What `forward` gives, gathered at the received treatment, without the rest: several
        times faster where N is large.

        Args:
            revenue: shape ``(..., N, M)``.
            cost: shape ``(..., N, M)``.
            budget: as for `forward`.
            observed: treatment received, and the logged costs that meet the budget. ``(..., N)``.

        Returns:
            Shares ``(..., N)`` and multiplier ``(...)``.
        """
        check_shapes(revenue, cost)
        if self.met_by == "shares":
            shares, multiplier = self(revenue, cost, budget, observed)
            return shares.gather(-1, observed.treatment.unsqueeze(-1)).squeeze(-1), multiplier
        start = self._start(revenue, cost, budget, observed)
        assert start is not None  # as above
        tau = self._tau(revenue, cost, start)
        return received_share(revenue, cost, start, tau, observed.treatment), start

    def _start(
        self, revenue: Tensor, cost: Tensor, budget: float | Tensor, observed: ObservedCost | None
    ) -> Tensor | None:
        """Return the fixed or the solver's multiplier; None where neither is needed."""
        if self.multiplier is not None:
            return revenue.new_full(revenue.shape[:-2], self.multiplier)
        if self.met_by == "shares" and self.scale == "absolute":
            return None
        budgets = budget_of_each(budget, revenue)
        return hard_multiplier(self.solver, revenue, cost, budgets, observed)

    def _tau(self, revenue: Tensor, cost: Tensor, multiplier: Tensor | None) -> Tensor:
        softness = Softness(self.temperature, self.scale)
        return softness.tau(revenue, cost, multiplier)
