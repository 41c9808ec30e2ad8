"""`LinearProgram`: the linear program of the budget through a general cone solver."""

import warnings
from typing import Literal, final, get_args

import torch
from torch import Tensor

from dfl.checks import check_choice, check_count, check_number
from dfl.errors import InvalidValueError, NotConvergedError, UnsupportedProblemError
from dfl.layers.base import AbstractLayer, BudgetLike, SoftAllocation
from dfl.layers.pricing.options import Price, Softness, ZeroGradientWarning, check_values
from dfl.layers.pricing.problems import budget_of_each, eagerly, ready
from dfl.layers.regularised.conic_program import (
    REGULARISERS,
    Audit,
    ConicProgram,
    Regularisation,
    audit,
)
from dfl.layers.regularised.regulariser import AbstractRegulariser
from dfl.layers.regularised.soft_optimum import BudgetConstraint, soft_optimum
from dfl.problem import ObservedCost, rounding

__all__ = ["LinearProgram"]

_SOFTNESS = Softness(1.0)
_PRICE = Price(met_by="shares")


@final
class LinearProgram(AbstractLayer):
    """The regularised linear program, solved by Clarabel through cvxpylayers.

    ``max_x sum_ij revenue_ij x_ij + tau * bonus(x)  s.t.  sum_ij cost_ij x_ij <= budget,
    sum_j x_ij = 1, x >= 0``. A check on `Quadratic` and ``Softmax(price=Price(met_by="shares"),
    multiplier_gradient=True)``, which find the same in closed form, hundreds of times faster and
    at any size, and a pattern for programs that have none. Solved in float64 on the CPU; one
    derivative in reverse, no `torch.func`; every answer is audited.

    Args:
        regularisation: ``"quadratic"``: ``bonus = - sum x^2 / 2``. ``"entropic"``:
            ``bonus = - sum x log x``. ``"lpgd"``: the plain program, its
            gradient the difference of the optima at ``revenue +- tau * slope / max |slope|``;
            ``"none"``: the plain program; its gradient in revenue is 0 almost everywhere, and a
            warning says so.
        softness: tau; relative to the scores at the multiplier of the hard optimum.
        on_failure: what to do where an answer does not pass the audit. ``"raise"``.
            ``"mask"``: everyone of that problem on the cheapest treatment, no gradient, and
            `audit` says which. ``"fall-back"``: the closed form, with its gradient; only with
            a regularisation that has one.
        tolerance: of the solver, in units of tau, > 0.
        audit_tolerance: largest infeasibility, as a share, and largest duality gap per person,
            in units of tau, that pass, > 0; `audit` holds the last figures.
        max_iter: of the solver, >= 1.
        max_size: largest ``N * M`` taken, >= 1: cvxpy writes the program down in about
            ``32 (N M)^2`` bytes, 3 GB at the default.

    With observed costs, the budget is first translated into predicted money: what the closed
    form spends, by predicted costs, where its estimated observed spend meets the budget; the
    gradient follows that too. It needs a regularisation.

    Raises:
        InvalidValueError: if an option is out of range or options do not fit together.

    Shapes:
        revenue, cost ``(..., N, M)`` -> shares ``(..., N, M)``, multiplier ``(...)``.

    Source:
        Agrawal et al. (2019), arXiv:1910.12430 (cvxpylayers); Wilder, Dilkina and Tambe
        (2019), arXiv:1809.05504 (quadratic); Paulus, Martius and Musil (2024),
        arXiv:2407.05920 (LPGD). Deviation: slopes are scaled before they reach the solver.
    """

    def __init__(
        self,
        *,
        regularisation: Regularisation = "quadratic",
        softness: Softness = _SOFTNESS,
        on_failure: Literal["raise", "mask", "fall-back"] = "raise",
        tolerance: float = 1e-14,
        audit_tolerance: float = 1e-6,
        max_iter: int = 200,
        max_size: int = 10_000,
    ) -> None:
        super().__init__()
        check_values(softness=softness)
        check_choice("regularisation", regularisation, get_args(Regularisation))
        check_choice("on_failure", on_failure, ("raise", "mask", "fall-back"))
        check_number("tolerance", tolerance, above=0)
        check_number("audit_tolerance", audit_tolerance, above=0)
        check_count("max_iter", max_iter, at_least=1)
        check_count("max_size", max_size, at_least=1)
        if on_failure == "fall-back" and regularisation not in REGULARISERS:
            raise InvalidValueError(
                "on_failure='fall-back' needs regularisation 'quadratic' or 'entropic', which "
                f"have a closed form, got {regularisation!r}; take 'mask' or 'raise'."
            )
        if regularisation == "none":
            warnings.warn(
                "regularisation='none': the shares of a linear program jump, so their gradient in "
                "revenue is 0 almost everywhere; take 'quadratic', 'entropic' or 'lpgd' to train.",
                ZeroGradientWarning,
                stacklevel=2,
            )
        self.regularisation = regularisation
        self.softness = softness
        self.on_failure = on_failure
        self.tolerance = tolerance
        self.audit_tolerance = audit_tolerance
        self.max_iter = max_iter
        self.max_size = max_size
        self.audit: Audit | None = None

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
                budget, unless ``on_failure="mask"``; not with observed costs.
            NotConvergedError: if an answer does not pass the audit and ``on_failure="raise"``.
            UnsupportedProblemError: if ``N * M`` is above ``max_size``, costs are observed and
                there is no regularisation, or ``allowed`` is given.
        """
        revenue, cost = ready(revenue, cost)
        self._check_supported(revenue, observed, allowed)
        budgets = budget_of_each(budget, cost)
        cheapest = cost.detach().amin(dim=-1).sum(dim=-1, dtype=torch.float64)
        refused = torch.zeros_like(budgets, dtype=torch.bool)
        if observed is None:
            short = cheapest > budgets * (1 + rounding(cost, cost.shape[-2]))
            refused = short if self.on_failure == "mask" else refused
            # What is short by rounding alone is no less than the cheapest choice for everyone.
            lifted = (cheapest > budgets) & (refused | ~short)
            budgets = torch.where(lifted, cheapest, budgets)
        start = _PRICE.find(revenue, cost, budgets, observed)
        tau = self.softness.tau(revenue, cost, start)
        if observed is not None:
            money = BudgetConstraint(budgets, observed, start)
            shares, _ = soft_optimum(self._regulariser(), revenue, cost, tau, money)
            budgets = (cost * shares).sum(dim=-1).sum(dim=-1, dtype=torch.float64)
        return self._solve(revenue, cost, budgets, tau, refused)

    def _check_supported(
        self, revenue: Tensor, observed: ObservedCost | None, allowed: Tensor | None
    ) -> None:
        if allowed is not None:
            raise UnsupportedProblemError(
                "linear-program allows everyone every treatment, got allowed; use the layer "
                "quadratic."
            )
        rows, treatments = revenue.shape[-2:]
        if not 0 < rows * treatments <= self.max_size:
            raise UnsupportedProblemError(
                f"linear-program takes 1 to max_size={self.max_size} shares, got {rows} people x "
                f"{treatments} treatments; use the layer quadratic, which takes any number, or "
                "smaller batches."
            )
        if observed is not None and self.regularisation not in REGULARISERS:
            raise UnsupportedProblemError(
                "linear-program meets a budget by observed costs only with regularisation "
                f"'quadratic' or 'entropic', got {self.regularisation!r}."
            )

    def _regulariser(self) -> AbstractRegulariser:
        return REGULARISERS[self.regularisation]

    def _solve(
        self, revenue: Tensor, cost: Tensor, budget: Tensor, tau: Tensor, refused: Tensor
    ) -> SoftAllocation:
        """Solve in units of tau and of the mean cost; audit; put failures right; cast back."""
        leading, (rows, arms) = revenue.shape[:-2], revenue.shape[-2:]
        scale = tau.double().cpu().reshape(-1)
        gain = revenue.double().cpu().reshape(-1, rows, arms) / scale[:, None, None]
        gain = gain - gain.detach().amax(dim=-1, keepdim=True)
        money = cost.double().cpu().reshape(-1, rows, arms)
        unit = money.detach().mean(dim=(-2, -1))
        unit = torch.where(unit > 0, unit, 1)
        money, limit = money / unit[:, None, None], budget.cpu().reshape(-1) / unit
        program = ConicProgram(rows, arms, self.regularisation, self.tolerance, self.max_iter)
        answer, price = program.solve(gain.flatten(1), money.flatten(1), limit)
        shares = answer.reshape(-1, rows, arms)
        check = eagerly(audit)
        report = check(
            REGULARISERS.get(self.regularisation),
            gain,
            money,
            limit,
            (shares, price),
            self.audit_tolerance,
        )
        failed = (report.failed | refused.cpu().reshape(-1)).reshape(leading).to(revenue.device)
        figures = (report.infeasibility, report.gap)
        self.audit = Audit(failed, *(each.reshape(leading) for each in figures))
        tidy = shares.detach().clamp_min(0)
        tidy = tidy / tidy.sum(dim=-1, keepdim=True)
        shares = tidy + (shares - shares.detach())  # the gradient is that of the answer itself
        multiplier = price.clamp_min(0) * scale / unit
        found = SoftAllocation(
            shares.reshape(revenue.shape).to(revenue), multiplier.reshape(leading).to(revenue)
        )
        if not bool(failed.any()):
            return found
        return self._instead(found, (revenue, cost, budget, tau), self.audit)

    def _instead(
        self, found: SoftAllocation, given: tuple[Tensor, Tensor, Tensor, Tensor], report: Audit
    ) -> SoftAllocation:
        """Put something else in place of answers that failed, or raise."""
        revenue, cost, budget, tau = given
        failed = report.failed
        if self.on_failure == "raise":
            raise NotConvergedError(
                f"linear-program: {int(failed.sum())} of {failed.numel()} answers failed the audit "
                f"at {self.audit_tolerance:g}: infeasibility up to "
                f"{float(report.infeasibility.max()):.2g}, gap up to "
                f"{float(report.gap.abs().max()):.2g} after at most {self.max_iter} steps; raise "
                "max_iter or audit_tolerance, set on_failure to 'mask' or 'fall-back', or use the "
                "layer quadratic."
            )
        if self.on_failure == "fall-back":
            other = SoftAllocation(
                *soft_optimum(self._regulariser(), revenue, cost, tau, BudgetConstraint(budget))
            )
        else:
            cheapest = cost.detach().argmin(dim=-1, keepdim=True)
            everyone = torch.zeros_like(found.shares).scatter(-1, cheapest, 1)
            other = SoftAllocation(everyone, torch.zeros_like(found.multiplier))
        return SoftAllocation(
            torch.where(failed[..., None, None], other.shares, found.shares),
            torch.where(failed, other.multiplier, found.multiplier),
        )
