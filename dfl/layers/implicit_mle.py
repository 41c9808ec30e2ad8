"""`ImplicitMle`, `ImplicitMleDecision`: perturb, decide; differentiated by a second mean."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from dfl.checks import check_choice, check_number, check_seed
from dfl.layers.perturbed.argmax import (
    Argmax,
    check_argmax,
    decide_rows,
    one_hot_argmax,
    only,
    prepare,
)
from dfl.layers.perturbed.expected_choice import expected_choice
from dfl.layers.perturbed.noise import Draws, Noise, SmoothNoise
from dfl.layers.pricing.options import Price, Softness, check_values
from dfl.layers.pricing.priced import AbstractPricedLayer, scores
from dfl.layers.pricing.surrogate import AbstractSurrogate, compared, surrogate_decision

__all__ = ["ImplicitMle", "ImplicitMleDecision"]

_SOFTNESS = Softness(0.3)
_STEP = Softness(1.0)
_PRICE = Price()
_KEPT = 2**22  # numbers of noise that may wait for the backward pass


@final
class ImplicitMleDecision(nn.Module):
    """Decides by any argmax on noisy values; its gradient compares two means over one noise.

    ``decision = mean_s argmax(value + sigma * z_s)``. Backward, for an incoming gradient ``g``:
    ``(mean_s argmax(value + sigma * z_s) - mean_s argmax(value - step * g + sigma * z_s)) /
    step`` with the same draws. Memory is O(values) whatever the number of draws.

    Args:
        argmax: maximises ``value @ decision`` row by row; see `Argmax`.
        sigma: size of the noise, in units of ``value``, > 0.
        noise: ``"sum-of-gamma"``, for decisions that choose ``subset`` of the entries; the sum
            over those entries is then nearly Gumbel. ``"gumbel"``, its case of one entry, or
            ``"normal"``.
        subset: how many entries a decision chooses; for the sum of gammas alone.
        samples: number of draws, >= 1.
        step: length of the step, see `Softness.step`, the scale being that of values and
            gradient over the batch.
        seed: the same draws at each call for a number, new ones at each call for None.

    Shapes:
        value ``(..., D)`` -> decision ``(..., D)``.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Niepert, Minervini and Franceschi (2021), arXiv:2106.01798, Algorithm 1 and section 3.2
        (sum of gammas). Deviation: divided by the step, as their code does; relative steps.
    """

    def __init__(
        self,
        argmax: Argmax,
        *,
        sigma: float = 1.0,
        noise: Noise = "sum-of-gamma",
        subset: int = 1,
        samples: int = 1,
        step: Softness = _STEP,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_argmax(argmax)
        check_values(step=step)
        check_number("sigma", sigma, above=0)
        self.draws = Draws(noise=noise, samples=samples, antithetic=False, seed=seed, subset=subset)
        self.step = step
        self.argmax = argmax
        self.sigma = sigma

    def extra_repr(self) -> str:
        """Return the options for printing."""
        return (
            f"sigma={self.sigma:g}, noise={self.draws.noise!r}, subset={self.draws.subset}, "
            f"samples={self.draws.samples}, step={self.step}, seed={self.draws.seed}"
        )

    def forward(self, values: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Return the mean decision ``(..., D)``, in the dtype of ``values``.

        Args:
            values: value of each entry, never NaN. Shape ``(..., D)``.
            allowed: which entries may be chosen, None for all: the argmax sees others far below
                the rest, and they take no part in any scale. bool, shape ``(..., D)``.

        Raises:
            ShapeError: if the argmax returns another shape, or ``allowed`` does not fit.
            DTypeError: if values are no tensor or not floating point, or the argmax returns none.
            InvalidValueError: if a value is NaN, or a row has no entry that is allowed.
            UnsupportedProblemError: later, if a second or a forward-mode derivative is asked for.
        """
        values = prepare(values, allowed, self.sigma)
        mean = _SampledMean(self.argmax, self.draws, self.draws.fresh_seed())
        sigma = values.new_full((), self.sigma)
        return only(surrogate_decision(_Compare(mean, self.step), values, sigma), allowed)


@final
class ImplicitMle(AbstractPricedLayer):
    """The expected choice under noise; its gradient compares it with that of better scores.

    With ``scores = revenue - multiplier * cost`` and ``mu`` the expected choice under noise of
    size tau: ``shares = mu(scores)``. Backward, for an incoming gradient ``g`` and with the
    multiplier held constant: ``d scores = (mu(scores) - mu(scores - step * g)) / step``. Without
    ``samples`` both are exact (Gumbel: a softmax), the limit of infinitely many draws.

    Args:
        softness: tau, the size of the noise.
        noise: ``"gumbel"`` or ``"normal"``.
        step: length of the step, see `Softness.step`.
        samples: number of draws, or None for the exact expectation.
        seed: for draws: the same ones at each call for a number, new ones for None.
        price: of money, fixed or met by the decision.

    Raises:
        InvalidValueError: if an option is out of range.

    Shapes:
        revenue, cost ``(..., N, M)`` -> shares ``(..., N, M)``, multiplier ``(...)``.

    Source:
        Niepert, Minervini and Franceschi (2021), arXiv:2106.01798, equations 8 to 10, on the
        Lagrangian of the budget. Deviations: exact expectations; the relative scale.
    """

    def __init__(
        self,
        *,
        softness: Softness = _SOFTNESS,
        noise: SmoothNoise = "gumbel",
        step: Softness = _STEP,
        samples: int | None = None,
        seed: int | None = 0,
        price: Price = _PRICE,
    ) -> None:
        super().__init__(price)
        check_values(softness=softness, step=step)
        check_choice("noise", noise, ("gumbel", "normal"))
        if seed is not None:
            check_seed(seed)
        self.draws = None
        if samples is not None:
            self.draws = Draws(noise=noise, samples=samples, antithetic=False, seed=seed)
        self.softness = softness
        self.noise = noise
        self.step = step
        self.samples = samples
        self.seed = seed

    def shares(self, revenue: Tensor, cost: Tensor, multiplier: Tensor) -> Tensor:
        """Return the shares at a multiplier; see the interface."""
        priced = scores(revenue, cost, multiplier)
        tau = self.softness.of(priced)
        mean: Callable[..., Tensor] = self._exact
        if self.draws is not None:
            mean = _SampledMean(one_hot_argmax, self.draws, self.draws.fresh_seed())
        return surrogate_decision(_Compare(mean, self.step), priced, tau)

    def _exact(self, values: Tensor, tau: Tensor) -> Tensor:
        return expected_choice(values / tau, self.noise)


@final
@dataclass(frozen=True, eq=False)
class _Compare(AbstractSurrogate):
    """See `ImplicitMleDecision`.

    Args:
        mean: the mean decision on values and context, over the same noise each time.
        step: length of the step.
    """

    mean: Callable[..., Tensor]
    step: Softness

    def decide(self, values: Tensor, *context: Tensor) -> Tensor:
        return self.mean(values, *context)

    def pull(self, values: Tensor, decision: Tensor, slope: Tensor, *context: Tensor) -> Tensor:
        step = self.step.step(values, slope)
        return compared(lambda moved: self.mean(moved, *context), values, decision, slope, step)


@final
@dataclass(eq=False)
class _SampledMean:
    """The mean decision over the same draws each time; a new one per call of the layer.

    Args:
        argmax: decides.
        draws: the stream.
        seed: where it starts.
    """

    argmax: Argmax
    draws: Draws
    seed: int
    kept: tuple[torch.Size, list[Tensor]] | None = None

    def __call__(self, values: Tensor, sigma: Tensor) -> Tensor:
        total = torch.zeros_like(values)
        for drawn in self._noise(values):
            total += decide_rows(self.argmax, values + sigma * drawn).sum(dim=(0, 1))
        return total / self.draws.samples

    def _noise(self, values: Tensor) -> Iterable[Tensor]:
        """Return the draws: those kept for the second mean, or drawn again where they are many."""
        if self.draws.samples * values.numel() > _KEPT:
            return self.draws.chunks(values, self.seed)
        if self.kept is None or self.kept[0] != values.shape:
            self.kept = values.shape, list(self.draws.chunks(values, self.seed))
        return self.kept[1]
