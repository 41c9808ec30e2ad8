"""`Truncated`: differentiates through the last descent steps only."""

from dataclasses import dataclass
from typing import final

from dfl.hypergrad.steps.unroll import AbstractUnrolled

__all__ = ["Truncated"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Truncated(AbstractUnrolled):
    """Takes ``steps`` descent steps and differentiates the outer loss through the last few.

    As `Unrolled`, with ``theta_(steps - last)`` held constant as well: memory and backward
    time grow with ``last`` alone. For plain descent on a loss with curvature above ``low``
    around its minimum, the error falls by the factor ``1 - step_size * low`` with every step
    more in ``last``. Other options and errors as in `AbstractUnrolled`.

    Args:
        last: how many of the steps, from the end, are differentiated, 1 to ``steps``.

    Source:
        Shaban, Cheng, Hatch and Boots (2019), arXiv:1810.10667, section 3.
    """

    steps: int = 20
    last: int = 5

    @property
    def _differentiated(self) -> int:
        return self.last
