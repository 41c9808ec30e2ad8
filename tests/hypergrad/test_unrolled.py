from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dfl.errors import InvalidValueError, NotConvergedError
from dfl.hypergrad import ConjugateGradient, LookAhead, Parameters, Unrolled
from tests.hypergrad.problems import ridge


def test_with_many_steps_it_converges_to_the_closed_form() -> None:
    problem = ridge()
    start = {name: torch.zeros_like(value) for name, value in problem.inner.items()}
    errors = []
    for steps in (5, 20, 80, 320):
        found = Unrolled(steps=steps)(problem.inner_loss, problem.outer_loss, start, problem.outer)
        error = found.outer_grad["log_penalty"] - problem.truth["log_penalty"]
        errors.append(float(error.norm() / problem.truth["log_penalty"].norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-10


def test_it_is_the_derivative_of_the_steps_taken() -> None:
    problem = ridge()
    start = {name: torch.zeros_like(value) for name, value in problem.inner.items()}

    def after(log_penalty: Tensor) -> Tensor:
        outer = problem.outer | {"log_penalty": log_penalty}
        inner = LookAhead(4, step_size=0.1)(problem.inner_loss, start, outer)
        return problem.outer_loss(inner, outer)

    found = Unrolled(steps=4, step_size=0.1)(
        problem.inner_loss, problem.outer_loss, start, problem.outer
    )
    center = problem.outer["log_penalty"]
    torch.testing.assert_close(found.outer_value, after(center))
    for unit in torch.eye(5, dtype=torch.float64):
        difference = (after(center + 1e-5 * unit) - after(center - 1e-5 * unit)) / 2e-5
        torch.testing.assert_close(
            found.outer_grad["log_penalty"] @ unit, difference, rtol=1e-6, atol=1e-10
        )


def test_diagnostics_say_what_is_known() -> None:
    problem = ridge(2)
    start = {name: torch.zeros_like(value) for name, value in problem.inner.items()}
    found = Unrolled(steps=3)(problem.inner_loss, problem.outer_loss, start, problem.outer)
    assert found.diagnostics.iterations == 3
    assert bool(found.diagnostics.residual.isnan().all())
    assert bool(found.diagnostics.curvature.isnan().all())
    slope = (problem.features.mT @ problem.targets.unsqueeze(-1)).squeeze(-1) / 40
    torch.testing.assert_close(found.diagnostics.inner_gradient, slope.norm(dim=-1))


# A too large step. Inner: curvature / 2 * (w - outer)^2, so that w* = outer; outer loss:
# (w - target)^2 / 2 with the target above, so that the hypergradient is negative. k steps give
# dw_k / d outer = 1 - (1 - step * curvature)^k: below zero where the step is above 2 / curvature
# and k is even.
CURVATURE, START, CENTER, TARGET = 100.0, 0.01, 0.0, 5.0


def valley(inner: Parameters, outer: Parameters) -> Tensor:
    return CURVATURE / 2 * (inner["w"] - outer["center"]) ** 2


def gap(inner: Parameters, outer: Parameters) -> Tensor:
    return (inner["w"] - TARGET) ** 2 / 2


INNER, OUTER = {"w": torch.tensor(START)}, {"center": torch.tensor(CENTER)}
TRUTH = CENTER - TARGET


def test_a_too_large_step_flips_the_sign_and_the_stable_one_does_not() -> None:
    naive = Unrolled(steps=4, step_size=2.5 / CURVATURE, on_failure="return")
    flipped = naive(valley, gap, INNER, OUTER).outer_grad["center"]
    assert float(flipped) > 0 > TRUTH
    stable = Unrolled(steps=4)(valley, gap, INNER, OUTER).outer_grad["center"]
    assert float(stable) == pytest.approx(TRUTH, rel=1e-5)


def test_a_too_large_step_is_an_error_by_default() -> None:
    with pytest.raises(
        NotConvergedError,
        match=r"^the inner loss rises from 0\.005 to 0\.1281 over 4 steps of size 0\.025 to 0\.025"
        r", goal: no rise\. Lower step_size, use step_size='stable'",
    ):
        Unrolled(steps=4, step_size=2.5 / CURVATURE)(valley, gap, INNER, OUTER)


def test_the_same_trap_is_closed_for_implicit_hypergradients_by_look_ahead() -> None:
    """Where steps climb, the outer slope is taken at a place beyond the target."""
    naive = INNER
    for _ in range(16):
        step = 2.5 / CURVATURE * CURVATURE * (naive["w"] - CENTER)
        naive = {"w": naive["w"] - step}
    solver = ConjugateGradient()
    assert float(solver(valley, gap, naive, OUTER).outer_grad["center"]) > 0 > TRUTH
    ahead = LookAhead(16, step_size=2.5 / CURVATURE)
    at = ahead(valley, INNER, OUTER)["w"]
    assert float(at) == pytest.approx(START * (1 - 1.25) ** 16, rel=1e-4)  # halved once
    found = ahead.hypergradient(solver, valley, gap, INNER, OUTER).outer_grad["center"]
    assert float(found) == pytest.approx(TRUTH, rel=1e-3)


def test_members_have_steps_of_their_own() -> None:
    curvature = torch.tensor([1.0, 100.0])

    def valleys(inner: Parameters, outer: Parameters) -> Tensor:
        return curvature / 2 * (inner["w"] - outer["center"]) ** 2

    inner, outer = {"w": torch.full((2,), 0.01)}, {"center": torch.zeros(2)}
    found = Unrolled(steps=1)(valleys, gap, inner, outer)
    torch.testing.assert_close(found.outer_grad["center"], torch.full((2,), TRUTH))
    with pytest.raises(
        NotConvergedError, match=r"of members \[1\] rises \(member 1: from 0\.005 to"
    ):
        Unrolled(steps=4, step_size=0.025)(valleys, gap, inner, outer)


def test_a_loss_without_curvature_has_no_stable_step() -> None:
    with pytest.raises(InvalidValueError, match="'stable' needs curvature, but inner_loss has"):
        Unrolled()(lambda inner, outer: inner["w"] * outer["center"], gap, INNER, OUTER)


def test_an_overflow_is_an_error_even_where_failures_are_returned() -> None:
    naive = Unrolled(steps=40, step_size=1e4, on_failure="return")
    with pytest.raises(InvalidValueError, match="the value of outer_loss must be finite"):
        naive(valley, gap, INNER, OUTER)


def test_a_derivative_that_is_not_finite_is_an_error() -> None:
    def root(inner: Parameters, outer: Parameters) -> Tensor:
        return (outer["center"] ** 2).sqrt() * 0 + inner["w"] ** 2

    with pytest.raises(InvalidValueError, match=r"the hypergradient of outer\['center'\] must be"):
        Unrolled(steps=1, step_size=0.01)(valley, root, INNER, OUTER)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Unrolled(steps=0), "steps must be >= 1, got 0"),
        (lambda: Unrolled(power_iterations=0), "power_iterations must be >= 1, got 0"),
        (lambda: Unrolled(step_size=0.0), "step_size must be a finite number > 0 or 'stable'"),
        (lambda: Unrolled(step_size=float("inf")), "step_size must be a finite .* got inf"),
        (lambda: Unrolled(step_size="big"), "step_size must be a finite .* got 'big'"),  # type: ignore[arg-type]
        (lambda: Unrolled(on_failure="no"), "on_failure must be one of 'raise', 'return'"),  # type: ignore[arg-type]
    ],
)
def test_bad_options_are_refused(build: Callable[[], Unrolled], match: str) -> None:
    with pytest.raises(InvalidValueError, match=match):
        build()


def test_an_optimum_whose_loss_moves_by_rounding_is_no_rise() -> None:
    """Terms of either sign cancel, so that the loss is small beside its own rounding errors."""
    solution, residue = torch.tensor([0.3, -0.7, 1.9]).double(), 1e4 / 3

    def cancelling(inner: Parameters, outer: Parameters) -> Tensor:
        fit = (residue + (inner["w"] - solution - outer["center"])).square().sum()
        return fit - 3 * residue**2 - 2 * residue * (inner["w"] - solution - outer["center"]).sum()

    inner, outer = {"w": solution.clone()}, {"center": torch.zeros(3).double()}
    for bump in range(20):
        inner["w"] = solution * (1 + bump * torch.finfo(torch.float64).eps)
        found = Unrolled(steps=5)(cancelling, gap_of_all, inner, outer).outer_grad["center"]
        assert bool(found.isfinite().all())


def gap_of_all(inner: Parameters, outer: Parameters) -> Tensor:
    return (inner["w"] - TARGET).square().sum() / 2
