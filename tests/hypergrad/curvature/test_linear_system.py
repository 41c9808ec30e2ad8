import pytest
import torch

from dfl.errors import InvalidValueError, NotConvergedError, ShapeError
from dfl.hypergrad.curvature.linear_system import (
    LinearSolution,
    balance,
    check_products,
    relative_residual,
    require_converged,
)


def test_the_size_of_a_row_is_the_power_of_two_below_it() -> None:
    rows = torch.tensor([[3.0, -5.0], [0.3, 0.2], [1e-38, 0.0]])
    assert balance(rows).squeeze(1).tolist() == [4.0, 0.25, 2.0**-127]


def test_a_relative_residual_counts_the_damping_and_zero_is_solved() -> None:
    right, solution = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[1.0, 1.0], [0, 0]])
    found = relative_residual(lambda v: 2 * v, solution, right, 1.0)
    torch.testing.assert_close(found, torch.tensor([1 / 5, 0.0]))


def test_bad_vectors_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"must be \(members, n\) with n >= 1, got \(3,\)"):
        balance(torch.ones(3))
    with pytest.raises(InvalidValueError, match="right_hand_side must be finite"):
        balance(torch.tensor([[torch.inf]]))
    with pytest.raises(InvalidValueError, match="product must return finite numbers"):
        check_products(torch.tensor([True, False]))


def solution(residual: list[float], curvature: list[float]) -> LinearSolution:
    left = torch.tensor(residual)
    return LinearSolution(torch.zeros(len(left), 2), 7, left, torch.tensor(curvature), left <= 1e-3)


def judge(found: LinearSolution, damping: float = 0.0) -> None:
    require_converged(
        found,
        rtol=1e-3,
        damping=damping,
        matrix="matrix",
        remedy="try this",
        effort="Raise max_iter",
    )


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
