import pytest
import torch

from dfl.errors import DflError, InvalidValueError, NotConvergedError, ShapeError
from dfl.hypergrad import Exact, Neumann, Truncated
from dfl.hypergrad.neumann import neumann
from tests.hypergrad.problems import network, ridge, solved
from tests.hypergrad.test_conjugate_gradient import SADDLE, distance, saddle
from tests.hypergrad.test_unrolled import gap


def test_its_error_falls_as_stated_and_reaches_the_exact_hypergradient() -> None:
    problem = ridge(3)
    values = torch.linalg.eigvalsh(problem.hessian)
    step = 0.9 / float(values.max())
    # q in the error bound's norm: the indirect part is -penalty * w * q
    factor = -problem.penalty * problem.solution
    truth = problem.truth["log_penalty"] / factor
    for terms in (5, 20, 80, 400):
        found = Neumann(terms=terms, step_size=step)(
            problem.composed, problem.outer_loss, problem.inner, problem.outer
        )
        error = (found.outer_grad["log_penalty"] / factor - truth).norm(dim=1)
        bound = (1 - step * values[:, 0]) ** terms
        assert bool((error / truth.norm(dim=1) <= bound + 1e-12).all())
    torch.testing.assert_close(found.outer_grad, problem.truth, rtol=1e-9, atol=1e-11)


def test_at_the_optimum_it_is_what_differentiating_as_many_steps_gives() -> None:
    problem = ridge()
    call = (problem.composed, problem.outer_loss, problem.inner, problem.outer)
    series = Neumann(terms=7, step_size=0.1)(*call)
    steps = Truncated(steps=9, last=7, step_size=0.1)(*call)
    torch.testing.assert_close(series.outer_grad, steps.outer_grad, rtol=1e-9, atol=1e-12)


def test_with_gauss_newton_products_it_reaches_their_exact_answer_on_a_network() -> None:
    problem = network(2)
    call = (problem.composed, problem.outer_loss, problem.inner, problem.outer)
    truth = Exact(damping=1.0, curvature="gauss-newton")(*call)
    found = Neumann(terms=300, damping=1.0, curvature="gauss-newton", rtol=1e-8)(*call)
    torch.testing.assert_close(found.outer_grad, truth.outer_grad, rtol=1e-6, atol=1e-9)


def test_a_saddle_makes_it_diverge_loudly() -> None:
    with pytest.raises(
        NotConvergedError,
        match=r"relative residual .* after 20 steps, goal 1, because its curvature -.* train",
    ):
        Neumann()(saddle, distance, *SADDLE)
    found = Neumann(on_failure="return")(saddle, distance, *SADDLE)
    assert float(found.diagnostics.residual) > 1
    assert float(found.diagnostics.curvature) < 0


def test_too_few_terms_for_a_goal_are_an_error() -> None:
    problem = ridge()
    call = (problem.composed, problem.outer_loss, problem.inner, problem.outer)
    with pytest.raises(NotConvergedError, match=r"goal 1e-06\. Raise terms, raise damping"):
        Neumann(terms=3, rtol=1e-6)(*call)
    assert float(Neumann(terms=3)(*call).diagnostics.residual) > 1e-6


def test_a_series_that_overflows_is_never_returned() -> None:
    with pytest.raises(InvalidValueError, match="must be finite"):
        Neumann(terms=60, step_size=1e6, on_failure="return")(saddle, distance, *SADDLE)


def test_a_loss_without_curvature_has_no_stable_step() -> None:
    with pytest.raises(InvalidValueError, match="'stable' needs curvature, but inner_loss has"):
        Neumann()(
            lambda inner, outer: inner["w"] * outer["center"],
            gap,
            {"w": torch.tensor(1.0)},
            {"center": torch.tensor(1.0)},
        )


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"terms": 0}, InvalidValueError, "terms must be >= 1, got 0"),
        ({"power_iterations": 0}, InvalidValueError, "power_iterations must be >= 1, got 0"),
        ({"step_size": 0.0}, InvalidValueError, "step_size must be a finite number > 0 or 'stab"),
        ({"rtol": 1.1}, InvalidValueError, r"rtol must be in \(0, 1\], got 1.1"),
        ({"damping": float("nan")}, InvalidValueError, "damping must be >= 0, got nan"),
        ({"curvature": ""}, InvalidValueError, "curvature must be one of 'hessian', 'gauss"),
        ({"on_failure": ""}, InvalidValueError, "on_failure must be one of 'raise', 'ret"),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, object], error: type[DflError], match: str
) -> None:
    with pytest.raises(error, match=match):
        Neumann(**options)  # type: ignore[arg-type]


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
