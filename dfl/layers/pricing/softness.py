"""How soft a layer is: its temperature, in currency."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError

__all__ = ["Scale", "Softness", "spread"]

Scale: TypeAlias = Literal["relative", "absolute"]


@final
@dataclass(frozen=True)
class Softness:
    """Turns a temperature without unit into one in currency, held constant in gradients.

    Args:
        temperature: > 0: of unit currency with ``scale="absolute"``, without unit with
            ``scale="relative"``.
        scale: ``"relative"``: times the standard deviation of the scores around each person's
            mean score. ``"absolute"``: as it is.

    Raises:
        InvalidValueError: if the temperature is not > 0 or the scale is unknown.
    """

    temperature: float
    scale: Scale

    def __post_init__(self) -> None:
        """Check the options."""
        if not self.temperature > 0:
            raise InvalidValueError(f"temperature must be > 0, got {self.temperature:g}.")
        if self.scale not in ("relative", "absolute"):
            raise InvalidValueError(f"scale must be 'relative' or 'absolute', got {self.scale!r}.")

    def tau(self, revenue: Tensor, cost: Tensor, multiplier: Tensor | None) -> Tensor:
        """Return the temperature in currency, > 0. Shape ``(...)``.

        Args:
            revenue: shape ``(..., N, M)``.
            cost: shape ``(..., N, M)``.
            multiplier: price of money at which scores are taken; an absolute scale needs none.
        """
        if multiplier is None or self.scale == "absolute":
            return revenue.new_full(revenue.shape[:-2], self.temperature)
        size = spread(revenue - multiplier[..., None, None] * cost)
        return self.temperature * size[..., 0, 0]


def spread(values: Tensor) -> Tensor:  # (..., N, M) -> (..., 1, 1), (M,) -> (1,)
    """Compute the standard deviation of values around each row's mean, without a gradient.

    Over all rows of a problem together, over the one row of values ``(M,)``. At least the
    smallest normal number.
    """
    values = values.detach()
    around = values - values.mean(dim=-1, keepdim=True)
    axes = (-2, -1) if values.ndim > 1 else (-1,)
    size = around.square().mean(dim=axes, keepdim=True).sqrt()
    return size.clamp_min(torch.finfo(values.dtype).tiny)
