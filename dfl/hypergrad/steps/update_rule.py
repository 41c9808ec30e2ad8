"""`UpdateRule`: plain descent, momentum or Adam, written so that steps can be differentiated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from dfl.checks import check_choice, check_number

__all__ = ["Optimiser", "State", "UpdateRule"]

Optimiser: TypeAlias = Literal["sgd", "momentum", "adam"]
_EPSILON = 1e-8


@final
@dataclass(frozen=True, eq=False)
class State:
    """What an optimiser remembers between steps.

    Args:
        step: steps done.
        first: running sums or averages of gradients, one tensor per parameter.
        second: running averages of squared gradients, likewise; empty but for Adam.
    """

    step: int = 0
    first: tuple[Tensor, ...] = ()
    second: tuple[Tensor, ...] = ()

    def detached(self) -> "State":
        """Return the same numbers without their graph."""
        first, second = (tuple(each.detach() for each in s) for s in (self.first, self.second))
        return State(self.step, first, second)


@final
@dataclass(frozen=True, kw_only=True)
class UpdateRule:
    """Turns gradients into directions of descent; the step size is the caller's.

    ``sgd``: ``g``. ``momentum``: ``m_t = momentum m_(t-1) + g_t``. ``adam``: ``m_t / sqrt(v_t +
    1e-16)`` of bias-corrected averages ``m`` of ``g`` and ``v`` of ``g^2``.

    Args:
        optimiser: which of the three.
        momentum: what a step keeps of the gradients before, in [0, 1); not used by ``sgd``.
        second_momentum: the same for squared gradients, in [0, 1); used by ``adam`` alone.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Polyak (1964), doi:10.1016/0041-5553(64)90137-5; Kingma and Ba (2015),
        arXiv:1412.6980, algorithm 1. Deviation: epsilon stands under the root, whose
        derivative at 0 is infinite otherwise.
    """

    optimiser: Optimiser
    momentum: float
    second_momentum: float

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice("optimiser", self.optimiser, ("sgd", "momentum", "adam"))
        for name in ("momentum", "second_momentum"):
            check_number(name, getattr(self, name), at_least=0, below=1)

    def __call__(self, slopes: Sequence[Tensor], state: State) -> tuple[Sequence[Tensor], State]:
        """Return directions for these gradients, and what to remember.

        Args:
            slopes: gradients, one tensor per parameter.
            state: what the step before returned; ``State()`` at the start.
        """
        if self.optimiser == "sgd":
            return slopes, state
        if self.optimiser == "momentum":
            first = self._average(state.first, slopes, self.momentum, 1.0)
            return first, State(state.step + 1, first)
        return self._adam(slopes, state)

    def _adam(self, slopes: Sequence[Tensor], state: State) -> tuple[Sequence[Tensor], State]:
        step, keep, keep_squares = state.step + 1, self.momentum, self.second_momentum
        squares = [slope * slope for slope in slopes]
        first = self._average(state.first, slopes, keep, 1 - keep)
        second = self._average(state.second, squares, keep_squares, 1 - keep_squares)
        fairness = 1 - keep**step, 1 - keep_squares**step
        directions = [
            (mean / fairness[0]) * torch.rsqrt(square / fairness[1] + _EPSILON**2)
            for mean, square in zip(first, second, strict=True)
        ]
        return directions, State(step, first, second)

    @staticmethod
    def _average(
        before: Sequence[Tensor], now: Sequence[Tensor], keep: float, add: float
    ) -> tuple[Tensor, ...]:
        if not before:
            return tuple(add * each for each in now)
        return tuple(keep * old + add * new for old, new in zip(before, now, strict=True))
