"""`LinearSolution`, and what every solver of linear systems does: balance, measure, judge."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dfl.checks import put_off
from dfl.errors import InvalidValueError, NotConvergedError, ShapeError
from dfl.hypergrad.curvature.base import Product

__all__ = [
    "LinearSolution",
    "balance",
    "check_products",
    "relative_residual",
    "require_converged",
]


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


def balance(right_hand_side: Tensor) -> Tensor:
    """Check ``b`` and return the size of each row: divided by it, squares keep in range.

    A power of two, because dividing by one does not round.

    Args:
        right_hand_side: ``b``. Shape ``(members, n)``.

    Returns:
        Shape ``(members, 1)``.

    Raises:
        ShapeError: if ``right_hand_side`` has another shape.
        InvalidValueError: if an entry is not finite.
    """
    shape = tuple(right_hand_side.shape)
    if len(shape) != 2 or shape[1] == 0:
        raise ShapeError(f"right_hand_side must be (members, n) with n >= 1, got {shape}.")
    finite = right_hand_side.isfinite().all()
    text = "right_hand_side must be finite, got NaN or infinity."
    if not put_off(finite, text) and not bool(finite):
        raise InvalidValueError(text)
    exponent = torch.frexp(right_hand_side.abs().amax(dim=1, keepdim=True)).exponent - 1
    return torch.ldexp(torch.ones_like(right_hand_side[:, :1]), exponent)


def check_products(finite: Tensor) -> None:
    """Refuse a matrix whose products are not finite numbers.

    Args:
        finite: whether they were. Any shape, bool.

    Raises:
        InvalidValueError: if one was not.
    """
    text = (
        "product must return finite numbers, got NaN or infinity: the matrix has entries that "
        "overflow, or NaN."
    )
    if not put_off(finite.all(), text) and not bool(finite.all()):
        raise InvalidValueError(text)


def relative_residual(
    product: Product, solution: Tensor, right_hand_side: Tensor, damping: float
) -> Tensor:
    """Return ``|b - (A + damping I) x| / |b|``, 0 where both are 0. Costs one product.

    Args:
        product: ``v -> A v``.
        solution: ``x``. Shape ``(members, n)``.
        right_hand_side: ``b``. Shape ``(members, n)``.
        damping: added to the diagonal.

    Returns:
        No unit. Shape ``(members,)``.
    """
    gap = right_hand_side - product(solution) - damping * solution
    length = torch.linalg.vector_norm(right_hand_side, dim=1)
    residual: Tensor = torch.linalg.vector_norm(gap, dim=1) / torch.where(length > 0, length, 1.0)
    return residual


def require_converged(
    solution: LinearSolution,
    *,
    rtol: float,
    damping: float,
    matrix: str,
    remedy: str,
    effort: str,
) -> None:
    """Raise unless every member's system is solved.

    Args:
        solution: what the solver returned.
        rtol: the goal it was given.
        damping: the damping it was given.
        matrix: what the matrix is, for the message: ``"inner Hessian"``.
        remedy: what helps against curvature that is not positive, for the message.
        effort: what brings the goal nearer, for the message.

    Raises:
        NotConvergedError: naming the worst member, its residual, the goal and remedies.
    """
    failed = (~solution.converged).nonzero().flatten()
    if not len(failed):
        return
    curved = failed[solution.curvature[failed] + damping <= 0]
    among = curved if len(curved) else failed
    worst = int(among[solution.residual[among].argmax()])
    whom = ""
    if len(solution.converged) > 1:
        whom = f" for {len(failed)} of {len(solution.converged)} members (worst: {worst})"
    came = (
        f"not solved{whom}: relative residual {float(solution.residual[worst]):.2e} after "
        f"{solution.iterations} steps, goal {rtol:g}"
    )
    last = "or take the answer as it is with on_failure='return'."
    curvature = float(solution.curvature[worst])
    if len(curved):
        raise NotConvergedError(
            f"The system of the {matrix} is {came}, because its curvature {curvature:.2e} is not "
            f"positive. Raise damping (now {damping:g}) above {-curvature:.2e}, {remedy}, {last}"
        )
    raise NotConvergedError(
        f"The system of the {matrix} is {came}. {effort}, raise damping (now {damping:g}), "
        f"loosen rtol, {last}"
    )
