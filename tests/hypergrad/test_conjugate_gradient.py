import pytest
import torch
from torch import Tensor

from dfl.errors import DflError, InvalidValueError, NotConvergedError
from dfl.hypergrad import ConjugateGradient, GaussNewton, Parameters
from dfl.hypergrad.curvature import hessian
from dfl.hypergrad.descent import moved
from dfl.hypergrad.point import Point
from tests.hypergrad.problems import Network, network, ridge


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
        r"curvature -.* Raise damping \(now 0\) above .* train inner closer .* GaussNewton",
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
        ({"damping": -1.0}, InvalidValueError, "damping must be >= 0 and finite, got -1"),
        ({"on_failure": "warn"}, InvalidValueError, "on_failure must be 'raise' or 'return'"),
    ],
)
def test_bad_options_are_refused(
    kind: type, options: dict[str, object], error: type[DflError], match: str
) -> None:
    with pytest.raises(error, match=match):
        kind(**options)
