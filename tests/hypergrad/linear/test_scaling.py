import pytest
import torch

from dfl.errors import InvalidValueError, ShapeError
from dfl.hypergrad.linear.scaling import (
    check_products,
    check_right_hand_side,
    power_of_two,
    relative_residual,
)


def test_the_size_of_a_row_is_the_power_of_two_below_it() -> None:
    rows = torch.tensor([[3.0, -5.0], [0.3, 0.2], [1e-38, 0.0]])
    assert power_of_two(rows).squeeze(1).tolist() == [4.0, 0.25, 2.0**-127]


def test_a_relative_residual_counts_the_damping_and_zero_is_solved() -> None:
    right, solution = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[1.0, 1.0], [0, 0]])
    found = relative_residual(lambda v: 2 * v, solution, right, 1.0)
    torch.testing.assert_close(found, torch.tensor([1 / 5, 0.0]))


def test_bad_vectors_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"must be \(members, n\) with n >= 1, got \(3,\)"):
        check_right_hand_side(torch.ones(3))
    with pytest.raises(InvalidValueError, match="right_hand_side must be finite"):
        check_right_hand_side(torch.tensor([[torch.inf]]))
    with pytest.raises(InvalidValueError, match="product must return finite numbers"):
        check_products(torch.tensor([True, False]))
