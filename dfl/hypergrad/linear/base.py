"""What a linear solver is given, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

from torch import Tensor

__all__ = ["LinearSolution", "Product"]

Product: TypeAlias = Callable[[Tensor], Tensor]
"""``v -> A v``, ``(members, n) -> (members, n)``; each row has a symmetric matrix of its own."""


@final
@dataclass(frozen=True, eq=False)
class LinearSolution:
    """Approximate solution of ``(A + damping I) x = b``, one system per member.

    Args:
        solution: ``x``. Shape ``(members, n)``.
        iterations: steps done, one product each, all members at once.
        residual: ``|b - (A + damping I) x| / |b|``, computed anew from the solution, no
            unit; 0 where ``b`` is 0. Shape ``(members,)``.
        curvature: smallest ``p.Ap / p.p`` met, without the damping, in units of ``A``; NaN
            for a member that took no step. Shape ``(members,)``.
        converged: whether the residual is within the tolerance. Shape ``(members,)``, bool.
    """

    solution: Tensor
    iterations: int
    residual: Tensor
    curvature: Tensor
    converged: Tensor
