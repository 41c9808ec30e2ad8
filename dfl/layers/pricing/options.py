"""`Price` and `Softness`: at what price of money a layer or loss decides, and how softly."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, final

import torch
from torch import Tensor
from torch.autograd import Function

from dfl.checks import check_choice, check_number, check_tensor, put_off
from dfl.errors import InvalidValueError
from dfl.layers.base import AtPrice, BudgetLike
from dfl.layers.pricing.problems import (
    ObservedColumns,
    budget_of_each,
    columns_of,
    eagerly,
    finite,
    lift,
    problems_of,
    signed,
)
from dfl.problem import ObservedCost
from dfl.problem.amounts import unmapped
from dfl.scale import power_of_two
from dfl.solvers.base import AbstractSolver
from dfl.solvers.dual_bisection import DualBisection
from dfl.solvers.greedy_dual import GreedyDual
from dfl.solvers.passes.decide import price_in

__all__ = [
    "MetBy",
    "Price",
    "Scale",
    "Softness",
    "ZeroGradientWarning",
    "check_values",
    "far_below",
    "score_scale",
]

Scale: TypeAlias = Literal["relative", "absolute"]
MetBy: TypeAlias = Literal["decision", "shares"]

_CONSTANT = (
    "budget requires a gradient and gets none: the price of money that meets it is held constant. "
    "Take Quadratic() or Softmax(price=Price(met_by='shares'), multiplier_gradient=True), whose "
    "gradient goes through the price, or give budget.detach()."
)

_EQUAL = 16  # times the precision of their dtype: values that differ by less are equal
_APART = 100.0  # times the gap before: a gap behind which only masks lie
_LARGE = 1e4  # times the usual: the best of a row that somebody pinned
_SAMPLE = 64  # rows, about, in which masks are looked for


@final
class ZeroGradientWarning(UserWarning):
    """The gradient of what was asked for is 0 almost everywhere, or held to be."""


@final
@dataclass(frozen=True)
class Price:
    """The price of money, revenue per unit of cost: fixed, or where something meets the budget.

    Args:
        multiplier: a fixed price >= 0, or None to find the one that meets the budget.
        solver: finds the multiplier from detached values; None for greedy-dual or, with
            observed costs, dual-bisection which takes the multiplier of least spend where none
            meets the budget.
        met_by: what meets the budget: the hard ``"decision"``, whose multiplier the solver
            finds, or the expected spend ``sum_ij cost_ij shares_ij`` of the ``"shares"``; the
            solver's multiplier is then where the search starts and what relative scales refer
            to. Not every layer knows both.

    Raises:
        InvalidValueError: if the multiplier is negative or not finite, or is given beside
            ``met_by="shares"``.
    """

    multiplier: float | None = None
    solver: AbstractSolver | None = None
    met_by: MetBy = "decision"

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice("met_by", self.met_by, ("decision", "shares"))
        if self.multiplier is None:
            return
        check_number("multiplier", self.multiplier, at_least=0)
        if self.met_by == "shares":
            raise InvalidValueError(
                "multiplier must be None with met_by='shares', which finds it, got "
                f"{self.multiplier:g}; leave one of the two out."
            )

    @property
    def found(self) -> bool:
        """Whether it is found where the hard decision meets the budget."""
        return self.multiplier is None and self.met_by == "decision"

    def find(
        self,
        revenue: Tensor,  # (..., N, M)
        cost: Tensor,  # (..., N, M)
        budget: BudgetLike,
        observed: ObservedCost | None,
        *,
        masked: bool = False,
    ) -> Tensor:  # (...)
        """Return the multiplier, fixed or as the solver finds it, held constant in gradients.

        Args:
            revenue: predicted revenue, in currency. Shape ``(..., N, M)``.
            cost: predicted cost, in currency. Shape of ``revenue``.
            budget: money for the N people together.
            observed: logged costs ``(..., N)``, or None.
            masked: revenue is minus infinity where a treatment is not allowed.

        Returns:
            Multiplier in the dtype of ``revenue``. Shape ``(...)``.

        Raises:
            ShapeError: if shapes do not fit.
            DTypeError: if a multiplier is no tensor.
            InvalidValueError: if a multiplier is negative or NaN.

        Warns:
            ZeroGradientWarning: if a budget asks for the gradient that it does not get.
        """
        if self.multiplier is not None:
            return revenue.new_full(revenue.shape[:-2], self.multiplier)
        if isinstance(budget, AtPrice):
            return _checked(budget.multiplier, "AtPrice", revenue).expand(revenue.shape[:-2])
        solver = self.solver
        if solver is None:
            least = DualBisection(on_infeasible="least-spend")
            solver = GreedyDual() if observed is None else least
        budgets = budget_of_each(budget, cost)
        if self.found and budgets.requires_grad and torch.is_grad_enabled():
            warnings.warn(_CONSTANT, ZeroGradientWarning, stacklevel=5)
        if masked:
            revenue, cost = finite(revenue, cost)
        plain = (each.detach() for each in (revenue, cost, budgets))
        find = eagerly(_HardMultiplier.apply)
        found = find(*plain, *columns_of(observed, revenue), solver)  # type: ignore[no-untyped-call]
        return cast("Tensor", found)


def _checked(multiplier: Tensor, of: str, revenue: Tensor) -> Tensor:
    """Return a multiplier in the dtype of revenue, see `price_in`; refuse what is no price."""
    check_tensor(f"the multiplier of {of}", multiplier)
    text = f"the multiplier of {of} must be >= 0, got {{}}."
    plain = unmapped(multiplier)
    good = (plain >= 0).all()  # NaN is none
    if not put_off(good, text.format("one that is not")) and not bool(good):
        raise InvalidValueError(text.format(f"{float(plain[~(plain >= 0)][0]):g}"))
    return price_in(multiplier, revenue.dtype).to(revenue.device)


@final
@signed
class _HardMultiplier(Function):
    """Solves one problem after another; a function, so that `torch.func.vmap` can map it."""

    @staticmethod
    def forward(
        revenue: Tensor,
        cost: Tensor,
        budget: Tensor,
        treatment: Tensor | None,
        paid: Tensor | None,
        weight: Tensor | None,
        solver: AbstractSolver,
    ) -> Tensor:
        columns: ObservedColumns = (treatment, paid, weight)
        found = [
            solver.solve(problem).multiplier
            for problem in problems_of(revenue, cost, budget, columns)
        ]
        if not found:
            return revenue.new_zeros(budget.shape)
        prices = [_checked(one, "the solver", revenue) for one in found]
        return torch.stack(prices).reshape(budget.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        moved = lift(info.batch_size, in_dims, inputs)
        return _HardMultiplier.apply(*moved), 0  # type: ignore[no-untyped-call]


@final
@dataclass(frozen=True)
class Softness:
    """A temperature, the size of a noise, or the length of a step, and its unit.

    Args:
        temperature: how soft, > 0: in currency with ``scale="absolute"``, without unit with
            ``scale="relative"``.
        scale: ``"relative"``: times the standard deviation of the scores ``revenue - multiplier *
            cost`` around each person's mean score, so that neither currency nor data set
            matters; held constant in gradients. ``"absolute"``: the temperature as it is.

    Raises:
        InvalidValueError: if the temperature is not > 0 and finite, or the scale is unknown.
    """

    temperature: float
    scale: Scale = "relative"

    def __post_init__(self) -> None:
        """Check the options."""
        check_number("temperature", self.temperature, above=0)
        check_choice("scale", self.scale, ("relative", "absolute"))

    def of(self, values: Tensor) -> Tensor:
        """Return the temperature in the unit of values ``(..., N, M)``. Shape ``(..., 1, 1)``."""
        if self.scale == "absolute":
            return values.new_full((*values.shape[:-2], 1, 1), self.temperature)
        return self.temperature * score_scale(values)

    def tau(self, revenue: Tensor, cost: Tensor, multiplier: Tensor | None) -> Tensor:
        """Return the temperature in currency, > 0. Shape ``(...)``.

        Args:
            revenue: shape ``(..., N, M)``.
            cost: shape ``(..., N, M)``.
            multiplier: price of money at which scores are taken; an absolute scale needs none.
        """
        if multiplier is None or self.scale == "absolute":
            return revenue.new_full(revenue.shape[:-2], self.temperature)
        return self.of(revenue - multiplier[..., None, None] * cost)[..., 0, 0]

    def step(self, values: Tensor, slope: Tensor) -> float | Tensor:
        """Return the length of a step from values along minus a gradient.

        In units of value per unit of gradient: with ``"absolute"`` the temperature itself, with
        ``"relative"`` ``temperature * scale(values) / scale(gradient)``, the scale of both being
        the standard deviation around each row's mean over the rows of a problem. The typical
        move is then ``temperature`` times the scale of the values, whatever the unit of values
        and loss.

        Source:
            Relative: as in Minervini et al. (2023), arXiv:2209.04862, whose target distribution
            is at a distance relative to the norm of the values; the deviation instead of the
            norm is ours.
        """
        if self.scale == "absolute":
            return self.temperature
        far = far_below(values)
        length = self.temperature * _deviation(values, far)
        length = length / score_scale(slope.masked_fill(far, -torch.inf))
        return length.clamp_max(torch.finfo(length.dtype).max)


def check_values(**given: object) -> None:
    """Refuse an option ``price`` that is no `Price`, and any other that is no `Softness`.

    Raises:
        InvalidValueError: with what to write instead.
    """
    for name, value in given.items():
        wanted = Price if name == "price" else Softness
        if not isinstance(value, wanted):
            call = f"{wanted.__name__}({'multiplier=' if wanted is Price else ''}{value!r})"
            raise InvalidValueError(
                f"{name} must be a {wanted.__name__}, got {value!r}; perhaps {call}."
            )


def score_scale(values: Tensor) -> Tensor:  # (..., N, M) -> (..., 1, 1), (M,) -> (1,)
    """Compute the standard deviation of values around each row's mean, without a gradient.

    Over all rows of a problem together, over the one row of values ``(M,)``; always > 0 and, but
    for NaN in ``values``, finite:

    - Entries that are minus infinity, or lie as far below the best of their row as masks do, are
      left out: by more than 100 times the size of that best, but for tops that are themselves
      10,000 times the usual; of the usual best; and of the largest gap that others lead up to.
    - Values that differ by less than 16 roundings, 2e-6 of their size in float32, are equal: their
      size, their root mean square, is their scale; 1 where that is 0 too.
    """
    return _deviation(values, far_below(values))


def far_below(values: Tensor) -> Tensor:
    """Say which entries are far below the best of their row, as `score_scale` leaves them out."""
    values = values.detach()
    if values.ndim == 1:
        return far_below(values.unsqueeze(0)).squeeze(0)
    if not values.numel():
        return torch.zeros_like(values, dtype=torch.bool)
    top = values.amax(dim=-1, keepdim=True)
    return ~(values >= top - _furthest(values, top))


def _deviation(values: Tensor, far: Tensor) -> Tensor:
    """Return the standard deviation as `score_scale` describes it, without some entries."""
    values = values.detach()
    if values.ndim == 1:
        return _deviation(values.unsqueeze(0), far.unsqueeze(0))[..., 0]
    if not values.numel():
        return values.new_ones((*values.shape[:-2], 1, 1))
    everything = (-2, -1)
    kept = values.masked_fill(far, 0)
    unit = power_of_two(kept.abs().amax(dim=everything, keepdim=True))
    kept = kept / unit  # squares keep in range
    count = (values.shape[-1] - far.sum(dim=-1, keepdim=True)).clamp_min(1)
    mean = kept.sum(dim=-1, keepdim=True) / count
    around = (kept - mean).masked_fill_(far, 0).square().sum(dim=everything, keepdim=True)
    variance = around / count.sum(dim=everything, keepdim=True)
    several = mean.masked_fill(count == 1, 0)  # a row of one entry is equal to nothing
    size = variance.sqrt()
    own = (several.square().mean(dim=everything, keepdim=True) + variance).sqrt()
    found = unit * torch.where(size <= _rounding(values) * own, own, size)
    return torch.where(found > torch.finfo(values.dtype).tiny, found, 1)


def _rounding(values: Tensor) -> float:
    """Return by which share of their size values may differ and be equal."""
    return min(_EQUAL * torch.finfo(values.dtype).eps, 0.01)


def _furthest(values: Tensor, top: Tensor) -> Tensor:
    """Return how far below its row's best an entry may lie. Shape ``(..., N, 1)``."""
    step = max(values.shape[-2] // _SAMPLE, 1)
    some, best = values[..., ::step, :], top[..., ::step, :]
    gaps = (best - some).flatten(-2)
    real = (gaps > _rounding(values) * best.abs().expand_as(some).flatten(-2)) & gaps.isfinite()
    gaps = torch.where(real, gaps, torch.inf).sort(dim=-1).values
    last = gaps.new_full((*gaps.shape[:-1], 1), torch.inf)
    rise = torch.cat((gaps[..., 1:], last), dim=-1) > _APART * gaps
    # Near ties are followed by long rises too: the smallest quarter of the gaps does not count.
    order = torch.arange(gaps.shape[-1], device=gaps.device)
    rise = rise & (order >= real.sum(dim=-1, keepdim=True) // 4)
    before = gaps.gather(-1, rise.long().argmax(dim=-1, keepdim=True))
    size = best.abs().flatten(-2).sort(dim=-1).values
    typical = size[..., size.shape[-1] // 2, None]
    before, typical = before.unsqueeze(-1), typical.unsqueeze(-1)
    own = torch.minimum(top.abs(), _LARGE * typical)  # people of large values have large gaps
    limit = _APART * torch.maximum(torch.maximum(own, typical), before)
    return limit.clamp_max(torch.finfo(values.dtype).max)
