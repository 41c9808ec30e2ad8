import pytest
import torch
from torch import Tensor

from dfl.errors import DflError, InvalidValueError, NotConvergedError, ShapeError
from dfl.hypergrad import ComposedLoss, Exact, Nystrom, Parameters
from dfl.hypergrad.curvature.linear_system import LinearSolution
from dfl.hypergrad.nystrom import nystrom
from tests.hypergrad.problems import network, ridge
from tests.hypergrad.test_conjugate_gradient import SADDLE, distance, saddle


def test_its_defaults_solve_problems_of_more_than_a_few_parameters() -> None:
    curvature, goal = torch.linspace(0.5, 15, 15).double(), torch.linspace(-1, 1, 15).double()

    def inner_loss(inner: Parameters, outer: Parameters) -> Tensor:
        return (0.5 * curvature * inner["x"] ** 2 - outer["b"] * inner["x"]).sum()

    def outer_loss(inner: Parameters, outer: Parameters) -> Tensor:
        return 0.5 * ((inner["x"] - goal) ** 2).sum()

    found = Nystrom()(inner_loss, outer_loss, {"x": 1 / curvature}, {"b": torch.ones(15).double()})
    torch.testing.assert_close(
        found.outer_grad["b"], (1 / curvature - goal) / curvature, rtol=0.02, atol=1e-9
    )


def test_with_full_rank_it_is_the_damped_exact_hypergradient() -> None:
    problem = ridge(3)
    call = (problem.composed, problem.outer_loss, problem.inner, problem.outer)
    truth = Exact(damping=0.1)(*call)
    found = Nystrom(rank=5, damping=0.1)(*call)
    torch.testing.assert_close(found.outer_grad, truth.outer_grad, rtol=1e-10, atol=1e-12)
    assert bool((found.diagnostics.residual < 1e-10).all())


def test_a_curvature_of_low_rank_needs_no_more() -> None:
    """Two rows of data: the Gauss-Newton matrix of 32 parameters has rank 4."""
    problem = network(2)

    def outputs(inner: Parameters, outer: Parameters) -> torch.Tensor:
        found = problem.composed.outputs(inner, outer)[0]
        return found[:, :2] * outer["0.bias"].exp()[:, None, None]

    loss = ComposedLoss(outputs, lambda found, outer: (found**2).mean((-1, -2)))
    call = (loss, problem.outer_loss, problem.inner, problem.outer)
    truth = Exact(damping=0.1, curvature="gauss-newton")(*call)
    options = {"damping": 0.1, "curvature": "gauss-newton"}
    found = Nystrom(rank=4, **options)(*call)  # type: ignore[arg-type]
    torch.testing.assert_close(found.outer_grad, truth.outer_grad, rtol=1e-8, atol=1e-10)
    short = Nystrom(rank=2, **options, on_failure="return")(*call)  # type: ignore[arg-type]
    assert bool((short.diagnostics.residual > 1e-3).all())


def test_negative_curvature_that_the_damping_does_not_outweigh_is_loud() -> None:
    with pytest.raises(NotConvergedError, match=r"curvature -1\.00e\+00 is not positive"):
        Nystrom()(saddle, distance, *SADDLE)
    found = Nystrom(on_failure="return")(saddle, distance, *SADDLE)
    assert float(found.diagnostics.curvature) == pytest.approx(-1, rel=1e-5)


def test_an_answer_worse_than_none_is_loud() -> None:
    problem = network(seed=3)
    call = (problem.composed, problem.outer_loss, problem.inner, problem.outer)
    with pytest.raises(NotConvergedError, match=r"goal 1\. Raise rank, raise damping \(now 1e-06"):
        Nystrom(rank=2, damping=1e-6, curvature="gauss-newton")(*call)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"rank": 0}, InvalidValueError, "rank must be >= 1, got 0"),
        ({"damping": 0.0}, InvalidValueError, "damping must be > 0, got 0"),
        ({"damping": -1.0}, InvalidValueError, "damping must be >= 0, got -1"),
        ({"rtol": 2.0}, InvalidValueError, r"rtol must be in \(0, 1\], got 2"),
        ({"curvature": "h"}, InvalidValueError, "curvature must be one of 'hessian', 'gauss"),
        ({"on_failure": "x"}, InvalidValueError, "on_failure must be one of 'raise', 'ret"),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, object], error: type[DflError], match: str
) -> None:
    with pytest.raises(error, match=match):
        Nystrom(**options)  # type: ignore[arg-type]


SIZE, DAMPING = 12, 0.1


def draw(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def low_rank(rank: int) -> Tensor:  # (2, n, n)
    factor = draw(2, SIZE, rank)
    return factor @ factor.mT


def solve(matrix: Tensor, right: Tensor, rank: int, damping: float = DAMPING) -> LinearSolution:
    def product(vector: Tensor) -> Tensor:
        return (matrix @ vector.unsqueeze(2)).squeeze(2)

    return nystrom(product, right, draw(SIZE, rank), damping=damping, rtol=1.0)


def truth(matrix: Tensor, right: Tensor, damping: float = DAMPING) -> Tensor:
    damped = matrix + damping * torch.eye(SIZE, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(damped)
    return (vectors @ ((vectors.mT @ right.unsqueeze(2)) / values.unsqueeze(2))).squeeze(2)


@pytest.mark.parametrize("rank", [3, 5, SIZE])
def test_it_is_exact_once_the_sketch_has_the_rank_of_the_matrix(rank: int) -> None:
    matrix, right = low_rank(3), draw(2, SIZE)
    found = solve(matrix, right, rank)
    torch.testing.assert_close(found.solution, truth(matrix, right), rtol=1e-9, atol=1e-9)
    assert bool((found.residual < 1e-9).all())
    assert bool(found.converged.all())
    assert found.iterations == rank


def test_the_residual_stays_within_its_bound_and_falls_with_rank() -> None:
    matrix = low_rank(SIZE)
    right, residuals = draw(2, SIZE), []
    for rank in (2, 6, 10):
        found = solve(matrix, right, rank, damping=50.0)
        basis = torch.linalg.qr(draw(SIZE, rank))[0]
        image = matrix @ basis
        sketched = image @ torch.linalg.pinv(basis.mT @ image, hermitian=True) @ image.mT
        bound = torch.linalg.matrix_norm(matrix - sketched, 2) / 50.0
        assert bool((found.residual <= bound + 1e-12).all())
        residuals.append(float(found.residual.max()))
    assert residuals == sorted(residuals, reverse=True)


def test_negative_curvature_within_the_sketch_is_met_and_fails() -> None:
    matrix = low_rank(SIZE)
    matrix[1] = matrix[1] - 5 * torch.eye(SIZE)
    found = solve(matrix, draw(2, SIZE), SIZE)
    assert float(found.curvature[1]) < 0 < float(found.curvature[0])
    assert found.converged.tolist() == [True, False]
    assert bool(found.solution.isfinite().all())


def test_zero_has_the_solution_zero() -> None:
    found = solve(low_rank(3), torch.zeros(2, SIZE, dtype=torch.float64), 3)
    assert not bool(found.solution.any())
    assert bool(found.converged.all())


def test_a_matrix_of_zeros_leaves_the_damping() -> None:
    right = draw(2, SIZE)
    found = solve(torch.zeros(2, SIZE, SIZE, dtype=torch.float64), right, 3)
    torch.testing.assert_close(found.solution, right / DAMPING)


def test_bad_calls_are_refused() -> None:
    right = draw(2, SIZE)
    with pytest.raises(ShapeError, match=r"sketch must be \(12, rank\) with 1 <= rank <= 12, got"):
        nystrom(lambda v: v, right, draw(SIZE, SIZE + 1), damping=1.0, rtol=1.0)
    with pytest.raises(InvalidValueError, match="damping must be > 0, got 0"):
        nystrom(lambda v: v, right, draw(SIZE, 2), damping=0.0, rtol=1.0)
    with pytest.raises(InvalidValueError, match="product must return finite numbers"):
        nystrom(lambda v: v * torch.inf, right, draw(SIZE, 2), damping=1.0, rtol=1.0)
