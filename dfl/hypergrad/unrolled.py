"""`Unrolled`: differentiates through the descent steps themselves."""

from dataclasses import dataclass
from typing import final

from dfl.hypergrad.steps.unroll import AbstractUnrolled

__all__ = ["Unrolled"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Unrolled(AbstractUnrolled):
    """Differentiates the outer loss through all of ``steps`` descent steps.

    Tends to the implicit gradient as the steps reach the minimum. Options and errors as in
    `AbstractUnrolled`.

    Source:
        Maclaurin, Duvenaud and Adams (2015), arXiv:1502.03492, with the graph kept instead
        of the steps reversed; Franceschi et al. (2017), arXiv:1703.01785, reverse mode.
    """

    steps: int = 5

    @property
    def _differentiated(self) -> int:
        return self.steps
