import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.hypergrad import Truncated, Unrolled
from tests.hypergrad.problems import network, ridge

OPTIMISERS: dict[str, dict[str, object]] = {
    "sgd": {"step_size": 0.1},
    "momentum": {"step_size": 0.02},
    "adam": {"step_size": 0.01},
}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_with_all_steps_it_is_unrolled(optimiser: str) -> None:
    problem = network(2)
    call = (problem.composed, problem.outer_loss, problem.inner, problem.outer)
    options = {"steps": 4, "optimiser": optimiser, **OPTIMISERS[optimiser]}
    whole, last = Unrolled(**options)(*call), Truncated(last=4, **options)(*call)  # type: ignore[arg-type]
    torch.testing.assert_close(last.outer_grad, whole.outer_grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_it_is_unrolled_from_where_the_first_steps_lead(optimiser: str) -> None:
    """The value is that of all steps; the derivative is that of the last ones."""
    problem = network()
    call = (problem.composed, problem.outer_loss, problem.inner, problem.outer)
    options = {"steps": 5, "optimiser": optimiser, **OPTIMISERS[optimiser]}
    whole, last = Unrolled(**options)(*call), Truncated(last=2, **options)(*call)  # type: ignore[arg-type]
    torch.testing.assert_close(last.outer_value, whole.outer_value)
    assert not torch.allclose(last.outer_grad["0.bias"], whole.outer_grad["0.bias"], rtol=1e-3)
    torch.testing.assert_close(last.diagnostics.inner_gradient, whole.diagnostics.inner_gradient)


def test_the_error_falls_by_the_stated_factor_with_every_step_more() -> None:
    problem = ridge()
    values = torch.linalg.eigvalsh(problem.hessian)
    step = 1 / float(values.max())
    factor = -problem.penalty * problem.solution
    truth = problem.truth["log_penalty"] / factor
    for last in (1, 10, 40):
        found = Truncated(steps=60, last=last, step_size=step)(
            problem.composed, problem.outer_loss, problem.inner, problem.outer
        )
        error = (found.outer_grad["log_penalty"] / factor - truth).norm() / truth.norm()
        assert float(error) <= float(1 - step * values[0]) ** last + 1e-12


@pytest.mark.parametrize(("last", "steps"), [(0, 5), (6, 5)])
def test_last_must_lie_within_steps(last: int, steps: int) -> None:
    with pytest.raises(
        InvalidValueError,
        match=f"last must be a whole number between 1 and steps = {steps}, got {last}",
    ):
        Truncated(steps=steps, last=last)
