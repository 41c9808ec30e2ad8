import pytest
import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.hypergrad.linear import LinearSolution, dense

RIGHT = torch.tensor([[1.0, 2.0, 3.0]] * 4, dtype=torch.float64)
DIAGONALS = torch.tensor(
    [[1.0, 2.0, 4.0], [1.0, -2.0, 4.0], [1.0, 2.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64
)


def rotated() -> tuple[Tensor, Tensor]:
    """Definite, indefinite and singular matrices, and an orthogonal one."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    return basis @ torch.diag_embed(DIAGONALS) @ basis.T, basis


def solve(right: Tensor, damping: float = 0.0, rtol: float = 1e-10) -> LinearSolution:
    matrix = rotated()[0]
    return dense(lambda v: (matrix @ v.unsqueeze(2)).squeeze(2), right, damping=damping, rtol=rtol)


def test_definite_and_indefinite_matrices_are_solved_and_told_apart() -> None:
    _, basis = rotated()
    found = solve(RIGHT)
    for index in (0, 1):
        expected = basis @ ((basis.T @ RIGHT[index]) / DIAGONALS[index])
        torch.testing.assert_close(found.solution[index], expected)
    assert found.converged.tolist() == [True, True, False, False]
    torch.testing.assert_close(found.curvature, DIAGONALS.min(dim=1).values, rtol=0, atol=1e-12)
    assert found.iterations == 3


def test_a_singular_matrix_is_solved_where_a_solution_exists() -> None:
    _, basis = rotated()
    inside = basis @ torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)
    found = solve(inside.expand(4, 3))
    assert found.converged.tolist() == [True, True, True, False]
    shortest = basis @ torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(found.solution[2], shortest)


def test_damping_makes_it_definite() -> None:
    found = solve(RIGHT, damping=3.0)
    _, basis = rotated()
    torch.testing.assert_close(
        found.solution, (basis @ ((basis.T @ RIGHT[0]) / (DIAGONALS + 3)).unsqueeze(2)).squeeze(2)
    )
    assert bool(found.converged.all())


def test_float32_is_solved_in_float64_and_keeps_its_dtype() -> None:
    matrix = rotated()[0].float()[:1]
    found = dense(
        lambda v: (matrix @ v.unsqueeze(2)).squeeze(2), 1e30 * RIGHT[:1].float(), rtol=1.0
    )
    assert found.solution.dtype == found.residual.dtype == torch.float32
    torch.testing.assert_close(found.solution.double() / 1e30, solve(RIGHT).solution[:1])
    assert float(found.residual) < 1e-12


def test_zero_has_the_solution_zero() -> None:
    found = solve(torch.zeros_like(RIGHT))
    assert not bool(found.solution.any())
    assert bool(found.converged.all())


def test_products_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="product must return finite numbers"):
        dense(lambda v: v / 0, RIGHT, rtol=1.0)
