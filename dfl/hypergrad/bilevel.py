"""`BilevelTrainer`: alternates lower and upper steps, with any hypergradient."""

import inspect
import itertools
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from torch import Tensor

from dfl.checks import check_count, check_number, check_part
from dfl.errors import InvalidValueError, UnsupportedProblemError
from dfl.hypergrad.base import (
    AbstractHypergradient,
    Diagnostics,
    Hypergradient,
    Loss,
    Parameters,
)
from dfl.hypergrad.curvature.point import (
    Point,
    check_finite,
    check_graph,
    gradient,
    recording,
)
from dfl.hypergrad.steps.look_ahead import LookAhead

__all__ = [
    "BilevelResult",
    "BilevelTrainer",
    "MakeOptimiser",
    "NotAtOptimumWarning",
    "UpperStep",
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
            ``lambda values: torch.optim.SGD(values, lr=0.1)``; LBFGS too.
        outer_optimiser: makes that of the outer parameters; none that asks for the loss again,
            as LBFGS does.
        every: lower steps before each upper step, >= 1.
        assumed_steps: look-ahead steps on the inner loss before each hypergradient that
            needs an optimum, >= 0; ``inner`` itself does not take them. They are as long as
            the curvature allows, which costs ten products to measure.
        warm_start: go on from the inner parameters as they are; else they and their
            optimiser start anew after every upper step.
        warn_above: warn once if a hypergradient that needs an optimum is taken where the
            inner gradient is more than this share of what it was at the start (or first was,
            where it is 0 there); None never warns.

    Raises:
        InvalidValueError: if a number is out of range, or a part is of another kind.

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
        """Check the parts and the ranges."""
        example = "GaussNewton() or HYPERGRADIENTS.make(name)"
        check_part("hypergradient", self.hypergradient, AbstractHypergradient, example)
        for name in ("inner_optimiser", "outer_optimiser"):
            if not callable(getattr(self, name)):
                raise InvalidValueError(
                    f"{name} must be a function that makes an optimiser, got "
                    f"{type(getattr(self, name)).__name__}: give lambda values: "
                    "torch.optim.SGD(values, lr=0.1)."
                )
        check_count("every", self.every, at_least=1)
        check_count("assumed_steps", self.assumed_steps, at_least=0)
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
            InvalidValueError: if outer losses run out, inner losses have no end or are too few
                for one upper step, a loss, gradient or parameter is not finite, or an
                optimiser does not hold the parameters it was given.
            UnsupportedProblemError: if the outer optimiser asks for the loss again.
        """
        _check_losses("inner_losses", inner_losses)
        _check_losses("outer_losses", outer_losses)
        if _endless(inner_losses):
            raise InvalidValueError(
                "inner_losses must come to an end, got itertools.repeat or cycle without one: "
                "give repeat(loss, 1000), or itertools.islice(losses, 1000)."
            )
        with recording():
            return self._fit(inner_losses, outer_losses, inner, outer)

    def _fit(
        self,
        inner_losses: Iterable[Loss],
        outer_losses: Iterable[Loss],
        inner: Parameters,
        outer: Parameters,
    ) -> BilevelResult:
        run, step = _Run(self, inner, outer), 0
        upper = iter(outer_losses)
        for step, inner_loss in enumerate(inner_losses, start=1):
            value = run.lower_step(inner_loss)
            if step % self.every == 0:
                run.upper_step(step, value, inner_loss, _following(upper, step))
        if not run.history:
            raise InvalidValueError(
                f"inner_losses must hold at least every = {self.every} losses, got {step}: no "
                "upper step was taken."
            )
        found = BilevelResult(_free(run.inner), _free(run.outer), tuple(run.history))
        for name, parameters in (("inner", found.inner), ("outer", found.outer)):
            for key, each in parameters.items():
                check_finite(each, f"{name}[{key!r}] after training")
        return found


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


@final
class _Run:
    """State of one training."""

    def __init__(self, trainer: BilevelTrainer, inner: Parameters, outer: Parameters) -> None:
        given = Point.at(inner, outer)  # checks, and stands apart from the caller's graph
        copies = Point.at(_free(given.inner), _free(given.outer))
        self.trainer, self.inner, self.outer = trainer, copies.inner, copies.outer
        self._start = _free(copies.inner)
        self._lower = _made("inner_optimiser", trainer.inner_optimiser, self.inner)
        self._upper = _made("outer_optimiser", trainer.outer_optimiser, self.outer)
        if _asks_again(self._upper):
            raise UnsupportedProblemError(
                f"outer_optimiser must step by one gradient, got {type(self._upper).__name__}, "
                "which asks for the loss at other places, where inner is no optimum: use SGD or "
                "Adam."
            )
        self._ahead = LookAhead(trainer.assumed_steps)
        self._first_slope: float | None = None
        self._warned = False
        self.history: list[UpperStep] = []

    def lower_step(self, loss: Loss) -> Tensor:
        """Move the inner parameters; return the loss before."""
        seen: list[Tensor] = []

        def slope() -> float:
            with torch.enable_grad():  # an optimiser switches gradients off
                value = Point(self.inner, _free(self.outer)).value(loss)
                check_graph(value, "inner_loss", "inner")
                slopes = gradient([value.sum()], list(self.inner.values()))
            _give(self.inner, slopes, "the gradient of inner_loss in inner")
            if not self._first_slope:  # a start at the inner optimum is no measure
                self._first_slope = float(torch.cat([each.flatten() for each in slopes]).norm())
            seen.append(value.detach().clone())
            return float(value.detach().sum())

        if _asks_again(self._lower):
            self._lower.step(slope)
        else:
            slope()
            self._lower.step()
        self._lower.zero_grad(set_to_none=True)
        return seen[0]

    def upper_step(self, step: int, value: Tensor, inner_loss: Loss, outer_loss: Loss) -> None:
        """Move the outer parameters along the hypergradient."""
        self._ahead.measure_anew(torch.Generator().manual_seed(step))
        found = self._ahead.hypergradient(
            self.trainer.hypergradient, inner_loss, outer_loss, _free(self.inner), self.outer
        )
        self._judge(found)
        _give(self.outer, found.outer_grad.values(), "the hypergradient of outer")
        self._upper.step()
        self._upper.zero_grad(set_to_none=True)
        self.history.append(UpperStep(step, value, found.outer_value, found.diagnostics))
        if not self.trainer.warm_start:
            with torch.no_grad():
                for name, parameter in self.inner.items():
                    parameter.copy_(self._start[name])
            self._lower = _made("inner_optimiser", self.trainer.inner_optimiser, self.inner)

    def _judge(self, found: Hypergradient) -> None:
        """Warn, once, where the inner problem is far from solved."""
        share = self.trainer.warn_above
        if share is None or self._warned or not self.trainer.hypergradient.needs_optimum:
            return
        assert self._first_slope is not None  # a lower step comes before any upper step
        goal = share * self._first_slope
        self._warned = bool((found.diagnostics.inner_gradient > goal).any())
        warn_unless_optimal(found.diagnostics, atol=goal)


def _give(parameters: Parameters, slopes: Iterable[Tensor], what: str) -> None:
    for (name, parameter), slope in zip(parameters.items(), slopes, strict=True):
        check_finite(slope, f"{what}[{name!r}]")
        parameter.grad = slope.clone()  # autograd may give two names the same memory


def _made(name: str, make: MakeOptimiser, parameters: Parameters) -> torch.optim.Optimizer:
    """Let the caller make an optimiser, and see that it will move every parameter."""
    optimiser = make(list(parameters.values()))
    if not isinstance(optimiser, torch.optim.Optimizer):
        raise InvalidValueError(
            f"{name} must return a torch.optim.Optimizer, got {type(optimiser).__name__}."
        )
    held = {id(each) for group in optimiser.param_groups for each in group["params"]}
    left = [key for key, value in parameters.items() if id(value) not in held]
    if left:
        raise InvalidValueError(
            f"{name} must make an optimiser of the tensors it is given, got one without "
            f"{', '.join(map(repr, left))}: pass on its argument; what is to stay as it is belongs "
            "into the losses."
        )
    return optimiser


def _asks_again(optimiser: torch.optim.Optimizer) -> bool:
    """Say whether a step needs a closure, as LBFGS's does."""
    closure = inspect.signature(optimiser.step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def _check_losses(name: str, losses: Iterable[Loss]) -> None:
    if not isinstance(losses, Iterable):
        raise InvalidValueError(
            f"{name} must be losses one after the other, got {type(losses).__name__}: give "
            "itertools.repeat(loss, 1000)."
        )


def _endless(losses: Iterable[Loss]) -> bool:
    """Recognise the two iterators of the standard library that may have no end."""
    known = isinstance(losses, itertools.repeat | itertools.cycle)
    return known and operator.length_hint(losses, -1) < 0


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
