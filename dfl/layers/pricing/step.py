"""How far values move along a gradient before they are decided on once more."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from dfl.layers.pricing.pricing import Scale, check_option, check_positive, spread

__all__ = ["Step"]


@final
@dataclass(frozen=True)
class Step:
    """Length of a step from values along minus a gradient.

    Args:
        strength: with ``"absolute"`` the step itself, in units of value per unit of gradient;
            with ``"relative"`` the typical size of the move in units of the spread of the
            values, without unit. > 0.
        scale: ``"relative"``: ``strength * spread(values) / spread(gradient)``, so that neither
            the unit of the values nor that of the loss matters; the spread is the standard
            deviation around each row's mean, over the rows of a problem. ``"absolute"``:
            ``strength``.

    Raises:
        InvalidValueError: if an option is out of range.

    Source:
        Relative: as in Minervini et al. (2023), arXiv:2209.04862, whose target distribution is
        at a distance relative to the norm of the values; the spread instead of the norm is ours.
    """

    strength: float
    scale: Scale

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive("strength", self.strength)
        check_option("scale", self.scale, ("absolute", "relative"))

    def length(self, values: Tensor, slope: Tensor) -> float | Tensor:
        """Return the step for a gradient, a number or one that broadcasts over problems."""
        if self.scale == "absolute":
            return self.strength
        length = self.strength * spread(values) / spread(slope)
        # Values or a gradient without any spread decide nothing: any length will do.
        return length.where((length > 0) & length.isfinite(), 1)
