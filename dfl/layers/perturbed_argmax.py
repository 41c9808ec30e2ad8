"""`PerturbedArgmax`: the expected choice under noise, exact or averaged over draws."""

from typing import final

from torch import Tensor

from dfl.layers.perturbed.argmax import one_hot_argmax
from dfl.layers.perturbed.expected_choice import expected_choice
from dfl.layers.perturbed.noise import SmoothNoise
from dfl.layers.perturbed.perturbed_decision import PerturbedDecision
from dfl.layers.pricing.pricing import (
    AbstractPricedLayer,
    Scale,
    check_option,
    check_positive,
    scores,
    spread,
)
from dfl.solvers.base import AbstractSolver

__all__ = ["PerturbedArgmax"]


@final
class PerturbedArgmax(AbstractPricedLayer):
    """The probability that each treatment has the best score after adding noise.

    ``shares_ij = P(j = argmax_k scores_ik + tau * Z_ik)``, ``scores = revenue - multiplier *
    cost``. Nothing is sampled by default: normal noise is a one-dimensional integral, Gumbel
    noise the softmax. As ``tau`` falls to 0 this becomes the hard choice at the same multiplier.
    The multiplier and the relative scale are held constant in the gradient.

    Args:
        noise: ``"normal"`` or ``"gumbel"``, independent per person and treatment.
        sigma: size of the noise, > 0: in currency with ``scale="absolute"``, without unit with
            ``scale="relative"``.
        scale: ``"relative"``: tau is ``sigma`` times the standard deviation of the scores around
            each person's mean score. ``"absolute"``: tau is ``sigma``.
        samples: number of draws (even, they come in mirrored pairs) or None for the exact
            expectation, which is better and faster; draws have first derivatives only.
        seed: for draws: the same ones at each call for a number, new ones for None.
        multiplier: a fixed multiplier >= 0, or None to find the one that meets the budget.
        solver: finds the multiplier from detached values; None for greedy-dual or, with
            observed costs, dual-bisection which takes the multiplier of least spend where none
            meets the budget.

    Raises:
        InvalidValueError: if an option is out of range.

    Shapes:
        revenue, cost ``(..., N, M)`` -> shares ``(..., N, M)``, multiplier ``(...)``.

    Source:
        Berthet et al. (2020), arXiv:2002.08676, on the Lagrangian of the budget, where the
        decision separates by person. Deviations: no sampling; the relative scale.
    """

    def __init__(
        self,
        *,
        noise: SmoothNoise = "normal",
        sigma: float = 0.5,
        scale: Scale = "relative",
        samples: int | None = None,
        seed: int | None = 0,
        multiplier: float | None = None,
        solver: AbstractSolver | None = None,
    ) -> None:
        super().__init__(multiplier=multiplier, solver=solver)
        check_option("noise", noise, ("normal", "gumbel"))
        check_positive("sigma", sigma)
        check_option("scale", scale, ("absolute", "relative"))
        self.sampled = None
        if samples is not None:
            self.sampled = PerturbedDecision(
                one_hot_argmax, noise=noise, samples=samples, seed=seed
            )
        self.noise = noise
        self.sigma = sigma
        self.scale = scale
        self.samples = samples
        self.seed = seed

    def extra_repr(self) -> str:
        """Return the options for printing."""
        return (
            f"noise={self.noise!r}, sigma={self.sigma:g}, scale={self.scale!r}, "
            f"samples={self.samples}, seed={self.seed}, multiplier={self.multiplier}, "
            f"solver={self.solver}"
        )

    def shares(self, revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
        """Return the shares at a multiplier; see the interface."""
        priced = scores(revenue, cost, multiplier)
        tau: float | Tensor = self.sigma
        if self.scale == "relative":
            tau = tau * spread(priced)
        values = priced / tau
        if self.sampled is None:
            return expected_choice(values, self.noise)
        mean: Tensor = self.sampled(values)
        return mean
