"""`Truncated`: differentiates through the last descent steps only."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from dfl.hypergrad.base import AbstractHypergradient, Hypergradient, Loss, Parameters
from dfl.hypergrad.convergence import OnFailure
from dfl.hypergrad.unroll import Descent
from dfl.hypergrad.update_rule import Optimiser, UpdateRule

__all__ = ["Truncated"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Truncated(AbstractHypergradient):
    """Takes ``steps`` descent steps and differentiates the outer loss through the last few.

    As `Unrolled`, with ``theta_(steps - last)`` held constant as well: memory and backward
    time grow with ``last`` alone. For plain descent on a loss with curvature above ``low``
    around its minimum, the error falls by the factor ``1 - step_size * low`` with every step
    more in ``last``.

    Args:
        steps: descent steps, >= 1.
        last: how many of them, from the end, are differentiated, 1 to ``steps``.
        step_size: length per unit of direction, > 0; ``"stable"`` takes 1 / largest
            curvature at ``inner``, one per member, by `largest_eigenvalue`. Adam needs a
            number.
        optimiser: ``"sgd"``, plain descent; ``"momentum"``; or ``"adam"``.
        momentum: what a step keeps of the gradients before, in [0, 1); not used by ``sgd``.
        second_momentum: the same for squared gradients, in [0, 1); used by ``adam`` alone.
        power_iterations: products spent on ``"stable"``, >= 1.
        seed: draws the first vector of that power iteration.
        on_failure: ``"raise"`` an error where an inner loss rises, or ``"return"`` the
            derivative of what was done.

    Raises:
        InvalidValueError: if an option is out of range; when called, if ``"stable"`` meets
            a loss without curvature.

    Source:
        Shaban, Cheng, Hatch and Boots (2019), arXiv:1810.10667, section 3.
    """

    needs_optimum: ClassVar[bool] = False

    steps: int = 20
    last: int = 5
    step_size: float | Literal["stable"] = "stable"
    optimiser: Optimiser = "sgd"
    momentum: float = 0.9
    second_momentum: float = 0.999
    power_iterations: int = 10
    seed: int = 0
    on_failure: OnFailure = "raise"

    def __post_init__(self) -> None:
        """Check the options."""
        self._descent()

    def __call__(
        self, inner_loss: Loss, outer_loss: Loss, inner: Parameters, outer: Parameters
    ) -> Hypergradient:
        """Return the derivative of ``outer_loss`` after the steps from ``inner``."""
        return self._descent().hypergradient(inner_loss, outer_loss, inner, outer)

    def _descent(self) -> Descent:
        return Descent(
            steps=self.steps,
            last=self.last,
            rule=UpdateRule(
                optimiser=self.optimiser,
                momentum=self.momentum,
                second_momentum=self.second_momentum,
            ),
            step_size=self.step_size,
            power_iterations=self.power_iterations,
            seed=self.seed,
            on_failure=self.on_failure,
        )
