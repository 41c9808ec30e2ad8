"""`Unrolled`: differentiates through the descent steps themselves."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from dfl.hypergrad.base import AbstractHypergradient, Hypergradient, Loss, Parameters
from dfl.hypergrad.convergence import OnFailure
from dfl.hypergrad.unroll import Descent
from dfl.hypergrad.update_rule import Optimiser, UpdateRule

__all__ = ["Unrolled"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Unrolled(AbstractHypergradient):
    """Differentiates the outer loss through ``steps`` descent steps.

    ``theta_0 = inner``, ``theta_(t+1) = theta_t - step_size * d_t`` with ``d_t`` the
    optimiser's direction, ``df/d inner(theta_t, outer)`` for plain descent; returns
    ``dF(theta_steps, outer) / d outer`` with ``theta_0`` and the step held constant. The outer
    value is taken at ``theta_steps``. Tends to the implicit gradient as the steps reach the
    minimum; time and memory grow with ``steps``, about three plain gradients each.

    A step above 2 / largest curvature climbs instead, and the result's sign can be wrong:
    an inner loss that rises over the steps is an error.

    Args:
        steps: descent steps, >= 1.
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
        Maclaurin, Duvenaud and Adams (2015), arXiv:1502.03492, with the graph kept instead
        of the steps reversed; Franceschi et al. (2017), arXiv:1703.01785, reverse mode.
    """

    needs_optimum: ClassVar[bool] = False

    steps: int = 5
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
            last=self.steps,
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
