"""What an argmax over a row's entries is under noise, without sampling."""

from torch import Tensor

from dfl.layers.perturbed.noise import SmoothNoise
from dfl.layers.perturbed.normal_choice import normal_choice, normal_maximum

__all__ = ["expected_choice", "expected_maximum"]


def expected_choice(values: Tensor, noise: SmoothNoise) -> Tensor:  # (..., M) -> (..., M)
    """Compute the probability of each entry to be the largest after adding noise.

    Gumbel: ``softmax(values)``. Normal: a one-dimensional integral, see `normal_choice`.

    Args:
        values: in units of the noise. Shape ``(..., M)``.
        noise: standard normal or standard Gumbel, independent per entry.

    Returns:
        Probabilities ``(..., M)``, differentiable twice.

    Source:
        Gumbel: Gumbel (1954), Maddison et al. (2014), arXiv:1411.0030.
    """
    if noise == "normal":
        return normal_choice(values)
    # Along an inner axis of few entries a softmax cannot use vector instructions.
    return values.mT.contiguous().softmax(dim=-2).mT if values.ndim > 1 else values.softmax(-1)


def expected_maximum(values: Tensor, noise: SmoothNoise) -> Tensor:  # (..., M) -> (...)
    """Compute the expected largest entry after adding noise of mean 0.

    Its gradient is `expected_choice`. Gumbel, moved to mean 0: ``logsumexp(values)``.

    Args:
        values: in units of the noise. Shape ``(..., M)``.
        noise: normal or Gumbel, independent per entry.

    Returns:
        Expected maxima ``(...)``.
    """
    return normal_maximum(values) if noise == "normal" else values.logsumexp(dim=-1)
