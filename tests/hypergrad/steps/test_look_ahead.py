import pytest
import torch
from torch import Tensor

from dfl.errors import (
    DflError,
    InvalidValueError,
    NotConvergedError,
    ShapeError,
    UnsupportedProblemError,
)
from dfl.hypergrad import ComposedLoss, LookAhead, Loss, Parameters, largest_eigenvalue
from dfl.hypergrad.curvature.point import Point
from dfl.hypergrad.curvature.products import gauss_newton, hessian
from dfl.hypergrad.steps.look_ahead import moved, rose
from tests.hypergrad.curvature.test_products import matrix_of
from tests.hypergrad.problems import member, network, ridge

CURVATURES = torch.tensor([1.0, 10.0, 100.0])
OUTER = {"center": torch.zeros(3)}
INNER = {"w": torch.ones(3, 2)}


def bowls(inner: Parameters, outer: Parameters) -> Tensor:
    return CURVATURES / 2 * ((inner["w"] - outer["center"][:, None]) ** 2).sum(-1)


def ahead(
    loss: Loss = bowls, inner: Parameters = INNER, outer: Parameters = OUTER, **options: object
) -> Parameters:
    return LookAhead(**options)(loss, inner, outer)  # type: ignore[arg-type]


def test_steps_are_plain_descent_and_nothing_given_is_changed() -> None:
    before = INNER["w"].clone()
    found = ahead(steps=3, step_size=0.01)
    factor = (1 - 0.01 * CURVATURES) ** 3
    torch.testing.assert_close(found["w"], factor[:, None] * torch.ones(3, 2))
    assert torch.equal(INNER["w"], before)
    assert not found["w"].requires_grad


def test_only_a_member_whose_loss_rose_steps_again_with_half_the_step() -> None:
    found = ahead(steps=4, step_size=0.15)
    expected = torch.tensor([1 - 0.15, 1 - 1.5, 1 - 15 / 2**3]) ** 4  # three halvings
    torch.testing.assert_close(found["w"], expected[:, None].expand(3, 2))
    assert bool((bowls(found, OUTER) < bowls(INNER, OUTER)).all())


def test_members_may_have_steps_of_their_own() -> None:
    found = ahead(steps=1, step_size=1 / CURVATURES)
    torch.testing.assert_close(found["w"], torch.zeros(3, 2))


def test_a_scalar_loss_has_one_step_for_all() -> None:
    found = ahead(lambda inner, outer: bowls(inner, outer).sum(), steps=1, step_size=0.015)
    torch.testing.assert_close(found["w"], (1 - 0.015 * CURVATURES)[:, None].expand(3, 2))


def test_overflow_counts_as_a_rise() -> None:
    found = ahead(steps=60, step_size=5.0, max_halvings=20)
    halved = torch.tensor([2, 5, 8])
    expected = (1 - 5 / 2**halved * CURVATURES) ** 60
    torch.testing.assert_close(found["w"], expected[:, None].expand(3, 2))


def test_at_the_minimum_nothing_happens() -> None:
    inner = {"w": torch.zeros(3, 2)}
    assert torch.equal(ahead(inner=inner, steps=2, step_size=10.0)["w"], inner["w"])


def test_it_works_without_gradients_switched_on() -> None:
    with torch.no_grad():
        found = ahead(steps=1, step_size=0.01)
    assert bool((bowls(found, OUTER) < bowls(INNER, OUTER)).all())


def test_it_works_in_inference_mode_also_from_parameters_made_there() -> None:
    expected = ahead(steps=2, step_size=0.01)["w"]
    with torch.inference_mode():
        found = ahead(steps=2, step_size=0.01)["w"]
        other = ahead(inner={"w": torch.ones(3, 2)}, steps=2, step_size=0.01)["w"]
        measured = ahead(steps=1)["w"]
    assert torch.equal(found, expected)
    assert torch.equal(other, expected)
    torch.testing.assert_close(measured, torch.zeros(3, 2))
    assert not found.is_inference()


def test_the_largest_eigenvalue_is_found_in_inference_mode(generator: torch.Generator) -> None:
    with torch.inference_mode():
        found = largest_eigenvalue(bowls, INNER, OUTER, generator=generator)
    torch.testing.assert_close(found, CURVATURES)


def cone(inner: Parameters, outer: Parameters) -> Tensor:
    return (inner["w"] ** 2).sum().sqrt()


def writing(inner: Parameters, outer: Parameters) -> Tensor:
    return inner["w"].mul_(2).sum()


def test_a_loss_that_writes_into_its_parameters_is_refused_before_it_does_harm() -> None:
    inner = {"w": torch.ones(3, 2)}
    with (
        torch.no_grad(),
        pytest.raises(UnsupportedProblemError, match="a loss must change nothing, but it writes"),
    ):
        ahead(writing, inner, steps=1, step_size=0.1)
    assert torch.equal(inner["w"], torch.ones(3, 2))


def test_what_a_loss_does_to_its_dicts_is_forgotten() -> None:
    def clearing(inner: Parameters, outer: Parameters) -> Tensor:
        value = bowls(inner, outer)
        inner.clear()
        outer.clear()
        return value

    assert torch.equal(ahead(clearing, steps=3)["w"], ahead(steps=3)["w"])


def shrinking(inner: Parameters, outer: Parameters) -> Tensor:
    """A loss whose value has nothing to do with its gradient."""
    value = (inner["w"] ** 2).sum()
    return value - 2 * value.detach()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"steps": -1}, InvalidValueError, "steps must be >= 0, got -1"),
        ({"step_size": "big"}, InvalidValueError, "step_size must be a number or 'stable', got"),
        ({"max_halvings": -1}, InvalidValueError, "max_halvings must be >= 0, got -1"),
        ({"step_size": 0.0}, InvalidValueError, "step_size must be > 0 and finite, got 0.0"),
        (
            {"step_size": torch.tensor([1.0, float("inf"), 1.0])},
            InvalidValueError,
            r"step_size must be > 0 and finite, got \[1.0, inf, 1.0\]",
        ),
        (
            {"step_size": torch.ones(2)},
            ShapeError,
            r"step_size must be one number or of the loss's shape \(3,\), got \(2,\)",
        ),
        (
            {"loss": lambda inner, outer: inner["w"].sum() * float("nan")},
            InvalidValueError,
            "the value of inner_loss must be finite",
        ),
        ({"loss": lambda inner, outer: torch.ones(4)}, ShapeError, "each of 4 members"),
        (
            {"loss": lambda inner, outer: torch.ones(())},
            InvalidValueError,
            "inner_loss must depend on inner, got a value without a derivative",
        ),
        (
            {"loss": cone, "inner": {"w": torch.zeros(3, 2)}},
            InvalidValueError,
            r"the gradient of inner_loss in inner\['w'\] must be finite",
        ),
        (
            {"loss": shrinking, "max_halvings": 2},
            NotConvergedError,
            "the inner loss rises from -6 to -5.8.* over 2 steps, even with .* halved 2 times",
        ),
    ],
)
def test_bad_calls_are_refused(
    options: dict[str, object], error: type[DflError], match: str
) -> None:
    good = {"loss": bowls, "inner": INNER, "outer": OUTER, "steps": 2, "step_size": 0.01}
    with pytest.raises(error, match=match):
        ahead(**(good | options))  # type: ignore[arg-type]


def test_the_largest_eigenvalue_is_that_of_the_gauss_newton_matrix_or_the_hessian(
    generator: torch.Generator,
) -> None:
    problem = network(2)
    point = Point.at(problem.inner, problem.outer)
    for loss, curvature in (
        (problem.composed, gauss_newton(problem.composed, point)),
        (problem.composed.__call__, hessian(problem.composed, point)),
    ):
        exact = torch.linalg.eigvalsh(matrix_of(curvature, 32)).abs().amax(-1)
        found = largest_eigenvalue(
            loss, problem.inner, problem.outer, iterations=200, generator=generator
        )
        torch.testing.assert_close(found, exact, rtol=1e-3, atol=0)


def test_few_iterations_bound_it_from_below_well_enough_for_a_step(
    generator: torch.Generator,
) -> None:
    for seed in range(5):
        problem = network(4, seed=seed)
        curvature = gauss_newton(problem.composed, Point.at(problem.inner, problem.outer))
        exact = torch.linalg.eigvalsh(matrix_of(curvature, 32)).amax(-1)
        found = largest_eigenvalue(
            problem.composed, problem.inner, problem.outer, iterations=10, generator=generator
        )
        assert bool((found <= exact * (1 + 1e-9)).all())
        assert bool((found > 0.7 * exact).all())


def test_the_largest_eigenvalue_is_absolute(generator: torch.Generator) -> None:
    found = largest_eigenvalue(
        lambda inner, outer: -bowls(inner, outer), INNER, OUTER, generator=generator
    )
    torch.testing.assert_close(found, CURVATURES)


def test_the_largest_eigenvalue_of_members_equals_a_loop() -> None:
    problem = network(3)
    found = largest_eigenvalue(
        problem.composed,
        problem.inner,
        problem.outer,
        iterations=4,
        generator=torch.Generator().manual_seed(1),
    )
    for index in range(3):
        alone = largest_eigenvalue(
            network().composed,
            member(problem.inner, index),
            member(problem.outer, index),
            iterations=4,
            generator=torch.Generator().manual_seed(1),
        )
        torch.testing.assert_close(found[index], alone)


def test_a_flat_loss_has_eigenvalue_zero(generator: torch.Generator) -> None:
    found = largest_eigenvalue(
        lambda inner, outer: inner["w"].sum(), INNER, OUTER, generator=generator
    )
    assert float(found) == 0


def test_bad_calls_of_the_largest_eigenvalue_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(InvalidValueError, match="iterations must be >= 1, got 0"):
        largest_eigenvalue(bowls, INNER, OUTER, iterations=0, generator=generator)

    def rooted(inner: Parameters, outer: Parameters) -> Tensor:
        return (inner["w"] - 1).abs().pow(1.5).sum(-1)  # infinite curvature at 1

    with pytest.raises(InvalidValueError, match="the largest curvature of inner_loss must be fin"):
        largest_eigenvalue(rooted, INNER, OUTER, generator=generator)


def test_a_stable_step_from_it_descends_on_ridge(generator: torch.Generator) -> None:
    problem = ridge(3)
    start = {name: torch.zeros_like(value) for name, value in problem.inner.items()}
    loss: ComposedLoss = problem.composed
    largest = largest_eigenvalue(loss, start, problem.outer, iterations=10, generator=generator)
    found = LookAhead(5, step_size=1 / largest)(loss, start, problem.outer)
    assert bool((loss(found, problem.outer) < loss(start, problem.outer)).all())
    slope = torch.func.grad(lambda inner: loss(inner, problem.outer).sum())
    expected = start
    for _ in range(5):  # no halvings: these are the steps
        slopes = slope(expected)
        expected = {n: v - (slopes[n].T / largest).T for n, v in expected.items()}
    torch.testing.assert_close(found, expected)


def test_it_takes_look_ahead_steps_as_long_as_the_curvature_allows() -> None:
    problem = network(2)
    call = (problem.composed, problem.inner, problem.outer)
    measured = LookAhead(3)
    measured.measure_anew(torch.Generator().manual_seed(5))
    largest = largest_eigenvalue(*call, iterations=10, generator=torch.Generator().manual_seed(5))
    expected = LookAhead(3, step_size=1 / largest)(*call)
    torch.testing.assert_close(measured(*call), expected, rtol=0, atol=0)


def test_the_length_is_kept_until_it_is_measured_anew() -> None:
    measured, inner = LookAhead(1), {"a": torch.tensor(1.0)}
    steep, flat = (lambda i, o, k=k: k * i["a"] ** 2 / 2 for k in (10.0, 1.0))
    assert float(measured(steep, inner, {"b": inner["a"]})["a"]) == 0
    assert float(measured(flat, inner, {"b": inner["a"]})["a"]) == pytest.approx(0.9)
    measured.measure_anew(torch.Generator())
    assert float(measured(flat, inner, {"b": inner["a"]})["a"]) == 0


def test_no_steps_leave_everything_as_it_is() -> None:
    inner = {"a": torch.ones(2, requires_grad=True)}
    found = LookAhead(0)(lambda i, o: i["a"].sum(), inner, inner)
    assert torch.equal(found["a"], inner["a"])
    assert not found["a"].requires_grad
    with pytest.raises(InvalidValueError, match="steps must be >= 0, got -1"):
        LookAhead(-1)


def test_a_step_has_a_length_per_member() -> None:
    parameters = {"a": torch.ones(2, 3), "b": torch.ones(2)}
    slopes = [torch.ones(2, 3), torch.ones(2)]
    found = moved(parameters, slopes, torch.tensor([0.5, 2.0]))
    assert found["a"].tolist() == [[0.5] * 3, [-1.0] * 3]
    assert found["b"].tolist() == [0.5, -1.0]
    shared = moved(parameters, slopes, torch.tensor(1.0))
    assert not bool(shared["a"].any())


def test_rounding_is_no_rise_and_nan_is_one() -> None:
    before = torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0])
    after = torch.tensor([1.0 + 2e-7, 0.5, -0.9, float("nan"), float("inf")])
    assert rose(before, after).tolist() == [False, False, True, True, True]
