from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dfl.errors import DflError, InvalidValueError, NotConvergedError, ShapeError
from dfl.hypergrad import ConjugateGradient, GaussNewton, Parameters
from dfl.hypergrad.conjugate_gradient import conjugate_gradient
from dfl.hypergrad.curvature.linear_system import LinearSolution
from dfl.hypergrad.curvature.point import Point
from dfl.hypergrad.curvature.products import hessian
from dfl.hypergrad.steps.look_ahead import moved
from tests.hypergrad.problems import Network, network, ridge, solved


def test_it_equals_the_closed_form_of_ridge_regression() -> None:
    problem = ridge()
    found = ConjugateGradient(rtol=1e-13)(
        problem.inner_loss, problem.outer_loss, problem.inner, problem.outer
    )
    for name, exact in problem.truth.items():
        torch.testing.assert_close(found.outer_grad[name], exact, rtol=1e-10, atol=1e-12)
    assert found.diagnostics.iterations <= 6
    assert float(found.diagnostics.residual) < 1e-13
    assert float(found.diagnostics.inner_gradient) < 1e-13
    smallest = float(torch.linalg.eigvalsh(problem.hessian)[0])
    assert float(found.diagnostics.curvature) >= smallest


def test_it_equals_the_closed_form_of_ridge_regression_in_float32() -> None:
    problem = ridge(dtype=torch.float32)
    found = ConjugateGradient(rtol=1e-6)(
        problem.inner_loss, problem.outer_loss, problem.inner, problem.outer
    )
    for name, exact in ridge().truth.items():
        torch.testing.assert_close(found.outer_grad[name].double(), exact, rtol=1e-4, atol=1e-6)


def optimum(problem: Network, inner: Parameters, outer: Parameters) -> Parameters:
    """Minimise the inner loss by Newton steps, far below the accuracy that is tested."""
    for _ in range(50):
        curvature = hessian(problem.composed, Point.at(inner, outer))
        slope = curvature.inner_gradient
        if float(slope.norm()) < 1e-12:
            return inner
        unit = torch.eye(slope.shape[1], dtype=slope.dtype)
        matrix = torch.cat([curvature.product(row.unsqueeze(0)) for row in unit])
        values, basis = torch.linalg.eigh(matrix)
        newton = basis @ ((basis.T @ slope[0]) / values.abs().clamp(min=1e-3))
        step = curvature.layout.unflatten(newton.unsqueeze(0))
        limit, size = problem.composed(inner, outer) + 1e-14, torch.tensor(1.0)
        while size > 1e-9 and problem.composed(moved(inner, step, size), outer) > limit:
            size = size / 2
        inner = moved(inner, step, size)
    raise AssertionError("the inner problem of this test does not converge")


def test_it_equals_finite_differences_through_a_network_trained_anew() -> None:
    problem = network(sizes=(3, 4, 2), seed=1)
    best = optimum(problem, problem.inner, problem.outer)
    found = ConjugateGradient(rtol=1e-10)(problem.composed, problem.outer_loss, best, problem.outer)
    assert float(found.diagnostics.inner_gradient) < 1e-11
    assert float(found.diagnostics.curvature) > 0
    step = 1e-4
    for name, value in problem.outer.items():
        ends = []
        for sign in (1, -1):
            outer = problem.outer | {name: value + sign * step}
            ends.append(problem.outer_loss(optimum(problem, best, outer), outer))
        difference = (ends[0] - ends[1]) / (2 * step)
        assert float(difference.abs()) > 1e-6  # above the noise of the differences
        torch.testing.assert_close(found.outer_grad[name], difference, rtol=1e-3, atol=0)


def saddle(inner: Parameters, outer: Parameters) -> Tensor:
    """Curvature 2 along one parameter, -1 along the other."""
    return (inner["a"] ** 2 * torch.tensor([1.0, -0.5]) * outer["b"]).sum(-1)


SADDLE = {"a": torch.tensor([0.0, 0.0])}, {"b": torch.tensor(1.0)}


def distance(inner: Parameters, outer: Parameters) -> Tensor:
    return ((inner["a"] - torch.tensor([0.3, 1.0])) ** 2).sum(-1)


def test_negative_curvature_is_an_error_with_remedies() -> None:
    with pytest.raises(
        NotConvergedError,
        match=r"inner Hessian is not solved: relative residual .* goal 1e-05, because its "
        r"curvature -.* Raise damping \(now 0\) above .* train inner closer .*'gauss-newton'",
    ):
        ConjugateGradient()(saddle, distance, *SADDLE)


def test_negative_curvature_is_returned_where_asked_for() -> None:
    found = ConjugateGradient(on_failure="return")(saddle, distance, *SADDLE)
    assert float(found.diagnostics.curvature) < 0
    assert float(found.diagnostics.residual) <= 1


def test_damping_above_the_negative_curvature_solves_the_damped_system() -> None:
    inner, outer = {"a": torch.tensor([1.0, 1.0])}, SADDLE[1]
    found = ConjugateGradient(damping=3.0)(saddle, distance, inner, outer)
    # slope of distance: (1.4, 0); mixed derivative: (2 a_1, -a_2) = (2, -1); H + 3 = (5, 2)
    torch.testing.assert_close(found.outer_grad["b"], torch.tensor(-1.4 * 2 / 5))
    assert float(found.diagnostics.curvature) == pytest.approx(2.0, rel=1e-6)


def test_too_few_steps_are_an_error_unless_the_answer_is_asked_for() -> None:
    problem = ridge()
    call = (problem.inner_loss, problem.outer_loss, problem.inner, problem.outer)
    with pytest.raises(NotConvergedError, match=r"after 2 steps, goal 1e-09\. Raise max_iter"):
        ConjugateGradient(max_iter=2, rtol=1e-9)(*call)
    found = ConjugateGradient(max_iter=2, rtol=1e-9, on_failure="return")(*call)
    assert found.diagnostics.iterations == 2
    assert 1e-9 < float(found.diagnostics.residual) < 1


def test_a_member_that_fails_is_named() -> None:
    problem = ridge(3)
    outer = problem.outer
    flipped = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)

    def inner_loss(inner: Parameters, outer: Parameters) -> Tensor:
        return problem.inner_loss(inner, outer) * flipped

    with pytest.raises(NotConvergedError, match=r"for 1 of 3 members \(worst: 1\)"):
        ConjugateGradient(rtol=1e-10)(inner_loss, problem.outer_loss, problem.inner, outer)


def test_the_scale_of_the_inner_loss_cancels_and_that_of_the_damping_follows_it() -> None:
    problem = ridge()
    plain = ConjugateGradient(rtol=1e-12, damping=0.5)(
        problem.inner_loss, problem.outer_loss, problem.inner, problem.outer
    )
    scaled = ConjugateGradient(rtol=1e-12, damping=50.0)(
        lambda inner, outer: 100 * problem.inner_loss(inner, outer),
        problem.outer_loss,
        problem.inner,
        problem.outer,
    )
    torch.testing.assert_close(plain.outer_grad, scaled.outer_grad)
    assert not torch.allclose(plain.outer_grad["log_penalty"], problem.truth["log_penalty"])


def test_a_second_hypergradient_at_the_same_point_is_the_same() -> None:
    """Nothing is kept from the call before: no start that has converged already."""
    problem = ridge()
    solver = ConjugateGradient(rtol=1e-12)
    call = (problem.inner_loss, problem.outer_loss, problem.inner, problem.outer)
    first, second = solver(*call), solver(*call)
    assert first.diagnostics.iterations == second.diagnostics.iterations > 0
    assert torch.equal(first.outer_grad["log_penalty"], second.outer_grad["log_penalty"])


@pytest.mark.parametrize("kind", [ConjugateGradient, GaussNewton])
@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"max_iter": 0}, InvalidValueError, "max_iter must be >= 1, got 0"),
        ({"rtol": 1.5}, InvalidValueError, r"rtol must be in \[0, 1\), got 1.5"),
        ({"damping": -1.0}, InvalidValueError, "damping must be >= 0, got -1"),
        (
            {"on_failure": "warn"},
            InvalidValueError,
            "on_failure must be one of 'raise', 'return'",
        ),
    ],
)
def test_bad_options_are_refused(
    kind: type, options: dict[str, object], error: type[DflError], match: str
) -> None:
    with pytest.raises(error, match=match):
        kind(**options)


def times(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda vector: (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def diagonal(*rows: list[float], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.diag_embed(torch.tensor(rows, dtype=dtype))


def positive_definite(members: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(members, n, n, generator=generator, dtype=torch.float64)
    right = torch.randn(members, n, generator=generator, dtype=torch.float64)
    return root @ root.mT + 0.3 * torch.eye(n, dtype=torch.float64), right


def solve(matrix: Tensor, right: Tensor, **options: float) -> LinearSolution:
    settings = {"max_iter": 100, "rtol": 1e-12} | options
    return conjugate_gradient(times(matrix), right, **settings)  # type: ignore[arg-type]


@given(st.integers(1, 4), st.integers(1, 8), st.integers(0, 1000), st.sampled_from([0.0, 0.7]))
def test_it_equals_a_factorisation(members: int, n: int, seed: int, damping: float) -> None:
    matrix, right = positive_definite(members, n, seed)
    found = solve(matrix, right, damping=damping)
    damped = matrix + damping * torch.eye(n, dtype=matrix.dtype)
    assert bool(found.converged.all())
    torch.testing.assert_close(found.solution, solved(damped, right), rtol=1e-8, atol=1e-9)


def test_members_of_every_kind_in_one_batch_equal_a_loop() -> None:
    """One step, many steps, zero right-hand side, indefinite, zero matrix."""
    several, right = positive_definite(1, 4, 3)
    matrix = torch.cat(
        [
            diagonal([2, 2, 2, 2]),
            several,
            diagonal([1, 2, 3, 4], [1, -2, 3, 4], [0, 0, 0, 0]),
        ]
    )
    right = torch.cat([right.new_ones(1, 4), right, right.new_zeros(1, 4), right.new_ones(2, 4)])
    batch = solve(matrix, right)
    assert batch.converged.tolist() == [True, True, True, False, False]
    for index in range(len(right)):
        alone = solve(matrix[index : index + 1], right[index : index + 1])
        for name in ("solution", "residual", "curvature", "converged"):
            torch.testing.assert_close(
                getattr(batch, name)[index : index + 1],
                getattr(alone, name),
                rtol=1e-12,
                atol=1e-14,
                equal_nan=True,
            )


def test_one_step_is_enough_for_a_multiple_of_the_identity() -> None:
    found = solve(diagonal([4.0, 4.0, 4.0]), torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64))
    assert found.iterations == 1
    assert found.solution.tolist() == [[0.25, 0.5, 0.75]]
    assert found.curvature.tolist() == [4.0]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_scalar_system_is_a_division(sign: float) -> None:
    found = solve(diagonal([3.0]), torch.tensor([[6.0 * sign]], dtype=torch.float64))
    assert found.solution.item() == 2.0 * sign
    assert bool(found.converged)


def test_a_start_that_solves_the_system_takes_no_step() -> None:
    matrix, right = positive_definite(2, 5, 0)
    start = solved(matrix, right)
    found = conjugate_gradient(times(matrix), right, max_iter=50, rtol=1e-10, start=start)
    assert found.iterations == 0
    assert bool(found.curvature.isnan().all())
    torch.testing.assert_close(found.solution, start, rtol=1e-15, atol=0)


def test_a_good_start_saves_steps() -> None:
    matrix, right = positive_definite(1, 30, 0)
    near = solved(matrix, right) * (1 + 1e-6)
    cold = solve(matrix, right, rtol=1e-7)
    warm = conjugate_gradient(times(matrix), right, max_iter=100, rtol=1e-7, start=near)
    assert warm.iterations < cold.iterations
    assert bool(warm.converged)


def test_steps_past_convergence_change_nothing_and_give_no_nan() -> None:
    slow, right = positive_definite(1, 12, 1)
    matrix = torch.cat([torch.eye(12, dtype=torch.float64).unsqueeze(0), slow])
    right = right.expand(2, 12)
    found = solve(matrix, right, rtol=0.0, max_iter=60)
    assert torch.equal(found.solution[0], right[0])
    torch.testing.assert_close(found.solution[1:], solved(slow, right[1:]))
    assert found.residual[0] == 0


@pytest.mark.parametrize("start", [None, torch.ones(1, 3)])
def test_a_zero_right_hand_side_gives_zero(start: Tensor | None) -> None:
    matrix = diagonal([1.0, 2.0, 3.0], dtype=torch.float32)
    found = conjugate_gradient(times(matrix), torch.zeros(1, 3), max_iter=9, rtol=1e-6, start=start)
    assert found.solution.tolist() == [[0.0, 0.0, 0.0]]
    assert found.residual.tolist() == [0.0]
    assert found.iterations == 0
    assert bool(found.converged)


def test_damping_adds_to_the_diagonal_and_curvature_is_told_without_it() -> None:
    right = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    found = solve(diagonal([1.0, 3.0]), right, damping=2.0)
    torch.testing.assert_close(found.solution, right / torch.tensor([3.0, 5.0]).double())
    assert 1.0 <= float(found.curvature) <= 2.0  # without damping: p.Ap / p.p is in [1, 3]


def test_damping_lifts_negative_curvature() -> None:
    right = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    found = solve(diagonal([-1.0, 3.0]), right, damping=2.0)
    torch.testing.assert_close(found.solution, torch.tensor([[1.0, 0.4]], dtype=torch.float64))
    assert bool(found.converged)


@pytest.mark.parametrize("seed", range(20))
def test_every_indefinite_matrix_is_found_out(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))[0]
    values = torch.rand(8, generator=generator, dtype=torch.float64) + 0.5
    values[seed % 8] *= -1
    matrix = (basis * values @ basis.mT).unsqueeze(0)
    right = torch.randn(1, 8, generator=generator, dtype=torch.float64)
    found = solve(matrix, right)
    assert not bool(found.converged)
    assert float(found.curvature) < 0
    assert float(found.residual) <= 1  # never worse than no step
    error = right - times(matrix)(found.solution)
    torch.testing.assert_close(found.residual, error.norm(dim=1) / right.norm(dim=1))


@pytest.mark.parametrize(
    ("matrix", "right", "best"),
    [
        (diagonal([1.0, -0.9]), [1.0, 1.0], 1.0),  # the first step has residual 19: not kept
        (diagonal([1.0, 0.02, -1.0]), [1.0, 1.0, 0.1], 0.9954),  # the first step is kept
    ],
)
def test_after_negative_curvature_the_iterate_with_the_smallest_residual_is_kept(
    matrix: Tensor, right: list[float], best: float
) -> None:
    target = torch.tensor([right], dtype=torch.float64)
    first = solve(matrix, target, max_iter=1)
    assert float(first.residual) > 1 or float(first.residual) == pytest.approx(best, abs=1e-4)
    last = solve(matrix, target)
    assert float(last.residual) == pytest.approx(best, abs=1e-4)
    assert not bool(last.converged)
    assert last.iterations == 2


def test_a_direction_without_curvature_stops_the_member() -> None:
    found = solve(diagonal([0.0, 0.0]), torch.ones(1, 2, dtype=torch.float64))
    assert found.solution.tolist() == [[0.0, 0.0]]
    torch.testing.assert_close(found.residual, torch.ones(1, dtype=torch.float64))
    assert found.curvature.tolist() == [0.0]
    assert found.iterations == 1


def test_a_singular_matrix_is_no_trouble_where_the_right_hand_side_fits() -> None:
    right = torch.tensor([[1.0, 2.0, 0.0]], dtype=torch.float64)
    found = solve(diagonal([1.0, 4.0, 0.0]), right)
    torch.testing.assert_close(found.solution, torch.tensor([[1.0, 0.5, 0.0]]).double())


def test_the_error_falls_at_every_step_so_the_last_iterate_is_returned() -> None:
    matrix = diagonal([1.0, 3.0, 10.0, 30.0, 100.0])
    right = torch.tensor([[1.0, 1.0, 0.5, 0.5, 0.5]], dtype=torch.float64)
    truth = solved(matrix, right)
    found = [solve(matrix, right, max_iter=steps) for steps in range(1, 6)]
    errors = [float((one.solution - truth).norm()) for one in found]
    assert errors == sorted(errors, reverse=True)
    assert [one.iterations for one in found] == [1, 2, 3, 4, 5]
    residuals = [float(one.residual) for one in found]
    assert residuals[0] > 1  # worse than no step at all, had the residual decided


def test_the_residual_is_the_true_one_and_rounding_is_not_hidden() -> None:
    """In float32 the recursion goes below 1e-6 while the solution does not."""
    values = torch.logspace(-4, 0, 60, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(60, 60, generator=generator))[0]
    matrix = (basis * values @ basis.mT).unsqueeze(0)
    right = torch.randn(1, 60, generator=generator)
    found = solve(matrix, right, rtol=1e-6, max_iter=2000)
    error = right.double() - times(matrix.double())(found.solution.double())
    exact = float(error.norm() / right.norm())
    assert float(found.residual) == pytest.approx(exact, rel=0.3)
    assert bool(found.converged) == (float(found.residual) <= 1e-6)


@pytest.mark.parametrize("factor", [1e-30, 1e-18, 1e18, 1e30])
def test_the_answer_scales_with_the_right_hand_side(factor: float) -> None:
    matrix, right = positive_definite(1, 6, 2)
    matrix, right = matrix.float(), right.float()
    plain = solve(matrix, right, rtol=1e-4)
    scaled = solve(matrix, right * factor, rtol=1e-4)
    torch.testing.assert_close(scaled.solution / factor, plain.solution, rtol=1e-4, atol=1e-5)
    assert scaled.iterations == plain.iterations


def test_it_costs_one_product_per_step_and_one_for_the_residual() -> None:
    matrix, right = positive_definite(3, 40, 5)
    seen: list[Tensor] = []

    def product(vector: Tensor) -> Tensor:
        seen.append(vector)
        return times(matrix)(vector)

    found = conjugate_gradient(product, right, max_iter=10, rtol=1e-12)
    assert found.iterations == 10
    assert len(seen) == 11


def test_inputs_are_not_touched_even_if_the_product_returns_its_argument() -> None:
    right = torch.tensor([[1.0, 2.0]])
    start = torch.tensor([[3.0, 1.0]])
    found = conjugate_gradient(lambda vector: vector, right, max_iter=5, rtol=1e-6, start=start)
    assert found.solution.tolist() == [[1.0, 2.0]]
    assert right.tolist() == [[1.0, 2.0]]
    assert start.tolist() == [[3.0, 1.0]]


def test_dtype_is_kept(dtype: torch.dtype) -> None:
    found = solve(diagonal([1.0, 2.0], dtype=dtype), torch.ones(1, 2, dtype=dtype), rtol=1e-6)
    assert {found.solution.dtype, found.residual.dtype, found.curvature.dtype} == {dtype}


ONES = torch.ones(1, 2)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"max_iter": 0}, InvalidValueError, "max_iter must be >= 1, got 0"),
        ({"rtol": 1.0}, InvalidValueError, r"rtol must be in \[0, 1\), got 1"),
        ({"rtol": -0.1}, InvalidValueError, r"rtol must be in \[0, 1\), got -0.1"),
        ({"rtol": float("nan")}, InvalidValueError, r"rtol must be in \[0, 1\), got nan"),
        ({"damping": -1.0}, InvalidValueError, "damping must be >= 0, got -1"),
        ({"damping": float("inf")}, InvalidValueError, "damping must be >= 0 and finite, got inf"),
        (
            {"right_hand_side": torch.ones(2)},
            ShapeError,
            r"right_hand_side must be \(members, n\) with n >= 1, got \(2,\)",
        ),
        (
            {"right_hand_side": torch.ones(2, 0)},
            ShapeError,
            r"right_hand_side must be \(members, n\) with n >= 1, got \(2, 0\)",
        ),
        ({"start": torch.ones(1, 3)}, ShapeError, r"start must be \(1, 2\), got \(1, 3\)"),
        (
            {"right_hand_side": torch.tensor([[1.0, float("nan")]])},
            InvalidValueError,
            "right_hand_side must be finite",
        ),
        ({"start": torch.full((1, 2), torch.inf)}, InvalidValueError, "start must be finite"),
        ({"product": lambda v: v * float("nan")}, InvalidValueError, "product must return finite"),
        ({"product": lambda v: v * float("inf")}, InvalidValueError, "product must return finite"),
    ],
)
def test_bad_input_is_refused(
    options: dict[str, object], error: type[DflError], match: str
) -> None:
    good = {"product": lambda v: v, "right_hand_side": ONES, "max_iter": 5, "rtol": 1e-3}
    with pytest.raises(error, match=match):
        conjugate_gradient(**(good | options))  # type: ignore[arg-type]
