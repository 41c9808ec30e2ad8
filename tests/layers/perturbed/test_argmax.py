"""Calling any argmax: lifting one instance to a batch, checks, and the problems of the tests."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.testing import assert_close

from dfl.layers import each_row, one_hot_argmax
from dfl.layers.perturbed.argmax import decide_rows, hard_decision
from tests.layers.problems import GridPath, TopK, all_paths


def values(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def best_one(row: NDArray[np.float64]) -> list[int]:
    return [int(index == row.argmax()) for index in range(len(row))]


def test_a_function_of_one_instance_serves_a_batch(
    dtype: torch.dtype, device: torch.device
) -> None:
    given = values(7, 5).to(device, dtype).requires_grad_()
    found = each_row(best_one)(given)
    assert_close(found, one_hot_argmax(given.detach()))


def test_an_empty_batch_has_no_decisions() -> None:
    assert each_row(best_one)(values(0, 5)).shape == (0, 5)


def test_leading_axes_and_mapped_axes_reach_the_argmax_as_rows() -> None:
    seen = []

    def argmax(rows: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(rows.shape))
        return one_hot_argmax(rows)

    given = values(2, 3, 4)
    assert_close(decide_rows(argmax, given), one_hot_argmax(given))
    mapped = torch.func.vmap(lambda one: hard_decision(argmax, one), in_dims=1)(given)
    assert_close(mapped, one_hot_argmax(given).movedim(1, 0))
    assert seen == [(6, 4), (6, 4)]


def test_a_hard_decision_has_no_gradient() -> None:
    given = values(3, 4).requires_grad_()
    assert not hard_decision(one_hot_argmax, given).requires_grad


@pytest.mark.parametrize("side", [2, 3, 4])
def test_the_path_of_the_examples_is_the_best_of_all(side: int) -> None:
    given, paths = values(50, side * side), all_paths(side)
    found = GridPath(side)(given)
    assert bool((found.sum(dim=1) == 2 * side - 1).all())
    assert_close((given * found).sum(dim=1), (given @ paths.T).amax(dim=1))


def test_the_top_k_of_the_examples_is_the_best_of_all() -> None:
    given = values(50, 6)
    best = given.sort(dim=1, descending=True).values[:, :3].sum(dim=1)
    assert_close((given * TopK(3)(given)).sum(dim=1), best)
