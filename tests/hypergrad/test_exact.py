import pytest
import torch
from torch import Tensor

from dfl.errors import DflError, InvalidValueError, NotConvergedError
from dfl.hypergrad import ConjugateGradient, Exact, GaussNewton, Parameters
from dfl.hypergrad.curvature.linear_system import LinearSolution
from dfl.hypergrad.curvature.point import Point
from dfl.hypergrad.curvature.products import hessian
from dfl.hypergrad.exact import dense
from tests.hypergrad.curvature.test_products import matrix_of
from tests.hypergrad.problems import network, ridge
from tests.hypergrad.test_conjugate_gradient import SADDLE, distance, saddle


def test_it_equals_the_closed_form_of_ridge_to_rounding() -> None:
    problem = ridge(3)
    found = Exact()(problem.composed, problem.outer_loss, problem.inner, problem.outer)
    for name, truth in problem.truth.items():
        torch.testing.assert_close(found.outer_grad[name], truth, rtol=1e-12, atol=1e-14)
    smallest = torch.linalg.eigvalsh(problem.hessian)[:, 0]
    torch.testing.assert_close(found.diagnostics.curvature, smallest)


def test_iterative_methods_agree_with_it_on_a_network() -> None:
    problem = network(2)
    call = (problem.composed, problem.outer_loss, problem.inner, problem.outer)
    smallest = torch.linalg.eigvalsh(
        matrix_of(hessian(problem.composed, Point.at(problem.inner, problem.outer)), 32)
    )[:, 0]
    truth = Exact(damping=5.0)(*call)
    torch.testing.assert_close(truth.diagnostics.curvature, smallest)
    iterative = ConjugateGradient(damping=5.0, rtol=1e-12)(*call)
    torch.testing.assert_close(truth.outer_grad, iterative.outer_grad, rtol=1e-8, atol=1e-10)
    truth = Exact(damping=0.1, curvature="gauss-newton")(*call)
    assert bool((truth.diagnostics.curvature > 0).all())
    iterative = GaussNewton(damping=0.1, rtol=1e-12)(*call)
    torch.testing.assert_close(truth.outer_grad, iterative.outer_grad, rtol=1e-8, atol=1e-10)


def test_a_saddle_is_solved_and_reported() -> None:
    inner, outer = {"a": torch.tensor([0.5, 0.25])}, SADDLE[1]
    found = Exact()(saddle, distance, inner, outer)
    # slope of distance (0.4, -1.5); H = diag(2, -1); mixed derivative (2 * 0.5, -0.25)
    torch.testing.assert_close(found.outer_grad["b"], -torch.tensor(0.4 / 2 - 0.25 * 1.5))
    assert float(found.diagnostics.curvature) == -1.0


def flat(inner: Parameters, outer: Parameters) -> torch.Tensor:
    return (inner["a"][0] * outer["b"]) ** 2


def test_a_system_without_a_solution_is_loud() -> None:
    call = (flat, distance, {"a": torch.zeros(2)}, {"b": torch.tensor(1.0)})
    with pytest.raises(NotConvergedError, match=r"curvature 0\.00e\+00 is not positive"):
        Exact()(*call)
    with pytest.raises(NotConvergedError, match="Leave parameters without effect out of inner"):
        Exact(damping=1e-30)(*call)
    found = Exact(on_failure="return")(*call)
    assert float(found.diagnostics.residual) > 0.9


def test_large_problems_are_refused_with_advice() -> None:
    problem = network(2)
    with pytest.raises(
        InvalidValueError,
        match=r"at most max_size = 31 numbers per member, got 32: .* Use ConjugateGradient or Gau",
    ):
        Exact(max_size=31)(problem.composed, problem.outer_loss, problem.inner, problem.outer)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"damping": -1.0}, InvalidValueError, "damping must be >= 0, got -1"),
        ({"rtol": 0.0}, InvalidValueError, r"rtol must be in \(0, 1\], got 0"),
        ({"max_size": 0}, InvalidValueError, "max_size must be >= 1, got 0"),
        (
            {"curvature": "none"},
            InvalidValueError,
            "curvature must be one of 'hessian', 'gauss-newton'",
        ),
        (
            {"on_failure": "no"},
            InvalidValueError,
            "on_failure must be one of 'raise', 'return'",
        ),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, object], error: type[DflError], match: str
) -> None:
    with pytest.raises(error, match=match):
        Exact(**options)  # type: ignore[arg-type]


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
