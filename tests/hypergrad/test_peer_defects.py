"""Defects seen in public implementations of hypergradients, each as a test of ours."""

import pytest
import torch
from torch import Tensor

from dfl.errors import NotConvergedError
from dfl.hypergrad import (
    HYPERGRADIENTS,
    AbstractHypergradient,
    ComposedLoss,
    ConjugateGradient,
    Exact,
    GaussNewton,
    Parameters,
)
from dfl.hypergrad.conjugate_gradient import conjugate_gradient
from tests.hypergrad.problems import network

# Those that solve a linear system, with options under which they solve it to rounding.
SOLVERS: dict[str, dict[str, object]] = {
    "conjugate-gradient": {"rtol": 1e-6},
    "exact": {},
    "gauss-newton": {"rtol": 1e-6, "damping": 0.0},
    "neumann": {"terms": 60, "rtol": 1e-4},
    "nystrom": {"rank": 8, "damping": 1e-7, "rtol": 1e-3},
}


@pytest.fixture(params=SOLVERS)
def solver(request: pytest.FixtureRequest) -> AbstractHypergradient:
    return HYPERGRADIENTS.load(request.param)(**SOLVERS[request.param])


def quadratic(curvature: Tensor, scale: float = 1.0) -> ComposedLoss:
    """``scale / 2 * sum(curvature * (a - b)^2)``: the optimum is ``a = b``."""
    return ComposedLoss(
        lambda inner, outer: curvature.sqrt() * (inner["a"] - outer["b"]),
        lambda found, outer: scale / 2 * (found**2).sum(),
    )


def target(inner: Parameters, outer: Parameters) -> Tensor:
    return ((inner["a"] - torch.arange(1.0, 1 + inner["a"].numel())) ** 2).sum() / 2


def expected(size: int) -> Tensor:
    return -torch.arange(1.0, 1 + size)  # a* = b, so the derivative is a - target at a = 0


def test_a_system_solved_in_one_step_is_not_returned_one_step_early(
    solver: AbstractHypergradient,
) -> None:
    call = {"a": torch.zeros(4)}, {"b": torch.zeros(4)}
    found = solver(quadratic(torch.full((4,), 3.0)), target, *call)
    torch.testing.assert_close(found.outer_grad["b"], expected(4), rtol=1e-5, atol=1e-6)


def test_going_on_past_convergence_gives_no_nan() -> None:
    right = torch.ones(1, 3)
    found = conjugate_gradient(lambda v: 2 * v, right, max_iter=50, rtol=0.0)
    torch.testing.assert_close(found.solution, right / 2)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_problem_of_one_number_is_solved(
    solver: AbstractHypergradient, shape: tuple[int, ...]
) -> None:
    call = {"a": torch.zeros(shape)}, {"b": torch.zeros(shape)}
    found = solver(quadratic(torch.tensor(5.0)), target, *call)
    torch.testing.assert_close(found.outer_grad["b"], -torch.ones(shape), rtol=1e-5, atol=0)


def test_a_start_that_solves_the_system_stays() -> None:
    diagonal, right = torch.tensor([[1.0, 4.0]]), torch.tensor([[2.0, 8.0]])
    found = conjugate_gradient(
        lambda v: diagonal * v, right, max_iter=5, rtol=1e-6, start=right / diagonal
    )
    assert found.iterations == 0
    assert torch.equal(found.solution, right / diagonal)
    assert bool(found.converged.all())


def test_an_outer_loss_that_ignores_inner_leaves_the_direct_derivative(
    solver: AbstractHypergradient,
) -> None:
    found = solver(
        quadratic(torch.ones(3)),
        lambda inner, outer: (outer["b"] ** 2).sum(),
        {"a": torch.zeros(3)},
        {"b": torch.ones(3)},
    )
    assert torch.equal(found.outer_grad["b"], torch.full((3,), 2.0))
    assert float(found.diagnostics.residual) == 0


# A suite built to have negative curvature: a random rotation of a spectrum whose lowest
# eigenvalue is negative, and a right-hand side in all directions.
SPECTRA = [
    (size, seed, lowest) for size in (2, 10, 40) for seed in range(3) for lowest in (-1e-2, -1.0)
]


@pytest.mark.parametrize(("size", "seed", "lowest"), SPECTRA)
@pytest.mark.parametrize("name", ["conjugate-gradient", "exact", "neumann"])
def test_negative_curvature_is_met_and_reported(
    name: str, size: int, seed: int, lowest: float
) -> None:
    generator = torch.Generator().manual_seed(100 * size + seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    basis = torch.linalg.qr(draw(size, size))[0]
    spectrum = 10 ** torch.linspace(-1.0, 1.0, size, dtype=torch.float64)
    spectrum[0] = lowest
    matrix = basis @ torch.diag(spectrum) @ basis.T

    def saddle(inner: Parameters, outer: Parameters) -> Tensor:
        gap = inner["a"] - outer["b"]
        return gap @ matrix @ gap / 2

    inner = {"a": torch.zeros(size, dtype=torch.float64)}
    slope = draw(size)
    options = {
        "conjugate-gradient": {"rtol": 1e-10, "max_iter": 200},
        "neumann": {"terms": 200 if lowest == -1.0 else 3000, "step_size": 0.15},
    }.get(name, {})
    call = (saddle, lambda inner, outer: inner["a"] @ slope, inner, {"b": inner["a"]})
    found = HYPERGRADIENTS.load(name)(on_failure="return", **options)(*call)
    assert float(found.diagnostics.curvature) < 0
    assert "negative!" in found.diagnostics.describe()
    if name == "exact":  # a saddle has an inverse all the same
        torch.testing.assert_close(found.outer_grad["b"], slope)
    elif lowest == -1.0:
        with pytest.raises(NotConvergedError, match="because its curvature -"):
            HYPERGRADIENTS.load(name)(**options)(*call)


@pytest.mark.parametrize("seed", range(10))
def test_an_untrained_network_shows_its_negative_curvature_and_gauss_newton_has_none(
    seed: int, dtype: torch.dtype
) -> None:
    problem = network(seed=seed, dtype=dtype)
    call = (problem.composed, problem.outer_loss, problem.inner, problem.outer)
    assert float(Exact()(*call).diagnostics.curvature) < 0
    plain = ConjugateGradient(max_iter=100, rtol=0.0, on_failure="return")(*call)
    assert float(plain.diagnostics.curvature) < 0
    solved = GaussNewton(max_iter=300, rtol=1e-6, damping=1e-2)(*call)  # raises if it misses
    assert float(solved.diagnostics.residual) <= 1e-6
    assert float(solved.diagnostics.curvature) > 0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_scale_of_the_inner_loss_cancels(solver: AbstractHypergradient, scale: float) -> None:
    """A step or damping that enters the system but not the answer shows here."""
    curvature = torch.tensor([1.0, 2.0, 4.0])
    call = {"a": torch.zeros(3)}, {"b": torch.zeros(3)}
    found = solver(quadratic(curvature, scale), target, *call)
    torch.testing.assert_close(found.outer_grad["b"], expected(3), rtol=2e-3, atol=0)


def test_second_order_is_refused(solver: AbstractHypergradient) -> None:
    outer = {"b": torch.zeros(3, requires_grad=True)}
    found = solver(quadratic(torch.ones(3)), target, {"a": torch.zeros(3)}, outer)
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.autograd.grad(found.outer_grad["b"].sum(), outer["b"])
