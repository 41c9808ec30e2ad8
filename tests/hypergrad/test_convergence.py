import pytest
import torch

from dfl.errors import InvalidValueError, NotConvergedError
from dfl.hypergrad.convergence import check_on_failure, require_converged
from dfl.hypergrad.linear import LinearSolution


def solution(residual: list[float], curvature: list[float]) -> LinearSolution:
    left = torch.tensor(residual)
    return LinearSolution(torch.zeros(len(left), 2), 7, left, torch.tensor(curvature), left <= 1e-3)


def judge(found: LinearSolution, damping: float = 0.0) -> None:
    require_converged(found, rtol=1e-3, damping=damping, matrix="matrix", remedy="try this")


def test_solved_systems_pass_whatever_curvature_they_met() -> None:
    judge(solution([1e-4, 0.0], [-0.5, float("nan")]), damping=1.0)


def test_the_worst_member_is_named_with_residual_goal_and_remedies() -> None:
    with pytest.raises(
        NotConvergedError,
        match=r"matrix is not solved for 2 of 3 members \(worst: 2\): relative residual 5\.00e-01 "
        r"after 7 steps, goal 0\.001\. Raise max_iter, raise damping \(now 0\.1\), loosen rtol, or "
        r"take the answer as it is with on_failure='return'\.",
    ):
        judge(solution([0.1, 0.0, 0.5], [1.0, 1.0, 1.0]), damping=0.1)


def test_negative_curvature_is_named_first() -> None:
    with pytest.raises(
        NotConvergedError,
        match=r"members \(worst: 0\).*because its curvature -2\.00e\+00 is not positive\. Raise "
        r"damping \(now 0\) above 2\.00e\+00, try this, or take",
    ):
        judge(solution([0.1, 0.5], [-2.0, 1.0]))


def test_negative_curvature_that_the_damping_outweighs_is_not_blamed() -> None:
    with pytest.raises(NotConvergedError, match=r"goal 0\.001\. Raise max_iter"):
        judge(solution([0.5], [-0.5]), damping=1.0)


def test_a_single_system_has_no_member_number() -> None:
    with pytest.raises(NotConvergedError, match="matrix is not solved: relative residual"):
        judge(solution([0.1], [1.0]))


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="must be 'raise' or 'return', got 'warn'"):
        check_on_failure("warn")
