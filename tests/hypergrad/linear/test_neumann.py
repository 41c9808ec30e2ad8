import pytest
import torch

from dfl.errors import InvalidValueError, ShapeError
from dfl.hypergrad.linear import neumann
from tests.hypergrad.problems import solved

MATRIX = torch.tensor([[[2.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.0, 3.0]]], dtype=torch.float64)
RIGHT = torch.tensor([[1.0, -2.0], [3.0, 1.0]], dtype=torch.float64)
STEP = torch.tensor([0.4, 0.3], dtype=torch.float64)


def product(vector: torch.Tensor) -> torch.Tensor:
    return (MATRIX @ vector.unsqueeze(2)).squeeze(2)


@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_it_is_the_series_that_the_docstring_gives(damping: float) -> None:
    found = neumann(product, RIGHT, terms=4, step=STEP, rtol=1.0, damping=damping)
    keep = torch.eye(2) - STEP[:, None, None] * (MATRIX + damping * torch.eye(2))
    total = sum(torch.linalg.matrix_power(keep, power) @ RIGHT.unsqueeze(2) for power in range(4))
    torch.testing.assert_close(found.solution, STEP[:, None] * total.squeeze(2))
    left = (torch.linalg.matrix_power(keep, 4) @ RIGHT.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(found.residual, left.norm(dim=1) / RIGHT.norm(dim=1))
    assert found.iterations == 4


def test_the_error_falls_by_the_slowest_factor_with_every_term() -> None:
    truth = solved(MATRIX, RIGHT)
    lowest = torch.linalg.eigvalsh(MATRIX)[:, 0]
    for terms in (1, 5, 20, 80):
        found = neumann(product, RIGHT, terms=terms, step=STEP, rtol=1.0)
        error = (found.solution - truth).norm(dim=1) / truth.norm(dim=1)
        assert bool((error <= (1 - STEP * lowest) ** terms * 2 + 1e-14).all())
    assert bool((error < 1e-9).all())
    assert bool((found.residual < 1e-9).all())
    assert bool((found.curvature >= lowest - 1e-12).all())


def test_a_step_that_is_too_large_shows() -> None:
    found = neumann(product, RIGHT, terms=30, step=STEP * 4, rtol=1.0)
    assert bool((found.residual > 1).all())
    assert not bool(found.converged.any())


def test_zero_has_the_solution_zero_and_the_scale_cancels() -> None:
    zero = neumann(product, 0 * RIGHT, terms=3, step=STEP, rtol=0.1)
    assert not bool(zero.solution.any())
    assert bool(zero.converged.all())
    assert bool(zero.residual.eq(0).all())
    small, big = (
        neumann(lambda v: 2 * v, RIGHT.float() * size, terms=3, step=STEP.float(), rtol=1.0)
        for size in (1e-30, 1e30)
    )
    torch.testing.assert_close(small.solution / 1e-30, big.solution / 1e30)
    torch.testing.assert_close(small.residual, big.residual)


def test_one_term_has_met_no_curvature() -> None:
    assert bool(neumann(product, RIGHT, terms=1, step=STEP, rtol=1.0).curvature.isnan().all())


def test_bad_calls_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="terms must be >= 1, got 0"):
        neumann(product, RIGHT, terms=0, step=STEP, rtol=1.0)
    with pytest.raises(ShapeError, match=r"right_hand_side must be \(members, n\)"):
        neumann(product, RIGHT[0], terms=1, step=STEP, rtol=1.0)
    with pytest.raises(InvalidValueError, match="product must return finite numbers"):
        neumann(lambda v: v * torch.nan, RIGHT, terms=2, step=STEP, rtol=1.0)
