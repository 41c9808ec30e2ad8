"""`FiniteDifference`: hard choices, differentiated by the smallest steps that change them."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import torch
from torch import Tensor

from dfl.checks import check_choice, check_number
from dfl.layers.pricing.options import Price, Softness, check_values, far_below, score_scale
from dfl.layers.pricing.priced import (
    AbstractPricedLayer,
    decide_one_hot,
    priced_revenue,
    scores,
)
from dfl.layers.pricing.surrogate import AbstractSurrogate, surrogate_decision

__all__ = ["FiniteDifference", "Margins", "Opponents", "Perturbed"]

Margins: TypeAlias = Literal["exact", "floor", "window", "largest"]
Opponents: TypeAlias = Literal["every", "nearest"]
Perturbed: TypeAlias = Literal["softmax", "scores", "outcomes"]

_SOFTNESS = Softness(0.3)
_PRICE = Price()

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

    All rows at once, no second solve. The multiplier is held constant; found on predicted
    costs, the spend is within the budget.

    Args:
        opponents: whom a choice that is left can lose to: ``"every"`` other treatment (PIFD and
            DIFD), or the ``"nearest"`` one (IFD).
        margins: what happens to steps near zero, where ``1 / h`` explodes. ``"floor"``: at
            least ``width``. ``"window"``: those below ``width`` become ``width``, wider ones
            get no gradient. ``"largest"``: all that matter become the largest of them.
            ``"exact"``: as they are.
        width: of floor and window, > 0, in units of the softness's scale: as are all margins.
        softness: of the softmax that the gradient passes through; elsewhere its scale alone
            counts.
        perturbed: what the sum above is the gradient in. ``"softmax"``: in ``softmax(a / tau)``;
            it goes on through the softmax. ``"scores"``: in ``a``; in both, ``d cost = -
            multiplier * d revenue``. ``"outcomes"``: revenue and cost are each stepped by
            themselves, a step of cost being ``h / multiplier``, and margins are treated in each.
        price: of money, fixed or met by the decision.

    Raises:
        InvalidValueError: if an option is out of range.

    Shapes:
        revenue, cost ``(..., N, M)`` -> shares ``(..., N, M)``, multiplier ``(...)``.

    Source:
        arXiv:2510.19517, PIFD and DIFD (``"every"``, ``"softmax"``); the authors'
        code of arXiv:2407.13664, IFD (``"nearest"``, ``"outcomes"``, clip rules
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
        softness: Softness = _SOFTNESS,
        perturbed: Perturbed = "softmax",
        price: Price = _PRICE,
    ) -> None:
        super().__init__(price)
        check_values(softness=softness)
        check_choice("opponents", opponents, get_args(Opponents))
        check_choice("margins", margins, get_args(Margins))
        check_number("width", width, above=0)
        check_choice("perturbed", perturbed, get_args(Perturbed))
        self.opponents = opponents
        self.margins = margins
        self.width = width
        self.softness = softness
        self.perturbed = perturbed

    def shares(self, revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
        """Return the shares at a multiplier; see the interface."""
        if self.perturbed != "outcomes":
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
        """Return the unit of the scale for scores ``(..., N, M)``, in currency."""
        return priced.new_ones(()) if self.softness.scale == "absolute" else score_scale(priced)

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
            matters = matters & ~far_below(-steps)  # at the choice, and where masks lie
            largest = torch.where(matters, steps, 0).amax(dim=(-2, -1), keepdim=True)
            return matters / torch.where(largest > 2 * _STEP_OVER, largest, 1)  # 1: all are tied
        return 1 / steps


def _steps(priced: Tensor, decision: Tensor) -> Tensor:
    """Return how far each score must rise to win; infinite at the choice. Units of the scale."""
    top = torch.where(decision > 0, priced, 0).sum(dim=-1, keepdim=True)
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
        if self.layer.perturbed == "softmax":
            temperature = self.layer.softness.temperature
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
