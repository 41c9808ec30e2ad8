"""What happens when an iterative method misses its goal: the option and the error."""

from math import isfinite
from typing import Literal, TypeAlias

from dfl.errors import InvalidValueError, NotConvergedError
from dfl.hypergrad.linear import LinearSolution

__all__ = [
    "OnFailure",
    "check_damping",
    "check_goal",
    "check_on_failure",
    "require_converged",
]

OnFailure: TypeAlias = Literal["raise", "return"]


def check_on_failure(on_failure: str) -> None:
    """Check the option ``on_failure``.

    Raises:
        InvalidValueError: if it is neither ``"raise"`` nor ``"return"``.
    """
    if on_failure not in ("raise", "return"):
        raise InvalidValueError(f"on_failure must be 'raise' or 'return', got {on_failure!r}.")


def check_goal(rtol: float) -> None:
    """Check the option ``rtol`` of a method that always spends its whole effort.

    Raises:
        InvalidValueError: if it is not in (0, 1].
    """
    if not 0 < rtol <= 1:
        raise InvalidValueError(f"rtol must be in (0, 1], got {rtol:g}.")


def check_damping(damping: float) -> None:
    """Check the option ``damping``.

    Raises:
        InvalidValueError: if it is negative or not finite.
    """
    if not (damping >= 0 and isfinite(damping)):
        raise InvalidValueError(f"damping must be >= 0 and finite, got {damping:g}.")


def require_converged(
    solution: LinearSolution,
    *,
    rtol: float,
    damping: float,
    matrix: str,
    remedy: str,
    effort: str = "Raise max_iter",
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
