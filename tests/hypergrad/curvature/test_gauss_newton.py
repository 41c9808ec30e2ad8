import pytest
import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.hypergrad import ComposedLoss, Parameters
from dfl.hypergrad.curvature import gauss_newton, hessian
from dfl.hypergrad.point import Point
from tests.hypergrad.curvature.test_hessian import dense
from tests.hypergrad.problems import Network, member, network, ridge


def flat_outputs(problem: Network, flat: Tensor) -> Tensor:
    parts = flat.split([value.numel() for value in problem.inner.values()])
    pairs = zip(problem.inner.items(), parts, strict=True)
    inner = {name: part.reshape(value.shape) for (name, value), part in pairs}
    found = problem.composed.outputs(inner, problem.outer)
    assert isinstance(found, tuple)
    return torch.cat([each.flatten() for each in found])


def test_the_matrix_is_jacobian_criterion_hessian_jacobian() -> None:
    problem = network()
    flat = torch.cat([value.flatten() for value in problem.inner.values()])
    point = Point.at(problem.inner, problem.outer)
    found = problem.composed.outputs(problem.inner, problem.outer)
    shapes = [each.shape for each in found]

    def criterion(outputs: Tensor) -> Tensor:
        parts = outputs.split([shape.numel() for shape in shapes])
        split = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return problem.composed.criterion(tuple(split), problem.outer)

    jacobian = torch.func.jacrev(flat_outputs, argnums=1)(problem, flat)
    middle = torch.func.jacrev(torch.func.jacrev(criterion))(flat_outputs(problem, flat))
    matrix = dense(gauss_newton(problem.composed, point), len(flat))[0]
    torch.testing.assert_close(matrix, jacobian.T @ middle @ jacobian)


def test_it_is_positive_semi_definite_where_the_hessian_is_not() -> None:
    problem = network()
    plain = ComposedLoss(
        lambda inner, outer: problem.composed.outputs(inner, outer)[0],
        lambda found, outer: ((found - problem.targets) ** 2).mean(),
    )
    point = Point.at(problem.inner, problem.outer)
    assert float(torch.linalg.eigvalsh(dense(hessian(plain, point), 32)).min()) < -1e-3
    assert float(torch.linalg.eigvalsh(dense(gauss_newton(plain, point), 32)).min()) > -1e-12


def test_cross_entropy_is_supported() -> None:
    problem = network()
    labels = torch.arange(30) % 2
    loss = ComposedLoss(
        lambda inner, outer: problem.composed.outputs(inner, outer)[0],
        lambda logits, outer: torch.nn.functional.cross_entropy(logits, labels),
    )
    matrix = dense(gauss_newton(loss, Point.at(problem.inner, problem.outer)), 32)
    values = torch.linalg.eigvalsh(matrix)
    assert float(values.min()) > -1e-12
    assert float(values.max()) > 1e-2


def test_it_is_the_hessian_where_outputs_are_linear() -> None:
    problem = ridge(3)
    point = Point.at(problem.inner, problem.outer)
    for loss in (problem.composed, problem.composed_with_outer_outputs):
        matrix = dense(gauss_newton(loss, point), 5)
        torch.testing.assert_close(matrix, problem.hessian, rtol=1e-12, atol=1e-13)


def test_inner_gradient_and_mixed_derivatives_are_exact() -> None:
    """Whether outer parameters enter by the criterion, by the outputs, or by both."""
    problem = network(2)

    def outputs(inner: Parameters, outer: Parameters) -> Tensor:
        prediction = problem.composed.outputs(inner, outer)[0]
        return torch.tanh(prediction * outer["0.bias"].exp()[:, None, None])

    def criterion(found: Tensor, outer: Parameters) -> Tensor:
        gap = found - problem.targets * outer["2.bias"][:, None, None]
        return (gap**4).mean((-1, -2))

    point = Point.at(problem.inner, problem.outer)
    for loss in (problem.composed, ComposedLoss(outputs, criterion)):
        found, exact = gauss_newton(loss, point), hessian(loss, point)
        torch.testing.assert_close(found.inner_gradient, exact.inner_gradient)
        vector = torch.linspace(-1, 1, 64, dtype=torch.float64).reshape(2, 32)
        mixed = found.mixed(vector)
        assert any(bool(value.any()) for value in mixed.values())
        for name, value in exact.mixed(vector).items():
            torch.testing.assert_close(mixed[name], value)


def test_members_have_a_matrix_each() -> None:
    problem = network(2)
    point = Point.at(problem.inner, problem.outer)
    together = dense(gauss_newton(problem.composed, point), 32)
    for index in range(2):
        one = Point.at(member(problem.inner, index), member(problem.outer, index))
        alone = dense(gauss_newton(network().composed, one), 32)
        torch.testing.assert_close(together[index : index + 1], alone)


def test_a_linear_criterion_has_no_curvature() -> None:
    loss = ComposedLoss(lambda inner, outer: inner["a"] ** 2, lambda found, outer: found.sum())
    point = Point.at({"a": torch.ones(2)}, {"b": torch.ones(1)})
    curvature = gauss_newton(loss, point)
    assert curvature.product(torch.ones(1, 2)).tolist() == [[0.0, 0.0]]
    assert curvature.mixed(torch.ones(1, 2))["b"].tolist() == [0.0]


def test_a_plain_function_is_refused_with_the_way_to_build_a_composed_loss() -> None:
    point = Point.at({"a": torch.ones(2)}, {"b": torch.ones(1)})
    with pytest.raises(
        InvalidValueError,
        match=r"inner_loss must be a ComposedLoss, got function: .* ComposedLoss\(outputs=lambda",
    ):
        gauss_newton(lambda inner, outer: inner["a"].sum(), point)


@pytest.mark.parametrize("wrong", [{}, ({},), [torch.ones(1)]])
def test_outputs_of_another_type_are_refused(wrong: object) -> None:
    point = Point.at({"a": torch.ones(2)}, {"b": torch.ones(1)})
    loss = ComposedLoss(lambda inner, outer: wrong, lambda found, outer: found.sum())  # type: ignore[arg-type, return-value]
    with pytest.raises(InvalidValueError, match="must return a tensor or a tuple of tensors, got"):
        gauss_newton(loss, point)
