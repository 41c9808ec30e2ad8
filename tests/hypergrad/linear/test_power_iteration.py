import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.hypergrad.linear import power_iteration


def test_it_is_the_largest_absolute_eigenvalue_of_every_member() -> None:
    diagonal = torch.tensor([[1.0, 2.0, -4.0], [0.1, 3.0, 0.2]])
    found = power_iteration(lambda v: diagonal * v, torch.ones(2, 3), iterations=30)
    torch.testing.assert_close(found, torch.tensor([4.0, 3.0]))


def test_no_iteration_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="iterations must be >= 1, got 0"):
        power_iteration(lambda v: v, torch.ones(1, 1), iterations=0)
