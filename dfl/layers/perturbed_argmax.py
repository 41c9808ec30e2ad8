"""`PerturbedArgmax`: the expected choice under noise, exact or averaged over draws."""

from typing import final

from torch import Tensor

from dfl.checks import check_choice, check_seed
from dfl.layers.perturbed.argmax import one_hot_argmax
from dfl.layers.perturbed.expected_choice import expected_choice
from dfl.layers.perturbed.noise import SmoothNoise
from dfl.layers.perturbed.perturbed_decision import PerturbedDecision
from dfl.layers.pricing.options import Price, Softness, check_values
from dfl.layers.pricing.priced import AbstractPricedLayer, scores

__all__ = ["PerturbedArgmax"]

_SOFTNESS = Softness(0.5)
_PRICE = Price()


@final
class PerturbedArgmax(AbstractPricedLayer):
    """The probability that each treatment has the best score after adding noise.

    ``shares_ij = P(j = argmax_k scores_ik + tau * Z_ik)``, ``scores = revenue - multiplier *
    cost``. Nothing is sampled by default: normal noise is a one-dimensional integral, Gumbel
    noise the softmax. As ``tau`` falls to 0 this becomes the hard choice at the same multiplier.
    The multiplier and the relative scale are held constant in the gradient.

    Args:
        noise: ``"normal"`` or ``"gumbel"``, independent per person and treatment.
        softness: tau, the size of the noise.
        samples: number of draws (even, they come in mirrored pairs) or None for the exact
            expectation, which is better and faster; draws have first derivatives only.
        seed: for draws: the same ones at each call for a number, new ones for None.
        price: of money, fixed or met by the decision.

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
        softness: Softness = _SOFTNESS,
        samples: int | None = None,
        seed: int | None = 0,
        price: Price = _PRICE,
    ) -> None:
        super().__init__(price)
        check_values(softness=softness)
        check_choice("noise", noise, ("normal", "gumbel"))
        if seed is not None:
            check_seed(seed)
        self.sampled = None
        if samples is not None:
            self.sampled = PerturbedDecision(
                one_hot_argmax, noise=noise, samples=samples, seed=seed
            )
        self.noise = noise
        self.softness = softness
        self.samples = samples
        self.seed = seed

    def shares(self, revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
        """Return the shares at a multiplier; see the interface."""
        priced = scores(revenue, cost, multiplier)
        values = priced / self.softness.of(priced)
        if self.sampled is None:
            return expected_choice(values, self.noise)
        mean: Tensor = self.sampled(values)
        return mean
