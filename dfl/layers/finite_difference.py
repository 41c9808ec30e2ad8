"""`FiniteDifference`: hard choices, differentiated by the smallest steps that change them."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.layers.pricing.pricing import (
    AbstractPricedLayer,
    Scale,
    check_option,
    check_positive,
    decide_one_hot,
    priced_revenue,
    scores,
    spread,
)
from dfl.layers.pricing.surrogate import AbstractSurrogate, surrogate_decision
from dfl.solvers.base import AbstractSolver

__all__ = ["FiniteDifference", "Margins", "Opponents"]

Margins: TypeAlias = Literal["exact", "floor", "window", "largest"]
Opponents: TypeAlias = Literal["every", "nearest"]

_STEP_OVER = 1e-6  # a step must pass the margin, not end on it; in units of the scale


@final
class FiniteDifference(AbstractPricedLayer):
    """The hard choice at a multiplier; its gradient is a difference over the step that flips it.

    Shares are 1 at everyone's ``k = argmax_j a_j``, ``a = revenue - multiplier * cost``, ties to
    the cheaper. Backward, for an incoming gradient ``g`` and margins ``h_j = a_k - a_j``: to
    raise ``a_j`` by ``h_j`` brings j in, to lower ``a_k`` by the smallest margin ``h_o`` sends
    k out. With unit vectors ``e``, the sum of::

        g_j (e_j - e_k) / h_j                       for every j != k
        g_k (e_k / h_o - sum_{j != k} e_j / h_j)    opponents="every"
        g_k (e_k - e_o) / h_o                       opponents="nearest"

    All rows at once, no second solve. With a ``temperature`` that sum is taken as the gradient
    in ``softmax(a / temperature)`` and goes on through the softmax; without, it is the gradient
    in ``a``. The multiplier is held constant; found on predicted costs, the spend is within the
    budget.

    Args:
        opponents: whom a choice that is left can lose to: ``"every"`` other treatment (PIFD and
            DIFD), or the ``"nearest"`` one (IFD).
        margins: what happens to steps near zero, where ``1 / h`` explodes. ``"floor"``: at
            least ``width``. ``"window"``: those below ``width`` become ``width``, wider ones
            get no gradient. ``"largest"``: all that matter become the largest of them.
            ``"exact"``: as they are.
        width: of floor and window, > 0, in units of the scale.
        scale: unit of width, margins and temperature: currency with ``"absolute"``; with
            ``"relative"`` the standard deviation of the scores around each person's mean.
        temperature: of the softmax that the gradient passes through, > 0, or None for none.
        perturbed: ``"scores"``: one step of ``a``, so that ``d cost = - multiplier *
            d revenue``. ``"outcomes"``: revenue and cost are each stepped by themselves, a step
            of cost being ``h / multiplier``, and margins are treated in each; without
            temperature only.
        multiplier: a fixed multiplier >= 0, or None to find the one that meets the budget.
        solver: finds the multiplier from detached values; None for greedy-dual or, with
            observed costs, dual-bisection which takes the multiplier of least spend where none
            meets the budget.

    Raises:
        InvalidValueError: if an option is out of range, or options do not fit together.

    Shapes:
        revenue, cost ``(..., N, M)`` -> shares ``(..., N, M)``, multiplier ``(...)``.

    Source:
        arXiv:2510.19517, PIFD and DIFD (``"every"``, a temperature, ``"scores"``); the authors'
        code of arXiv:2407.13664, IFD (``"nearest"``, no temperature, ``"outcomes"``, clip rules
        ``None``, ``"fix"`` = window, ``"max"`` = largest). Both are stated for a gradient in
        the treatment received alone; this is their linear form for any gradient. Deviations:
        ``"floor"``, the relative scale.
    """

    def __init__(
        self,
        *,
        opponents: Opponents = "every",
        margins: Margins = "floor",
        width: float = 0.1,
        scale: Scale = "relative",
        temperature: float | None = 0.3,
        perturbed: Literal["scores", "outcomes"] = "scores",
        multiplier: float | None = None,
        solver: AbstractSolver | None = None,
    ) -> None:
        super().__init__(multiplier=multiplier, solver=solver)
        check_option("opponents", opponents, ("every", "nearest"))
        check_option("margins", margins, ("exact", "floor", "window", "largest"))
        check_positive("width", width)
        check_option("scale", scale, ("absolute", "relative"))
        check_option("perturbed", perturbed, ("scores", "outcomes"))
        if temperature is not None:
            check_positive("temperature", temperature)
            if perturbed == "outcomes":
                raise InvalidValueError(
                    "temperature must be None with perturbed='outcomes', for a softmax takes "
                    f"scores, got {temperature:g}."
                )
        self.opponents = opponents
        self.margins = margins
        self.width = width
        self.scale = scale
        self.temperature = temperature
        self.perturbed = perturbed

    def extra_repr(self) -> str:
        """Return the options for printing."""
        return (
            f"opponents={self.opponents!r}, margins={self.margins!r}, width={self.width:g}, "
            f"scale={self.scale!r}, temperature={self.temperature}, "
            f"perturbed={self.perturbed!r}, multiplier={self.multiplier}, solver={self.solver}"
        )

    def shares(self, revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
        """Return the shares at a multiplier; see the interface."""
        if self.perturbed == "scores":
            priced = priced_revenue(revenue, cost, multiplier)
            return surrogate_decision(_ByRevenue(self), priced, cost.detach(), multiplier)
        shares = surrogate_decision(_ByRevenue(self), revenue, cost.detach(), multiplier)
        again = surrogate_decision(_ByCost(self), cost, revenue.detach(), multiplier)
        return shares + (again - again.detach())

    @torch.no_grad()
    def narrow(self, revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
        """Return the share of people whose smallest margin is below ``width``.

        Args:
            revenue: shape ``(..., N, M)``.
            cost: shape ``(..., N, M)``.
            multiplier: shape ``(...)``.

        Returns:
            Between 0 and 1. Shape ``(...)``.
        """
        decision = decide_one_hot(revenue, cost, multiplier)
        priced = scores(revenue, cost, multiplier)
        nearest = _steps(priced / self.unit(priced), decision).amin(dim=-1)
        return (nearest < self.width).to(revenue.dtype).mean(dim=-1)

    def unit(self, priced: Tensor) -> Tensor:
        """Return the unit of the scale for scores ``(..., N, M)``, in currency.

        Infinite where all scores are tied and there is no scale: gradients are then 0.
        """
        if self.scale == "absolute":
            return priced.new_ones(())
        size = spread(priced)
        return torch.where(size > torch.finfo(size.dtype).tiny, size, torch.inf)

    def differences(self, steps: Tensor, decision: Tensor, slope: Tensor) -> Tensor:
        """Return the class's sum for steps ``(..., N, M)``, infinite at the choice."""
        nearest = torch.zeros_like(steps).scatter_(-1, steps.argmin(dim=-1, keepdim=True), 1)
        losing = nearest if self.opponents == "nearest" else torch.ones_like(steps)
        leaving = (slope * decision).sum(dim=-1, keepdim=True)
        matters = (slope != 0) | ((leaving != 0) & (losing != 0))
        rate = self._rate(steps, matters)
        entering = slope * rate
        chosen = leaving * (rate * nearest).sum(dim=-1, keepdim=True)
        chosen = chosen - entering.sum(dim=-1, keepdim=True)
        return entering - leaving * rate * losing + decision * chosen

    def _rate(self, steps: Tensor, matters: Tensor) -> Tensor:
        """Return 1 / step under the rule for margins; 0 where a step is infinite."""
        if self.margins == "window":
            return (steps < self.width).to(steps.dtype) / self.width
        if self.margins == "floor":
            return 1 / steps.clamp_min(self.width)
        if self.margins == "largest" and steps.numel():  # without people there is no largest
            matters = matters & steps.isfinite()
            largest = torch.where(matters, steps, 0).amax(dim=(-2, -1), keepdim=True)
            return matters / torch.where(largest > 0, largest, 1)
        return 1 / steps


def _steps(priced: Tensor, decision: Tensor) -> Tensor:
    """Return how far each score must rise to win; infinite at the choice. Units of the scale."""
    top = (priced * decision).sum(dim=-1, keepdim=True)
    margins = (top - priced).clamp_min(0)
    return torch.where(decision > 0, torch.inf, margins + _STEP_OVER)


@final
@dataclass(frozen=True, eq=False)
class _ByRevenue(AbstractSurrogate):
    """Revenue is stepped; context is cost and multiplier."""

    layer: FiniteDifference

    def decide(self, values: Tensor, *context: Tensor) -> Tensor:
        return decide_one_hot(values, *context)

    def pull(self, values: Tensor, decision: Tensor, slope: Tensor, *context: Tensor) -> Tensor:
        priced = scores(values, *context)
        unit = self.layer.unit(priced)
        priced = priced / unit
        found = self.layer.differences(_steps(priced, decision), decision, slope)
        temperature = self.layer.temperature
        if temperature is not None:
            soft = (priced / temperature).softmax(dim=-1)
            found = soft * (found - (soft * found).sum(dim=-1, keepdim=True)) / temperature
        return found / unit


@final
@dataclass(frozen=True, eq=False)
class _ByCost(AbstractSurrogate):
    """Cost is stepped; context is revenue and multiplier."""

    layer: FiniteDifference

    def decide(self, values: Tensor, *context: Tensor) -> Tensor:
        revenue, multiplier = context
        return decide_one_hot(revenue, values, multiplier)

    def pull(self, values: Tensor, decision: Tensor, slope: Tensor, *context: Tensor) -> Tensor:
        revenue, multiplier = context
        priced = scores(revenue, values, multiplier)
        unit, price = self.layer.unit(priced), multiplier[..., None, None]
        margins = _steps(priced / unit, decision) - _STEP_OVER
        steps = torch.where(price > 0, margins / price + _STEP_OVER, torch.inf)
        return -self.layer.differences(steps, decision, slope) / unit
