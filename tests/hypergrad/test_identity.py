import pytest
import torch

from dfl.errors import InvalidValueError, NotConvergedError
from dfl.hypergrad import Exact, Identity, Parameters, Unrolled
from tests.hypergrad.problems import network, ridge


def test_it_is_right_where_the_hessian_is_a_multiple_of_the_identity() -> None:
    def inner_loss(inner: Parameters, outer: Parameters) -> torch.Tensor:
        return 2 * ((inner["a"] - outer["b"]) ** 2).sum()

    def outer_loss(inner: Parameters, outer: Parameters) -> torch.Tensor:
        return (inner["a"] ** 3).sum()

    inner = outer = torch.tensor([1.0, 2.0])
    call = (inner_loss, outer_loss, {"a": inner}, {"b": outer})
    found = Identity(scale=0.25)(*call)
    torch.testing.assert_close(found.outer_grad, Exact()(*call).outer_grad)
    assert float(found.diagnostics.residual) < 1e-6


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0])
def test_its_error_is_within_the_stated_bound_and_the_residual_says_so(scale: float) -> None:
    problem = ridge(3)
    found = Identity(scale=scale)(
        problem.composed, problem.outer_loss, problem.inner, problem.outer
    )
    gap = torch.eye(5, dtype=torch.float64) - scale * problem.hessian
    bound = torch.linalg.matrix_norm(gap, 2)
    assert bool((found.diagnostics.residual <= bound + 1e-12).all())
    # q = H^-1 v: the indirect part is -penalty * w * q
    indirect = found.outer_grad["log_penalty"] / (-problem.penalty * problem.solution)
    exact = problem.truth["log_penalty"] / (-problem.penalty * problem.solution)
    error = (indirect - exact).norm(dim=1) / exact.norm(dim=1)
    assert bool((error <= bound + 1e-12).all())
    assert float(error.max()) > 0.01


def test_it_is_the_derivative_of_one_step_but_for_where_the_outer_loss_is_taken() -> None:
    problem = ridge()
    one = Unrolled(steps=1, step_size=0.2)
    step = one(problem.inner_loss, problem.outer_loss, problem.inner, problem.outer)
    found = Identity(scale=0.2)(
        problem.inner_loss, problem.outer_loss, problem.inner, problem.outer
    )
    torch.testing.assert_close(found.outer_grad, step.outer_grad)  # a step from the optimum stays


def test_the_contract_holds_for_its_members() -> None:
    problem = network(2)
    both = Identity(scale=0.5)(problem.composed, problem.outer_loss, problem.inner, problem.outer)
    assert both.diagnostics.residual.shape == (2,)
    assert both.diagnostics.iterations == 1


def test_with_damping_it_is_right_where_the_damped_hessian_is_a_multiple_of_the_identity() -> None:
    inner = outer = torch.tensor([1.0, 2.0])
    call = (
        lambda inner, outer: 2 * ((inner["a"] - outer["b"]) ** 2).sum(),
        lambda inner, outer: (inner["a"] ** 3).sum(),
        {"a": inner},
        {"b": outer},
    )
    found = Identity(scale=0.25, damping=3.0, rtol=1e-5)(*call)
    torch.testing.assert_close(found.outer_grad, Exact(damping=3.0)(*call).outer_grad)


def test_a_goal_that_is_asked_for_and_missed_is_an_error() -> None:
    problem = ridge()
    call = (problem.composed, problem.outer_loss, problem.inner, problem.outer)
    with pytest.raises(NotConvergedError, match=r"goal 0\.01\. Bring scale nearer to the inverse"):
        Identity(scale=0.1, rtol=0.01)(*call)
    Identity(scale=0.1)(*call)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"scale": 0.0}, "scale must be > 0, got 0"),
        ({"scale": -1.0}, "scale must be > 0, got -1"),
        ({"scale": float("inf")}, "scale must be > 0 and finite, got inf"),
        ({"rtol": 0.0}, "rtol must be > 0, got 0"),
    ],
)
def test_bad_options_are_refused(options: dict[str, float], match: str) -> None:
    with pytest.raises(InvalidValueError, match=match):
        Identity(**options)
