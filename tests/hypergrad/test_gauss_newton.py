from copy import deepcopy

import pytest
import torch
from torch import Tensor

from dfl.errors import InvalidValueError, NotConvergedError
from dfl.hypergrad import ComposedLoss, ConjugateGradient, GaussNewton, Parameters
from tests.hypergrad.problems import Network, network, ridge


@pytest.mark.parametrize("where", ["composed", "composed_with_outer_outputs"])
def test_it_equals_the_closed_form_of_ridge_regression(where: str) -> None:
    problem = ridge()
    found = GaussNewton(rtol=1e-13, damping=0.0)(
        getattr(problem, where), problem.outer_loss, problem.inner, problem.outer
    )
    for name, exact in problem.truth.items():
        torch.testing.assert_close(found.outer_grad[name], exact, rtol=1e-10, atol=1e-12)


def test_results_carry_no_graph_where_a_parameter_is_itself_an_output() -> None:
    loss = ComposedLoss(lambda inner, _: inner["w"], lambda w, outer: (w - outer["b"]) ** 2)
    one = torch.ones(())
    found = GaussNewton()(loss, lambda inner, _: inner["w"] ** 3, {"w": one}, {"b": one})
    assert not found.diagnostics.inner_gradient.requires_grad
    deepcopy(found)


def without_penalty(problem: Network) -> ComposedLoss:
    """The network's loss alone, scaled by an outer parameter: indefinite away from optima."""
    return ComposedLoss(
        lambda inner, outer: problem.composed.outputs(inner, outer)[0],
        lambda found, outer: (
            (found - problem.targets * outer["0.bias"].exp()[..., None, None]) ** 2
        ).mean((-1, -2)),
    )


@pytest.mark.parametrize("seed", range(5))
def test_with_damping_it_converges_where_the_exact_hessian_is_indefinite(seed: int) -> None:
    problem = network(4, seed=seed)
    call = (without_penalty(problem), problem.outer_loss, problem.inner, problem.outer)
    exact = ConjugateGradient(damping=1e-2, on_failure="return")(*call)
    assert bool((exact.diagnostics.curvature < -1e-2).any())
    found = GaussNewton(damping=1e-2, rtol=1e-6, max_iter=200)(*call)
    assert bool((found.diagnostics.curvature >= 0).all())
    assert bool((found.diagnostics.residual <= 1e-6).all())


def test_at_a_perfect_fit_it_is_the_exact_hypergradient() -> None:
    """Where every residual is zero, the Hessian is the Gauss-Newton matrix."""
    problem = network()

    def predict(inner: Parameters, outer: Parameters) -> Tensor:
        return problem.composed.outputs(inner, outer)[0]

    targets = predict(problem.inner, problem.outer).detach()
    loss = ComposedLoss(
        predict, lambda found, outer: ((found - targets - outer["shift"]) ** 2).mean()
    )
    outer = {"shift": torch.zeros(2, dtype=torch.float64)}
    call = (loss, problem.outer_loss, problem.inner, outer)
    exact = ConjugateGradient(damping=0.1, rtol=1e-12)(*call)
    found = GaussNewton(damping=0.1, rtol=1e-12)(*call)
    assert float(exact.outer_grad["shift"].norm()) > 1e-2
    torch.testing.assert_close(found.outer_grad, exact.outer_grad, rtol=1e-9, atol=1e-12)


def test_a_criterion_that_is_not_convex_is_found_out() -> None:
    problem = ridge()
    concave = ComposedLoss(
        problem.composed.outputs, lambda found, outer: -problem.composed.criterion(found, outer)
    )
    with pytest.raises(
        NotConvergedError, match=r"Gauss-Newton matrix is not solved.*make the criterion convex"
    ):
        GaussNewton(damping=0.0)(concave, problem.outer_loss, problem.inner, problem.outer)


def test_a_plain_function_is_refused() -> None:
    problem = ridge()
    with pytest.raises(InvalidValueError, match="inner_loss must be a ComposedLoss, got method"):
        GaussNewton()(problem.inner_loss, problem.outer_loss, problem.inner, problem.outer)
