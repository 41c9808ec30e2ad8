"""`BilevelTrainer` and what else uses any hypergradient: several at once, and a warning."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from torch import Tensor
from torch.func import vmap

from dfl.checks import check_number
from dfl.errors import InvalidValueError
from dfl.hypergrad.base import (
    AbstractHypergradient,
    ComposedLoss,
    Diagnostics,
    Hypergradient,
    Loss,
    Parameters,
)
from dfl.hypergrad.curvature.point import Point, gradient
from dfl.hypergrad.steps.look_ahead import LookAhead

__all__ = [
    "BilevelResult",
    "BilevelTrainer",
    "MakeOptimiser",
    "NotAtOptimumWarning",
    "UpperStep",
    "several_hypergradients",
    "warn_unless_optimal",
]

MakeOptimiser: TypeAlias = Callable[[list[Tensor]], torch.optim.Optimizer]


@final
@dataclass(frozen=True, eq=False)
class UpperStep:
    """What one upper step saw.

    Args:
        step: lower steps done before it.
        inner_value: inner loss of the lower step before it.
        outer_value: outer loss, detached.
        diagnostics: of its hypergradient.
    """

    step: int
    inner_value: Tensor
    outer_value: Tensor
    diagnostics: Diagnostics


@final
@dataclass(frozen=True, eq=False)
class BilevelResult:
    """What training found.

    Args:
        inner: inner parameters after the last lower step.
        outer: outer parameters after the last upper step.
        history: one entry per upper step.
    """

    inner: Parameters
    outer: Parameters
    history: tuple[UpperStep, ...]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class BilevelTrainer:
    """Minimises ``F(inner*(outer), outer)`` with ``inner*(outer) = argmin f(inner, outer)``.

    One lower step for each inner loss it is given; after every ``every`` of them one upper
    step along the hypergradient, taken ``assumed_steps`` ahead of where ``inner`` stands.

    Args:
        hypergradient: differentiates through the lower level.
        inner_optimiser: makes torch's optimiser of the inner parameters, say
            ``lambda values: torch.optim.SGD(values, lr=0.1)``.
        outer_optimiser: makes that of the outer parameters.
        every: lower steps before each upper step, >= 1.
        assumed_steps: look-ahead steps on the inner loss before each hypergradient that
            needs an optimum, >= 0; ``inner`` itself does not take them. They are as long as
            the curvature allows, which costs ten products to measure.
        warm_start: go on from the inner parameters as they are; else they and their
            optimiser start anew after every upper step.
        warn_above: warn once if a hypergradient that needs an optimum is taken where the
            inner gradient is more than this share of what it was at the start; None never
            warns.

    Raises:
        InvalidValueError: if a number is out of range.

    Source:
        Franceschi et al. (2018), arXiv:1806.04910, algorithm 1, and, for the assumed steps,
        arXiv:2510.19517, algorithm 1.
    """

    hypergradient: AbstractHypergradient
    inner_optimiser: MakeOptimiser
    outer_optimiser: MakeOptimiser
    every: int = 1
    assumed_steps: int = 0
    warm_start: bool = True
    warn_above: float | None = 0.1

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_number("every", self.every, at_least=1)
        check_number("assumed_steps", self.assumed_steps, at_least=0)
        if self.warn_above is not None:
            check_number("warn_above", self.warn_above, at_least=0, finite=False)

    def fit(
        self,
        inner_losses: Iterable[Loss],
        outer_losses: Iterable[Loss],
        inner: Parameters,
        outer: Parameters,
    ) -> BilevelResult:
        """Train until the inner losses are used up.

        Args:
            inner_losses: the loss of each lower step, one per batch of rows;
                ``itertools.repeat(loss, 1000)`` for all rows at once.
            outer_losses: the loss of each upper step, at least as many as there are; say
                ``itertools.repeat(loss)``.
            inner: inner parameters to start from; not changed.
            outer: outer parameters to start from; not changed.

        Returns:
            Trained parameters, without a graph.

        Raises:
            InvalidValueError: if outer losses run out, or a loss is not finite.
        """
        run = _Run(self, inner, outer)
        upper = iter(outer_losses)
        for step, inner_loss in enumerate(inner_losses, start=1):
            value = run.lower_step(inner_loss)
            if step % self.every == 0:
                run.upper_step(step, value, inner_loss, _following(upper, step))
        return BilevelResult(_free(run.inner), _free(run.outer), tuple(run.history))


@final
class NotAtOptimumWarning(UserWarning):
    """An implicit hypergradient was taken where the inner gradient is not near zero."""


def warn_unless_optimal(diagnostics: Diagnostics, *, atol: float) -> None:
    """Warn where a hypergradient was not taken at an optimum of the inner loss.

    The implicit function theorem is about the optimum. Its error elsewhere is about the
    distance to the optimum, at most ``inner_gradient / smallest curvature``, times what the
    losses' second derivatives change per unit of it. Training methods that stop the inner
    problem early on purpose need no such warning, so hypergradients never give it by
    themselves.

    Args:
        diagnostics: of a hypergradient.
        atol: largest norm of the inner gradient that counts as zero, >= 0, in inner loss per
            unit of parameter.
    """
    worst = float(diagnostics.inner_gradient.max())
    if not worst <= atol:
        warnings.warn(
            f"the inner gradient has norm {worst:.3g} where the hypergradient was taken, above "
            f"{atol:.3g}: inner is no optimum of inner_loss, so the implicit function theorem "
            "holds only roughly. Train inner longer, or use Unrolled, which needs no optimum.",
            NotAtOptimumWarning,
            stacklevel=2,
        )


def several_hypergradients(
    method: AbstractHypergradient,
    inner_loss: Loss,
    outer_losses: Sequence[Loss],
    inner: Parameters,
    outer: Parameters,
) -> Hypergradient:
    """Return the hypergradients of several outer losses at one inner optimum.

    The inner problem is repeated along a member axis, one copy per outer loss, so that all
    right-hand sides share each product. Each product costs as much as there are outer
    losses; fewer, wider operations are what is saved.

    Args:
        method: any hypergradient.
        inner_loss: ``f(inner, outer)``, a scalar, of operations that `torch.func.vmap` knows.
        outer_losses: at least one ``F(inner, outer)``, a scalar each.
        inner: inner parameters, without a member axis.
        outer: outer parameters, likewise.

    Returns:
        Everything with a leading axis of outer losses: ``outer_grad[name][k]`` is the
        derivative of outer loss ``k``, the rows of a Jacobian.

    Raises:
        InvalidValueError: if there is no outer loss, and as ``method`` does.
        ShapeError: if a loss is not a scalar.
    """
    if not outer_losses:
        raise InvalidValueError("outer_losses must hold at least one loss, got none.")
    count = len(outer_losses)

    def all_losses(inners: Parameters, outers: Parameters) -> Tensor:
        values = [
            loss(_member(inners, index), _member(outers, index))
            for index, loss in enumerate(outer_losses)
        ]
        return torch.stack(values)

    inners, outers = (
        {name: value.detach().expand(count, *value.shape) for name, value in each.items()}
        for each in (inner, outer)
    )
    return method(_repeated(inner_loss), all_losses, inners, outers)


@final
class _Run:
    """State of one training."""

    def __init__(self, trainer: BilevelTrainer, inner: Parameters, outer: Parameters) -> None:
        copies = Point.at(
            {name: value.clone() for name, value in inner.items()},
            {name: value.clone() for name, value in outer.items()},
        )
        self.trainer, self.inner, self.outer = trainer, copies.inner, copies.outer
        self._start = _free(copies.inner)
        self._lower = trainer.inner_optimiser(list(self.inner.values()))
        self._upper = trainer.outer_optimiser(list(self.outer.values()))
        self._ahead = LookAhead(trainer.assumed_steps)
        self._first_slope: float | None = None
        self._warned = False
        self.history: list[UpperStep] = []

    def lower_step(self, loss: Loss) -> Tensor:
        """Move the inner parameters; return the loss before."""
        with torch.enable_grad():
            value = Point(self.inner, _free(self.outer)).value(loss)
            slopes = gradient([value.sum()], list(self.inner.values()))
        if self._first_slope is None:
            self._first_slope = float(torch.cat([slope.flatten() for slope in slopes]).norm())
        _step(self._lower, self.inner, slopes)
        return value.detach()

    def upper_step(self, step: int, value: Tensor, inner_loss: Loss, outer_loss: Loss) -> None:
        """Move the outer parameters along the hypergradient."""
        self._ahead.measure_anew(torch.Generator().manual_seed(step))
        found = self._ahead.hypergradient(
            self.trainer.hypergradient, inner_loss, outer_loss, _free(self.inner), self.outer
        )
        self._judge(found)
        _step(self._upper, self.outer, list(found.outer_grad.values()))
        self.history.append(UpperStep(step, value, found.outer_value, found.diagnostics))
        if not self.trainer.warm_start:
            with torch.no_grad():
                for name, parameter in self.inner.items():
                    parameter.copy_(self._start[name])
            self._lower = self.trainer.inner_optimiser(list(self.inner.values()))

    def _judge(self, found: Hypergradient) -> None:
        """Warn, once, where the inner problem is far from solved."""
        share = self.trainer.warn_above
        if share is None or self._warned or not self.trainer.hypergradient.needs_optimum:
            return
        assert self._first_slope is not None  # a lower step comes before any upper step
        goal = share * self._first_slope
        self._warned = bool((found.diagnostics.inner_gradient > goal).any())
        warn_unless_optimal(found.diagnostics, atol=goal)


def _step(
    optimiser: torch.optim.Optimizer, parameters: Parameters, slopes: Iterable[Tensor]
) -> None:
    for parameter, slope in zip(parameters.values(), slopes, strict=True):
        parameter.grad = slope
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def _free(parameters: Parameters) -> Parameters:
    return {name: value.detach().clone() for name, value in parameters.items()}


def _following(losses: Iterator[Loss], step: int) -> Loss:
    found = next(losses, None)
    if found is None:
        raise InvalidValueError(
            f"outer_losses must hold a loss for every upper step, got none at lower step {step}: "
            "repeat them with itertools.cycle."
        )
    return found


def _repeated(loss: Loss) -> Loss:
    if isinstance(loss, ComposedLoss):
        return ComposedLoss(vmap(loss.outputs), vmap(loss.criterion))
    repeated: Loss = vmap(loss)
    return repeated


def _member(parameters: Parameters, index: int) -> Parameters:
    return {name: value[index] for name, value in parameters.items()}
