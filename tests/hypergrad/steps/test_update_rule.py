from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dfl.errors import InvalidValueError, NotConvergedError
from dfl.hypergrad import Hypergradient, Parameters, Unrolled
from dfl.hypergrad.steps.update_rule import State, UpdateRule
from tests.hypergrad.problems import Ridge, ridge

TORCH: dict[str, Callable[[list[Tensor], float], torch.optim.Optimizer]] = {
    "sgd": lambda values, size: torch.optim.SGD(values, lr=size),
    "momentum": lambda values, size: torch.optim.SGD(values, lr=size, momentum=0.9),
    "adam": lambda values, size: torch.optim.Adam(values, lr=size),
}


def zeros(problem: Ridge) -> Parameters:
    return {name: torch.zeros_like(value) for name, value in problem.inner.items()}


@pytest.mark.parametrize("name", TORCH)
def test_steps_are_those_of_torch(name: str) -> None:
    problem, size, steps = ridge(), 0.05, 6
    leaves = {name: value.requires_grad_() for name, value in zeros(problem).items()}
    optimiser = TORCH[name](list(leaves.values()), size)
    for _ in range(steps):
        optimiser.zero_grad()
        problem.inner_loss(leaves, problem.outer).backward()
        optimiser.step()
    found = Unrolled(steps=steps, step_size=size, optimiser=name)(  # type: ignore[arg-type]
        problem.inner_loss, problem.outer_loss, zeros(problem), problem.outer
    )
    expected = problem.outer_loss(leaves, problem.outer).detach()
    torch.testing.assert_close(found.outer_value, expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("name", TORCH)
def test_the_derivative_is_that_of_the_steps(name: str) -> None:
    problem = ridge()
    method = Unrolled(steps=6, step_size=0.05, optimiser=name)  # type: ignore[arg-type]

    def after(log_penalty: Tensor) -> Tensor:
        outer = problem.outer | {"log_penalty": log_penalty}
        return method(problem.inner_loss, problem.outer_loss, zeros(problem), outer).outer_value

    center = problem.outer["log_penalty"]
    found = method(problem.inner_loss, problem.outer_loss, zeros(problem), problem.outer)
    for unit in torch.eye(5, dtype=torch.float64):
        difference = (after(center + 1e-5 * unit) - after(center - 1e-5 * unit)) / 2e-5
        slope = found.outer_grad["log_penalty"] @ unit
        torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("name", "size"), [("momentum", "stable"), ("adam", 0.01)])
def test_with_enough_steps_it_converges_to_the_closed_form(name: str, size: object) -> None:
    """Adam starts at the optimum, where its directions are 0 and their derivative is not."""
    problem = ridge()
    start = zeros(problem) if name == "momentum" else problem.inner
    found = Unrolled(steps=400, step_size=size, optimiser=name, on_failure="return")(  # type: ignore[arg-type]
        problem.inner_loss, problem.outer_loss, start, problem.outer
    )
    if name == "momentum":
        torch.testing.assert_close(found.outer_grad, problem.truth, rtol=1e-6, atol=1e-9)
    assert bool(found.outer_grad["log_penalty"].isfinite().all())


def test_adam_has_a_finite_derivative_where_the_gradient_is_zero() -> None:
    slopes = (torch.zeros(3, requires_grad=True),)
    rule = UpdateRule(optimiser="adam", momentum=0.9, second_momentum=0.999)
    directions, state = rule(slopes, State())
    (found,) = torch.autograd.grad(directions[0].sum(), slopes)
    assert bool(found.isfinite().all())
    assert not any(each.requires_grad for each in state.detached().first)


def test_adam_is_refused_at_an_inner_optimum() -> None:
    """Each step would multiply the derivative of ``w* = b`` by about -2e6."""
    b = torch.ones(2, dtype=torch.float64)

    def inner_loss(inner: Parameters, outer: Parameters) -> Tensor:
        return (inner["w"] - outer["b"]).square().sum()

    def call(**options: Any) -> Hypergradient:
        method = Unrolled(steps=2, step_size=0.01, **options)
        return method(inner_loss, lambda inner, _: inner["w"].sum(), {"w": b}, {"b": b})

    with pytest.raises(NotConvergedError, match="'adam' must start where the inner gradient is"):
        call(optimiser="adam")
    assert float(call(optimiser="adam", on_failure="return").outer_grad["b"][0]) < -1e12
    assert 0 < float(call(optimiser="sgd").outer_grad["b"][0]) < 1


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Unrolled(optimiser="lion"), "optimiser must be one of 'sgd', 'momentum', 'adam'"),  # type: ignore[arg-type]
        (lambda: Unrolled(momentum=1.0), r"momentum must be in \[0, 1\), got 1"),
        (lambda: Unrolled(second_momentum=-0.1), r"second_momentum must be in \[0, 1\), got -0.1"),
        (lambda: Unrolled(optimiser="adam"), "step_size must be a number for optimiser 'adam'"),
    ],
)
def test_bad_options_are_refused(build: Callable[[], Unrolled], match: str) -> None:
    with pytest.raises(InvalidValueError, match=match):
        build()
