"""Noise that is added to values before an argmax: its draws, and the score of its density."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from dfl.checks import check_count, check_seed
from dfl.errors import InvalidValueError

__all__ = ["Draws", "Noise", "SmoothNoise", "score"]

SmoothNoise: TypeAlias = Literal["gumbel", "normal"]
Noise: TypeAlias = Literal["gumbel", "normal", "sum-of-gamma"]

_TOGETHER = 2**18  # numbers drawn at once: many small draws in one call, one large one at a time
_EULER = 0.5772156649015329  # mean of the standard Gumbel distribution
_TERMS = 10  # of the sum of gammas, as in the paper


@final
@dataclass(frozen=True, kw_only=True)
class Draws:
    """The same stream of noise each time it is read, in chunks of bounded size.

    Short streams of a fixed seed, which are read at every step of a training, are kept.

    Args:
        noise: ``"normal"``: standard normal. ``"gumbel"``: standard Gumbel moved to mean 0.
            ``"sum-of-gamma"``: a sum of scaled gamma variables, such that the sum over a
            subset of ``subset`` entries is nearly Gumbel.
        samples: number of draws; even where they are antithetic.
        antithetic: draw in pairs that mirror each other: ``z`` and ``-z`` for the normal,
            quantiles ``u`` and ``1 - u`` for Gumbel.
        seed: seed of the stream, or None for a new one per decision from torch's default
            generator, so that ``torch.manual_seed`` repeats a run.
        subset: entries that a decision chooses, for the sum of gammas.

    Raises:
        InvalidValueError: if an option is out of range, or antithetic draws of the sum of gammas
            are asked for.
    """

    noise: Noise = "normal"
    samples: int = 100
    antithetic: bool = True
    seed: int | None = 0
    subset: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.noise not in ("gumbel", "normal", "sum-of-gamma"):
            raise InvalidValueError(
                f"noise must be 'gumbel', 'normal' or 'sum-of-gamma', got {self.noise!r}."
            )
        check_count("samples", self.samples, at_least=1)
        if self.seed is not None:
            check_seed(self.seed)
        if self.antithetic and self.samples % 2:
            raise InvalidValueError(
                f"samples must be even where they are antithetic, got {self.samples}; draw one "
                "more, or set antithetic=False."
            )
        if self.antithetic and self.noise == "sum-of-gamma":
            raise InvalidValueError("sum-of-gamma noise has no antithetic draws; set it False.")
        check_count("subset", self.subset, at_least=1)

    @property
    def group(self) -> int:
        """Draws that depend on each other: 2 for antithetic pairs, else 1."""
        return 2 if self.antithetic else 1

    def fresh_seed(self) -> int:
        """Return the seed of one decision; the same one gives the same chunks again."""
        if self.seed is not None:
            return int(self.seed)
        return int(torch.randint(2**62, ()).item())

    def chunks(self, like: Tensor, seed: int) -> Iterator[Tensor]:
        """Return noise of shape ``(n, group, *like.shape)``; the ``n`` add up to all groups.

        Args:
            like: tensor whose shape, dtype and device the draws take.
            seed: from `fresh_seed`.

        Returns:
            Chunks that others may read too: not to be changed in place.
        """
        if seed == self.seed and self.samples * like.numel() <= _TOGETHER:
            return iter((_kept(self, like.shape, like.dtype, like.device),))
        return self._stream(like, seed)

    def _stream(self, like: Tensor, seed: int) -> Iterator[Tensor]:
        generator = torch.Generator(device=like.device).manual_seed(seed)
        left = self.samples // self.group
        most = max(_TOGETHER // max(self.group * like.numel(), 1), 1)
        while left:
            now = min(left, most)
            yield self._draw((now, *like.shape), like, generator)
            left -= now

    def _draw(self, shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
        """Return draws ``(n, group, ...)``."""
        if self.noise == "normal":
            drawn = torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
            return torch.stack((drawn, -drawn), dim=1) if self.antithetic else drawn[:, None]
        if self.noise == "sum-of-gamma":
            return self._sum_of_gamma(shape, like, generator)[:, None]
        # Both tails in float64: in float32 u and 1 - u would be 0 or 1 now and then.
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=like.device)
        uniform = uniform.clamp_(2**-54, 1 - 2**-53)
        if self.antithetic:
            uniform = torch.stack((uniform, 1 - uniform), dim=1)
        else:
            uniform = uniform[:, None]
        return uniform.log_().neg_().log_().neg_().sub_(_EULER).to(like.dtype)

    def _sum_of_gamma(
        self, shape: tuple[int, ...], like: Tensor, generator: torch.Generator
    ) -> Tensor:
        size = self.subset
        kind = torch.float64 if like.dtype == torch.float64 else torch.float32  # no shorter ones
        shapes = torch.full(shape, 1 / size, dtype=kind, device=like.device)
        total = torch.zeros_like(shapes)
        for term in range(1, _TERMS + 1):
            total += torch._standard_gamma(shapes, generator=generator) * (size / term)
        return ((total - math.log(_TERMS)) / size).to(like.dtype)


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)
def _kept(draws: Draws, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return all draws of a fixed seed; one chunk."""
    like = torch.empty(shape, dtype=dtype, device=device)
    return torch.cat(list(draws._stream(like, draws.fresh_seed())))


def score(noise: SmoothNoise, drawn: Tensor) -> Tensor:
    """Return minus the derivative of the log density: ``z`` (normal), ``1 - exp(-z')`` (Gumbel).

    ``z'`` is the draw of the standard Gumbel distribution, before it was moved to mean 0.
    """
    if noise == "normal":
        return drawn
    return 1 - torch.exp(-(drawn + _EULER))
