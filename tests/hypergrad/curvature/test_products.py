import pytest
import torch
from torch import Tensor

from dfl.errors import DTypeError, InvalidValueError
from dfl.hypergrad import ComposedLoss, Parameters
from dfl.hypergrad.curvature.base import Curvature
from dfl.hypergrad.curvature.point import Point
from dfl.hypergrad.curvature.products import curvature_of, gauss_newton, hessian
from tests.hypergrad.problems import Network, member, network, ridge


def matrix_of(curvature: Curvature, n: int) -> Tensor:
    """Matrix of every member, (members, n, n), from products with unit vectors."""
    rows = curvature.layout.rows
    unit = torch.eye(n, dtype=torch.float64)
    return torch.stack([curvature.product(unit[i].expand(rows, n)) for i in range(n)], dim=-1)


def flat_loss(problem: Network, flat: Tensor, outer: Parameters) -> Tensor:
    parts = flat.split([value.numel() for value in problem.inner.values()])
    pairs = zip(problem.inner.items(), parts, strict=True)
    inner = {name: part.reshape(value.shape) for (name, value), part in pairs}
    return problem.composed(inner, outer)


def test_products_and_mixed_derivatives_equal_the_dense_ones() -> None:
    problem = network()
    flat = torch.cat([value.flatten() for value in problem.inner.values()])
    curvature = hessian(problem.composed, Point.at(problem.inner, problem.outer))
    slope = torch.func.grad(flat_loss, argnums=1)
    exact = torch.func.jacrev(slope, argnums=1)(problem, flat, problem.outer)
    torch.testing.assert_close(matrix_of(curvature, len(flat))[0], exact)
    torch.testing.assert_close(curvature.inner_gradient[0], slope(problem, flat, problem.outer))
    vector = torch.linspace(-1, 1, len(flat), dtype=torch.float64)
    cross = torch.func.jacrev(slope, argnums=2)(problem, flat, problem.outer)
    mixed = curvature.mixed(vector.unsqueeze(0))
    for name, value in cross.items():
        torch.testing.assert_close(mixed[name], vector @ value)


def test_members_have_a_matrix_each() -> None:
    problem = network(3)
    curvature = hessian(problem.composed, Point.at(problem.inner, problem.outer))
    together = matrix_of(curvature, 32)
    for index in range(3):
        one = Point.at(member(problem.inner, index), member(problem.outer, index))
        alone = matrix_of(hessian(network().composed, one), 32)
        torch.testing.assert_close(together[index : index + 1], alone)


def test_a_loss_linear_in_the_inner_parameters_has_no_curvature() -> None:
    inner = {"a": torch.ones(2), "b": torch.ones(1)}

    def loss(inner: Parameters, outer: Parameters) -> Tensor:
        return (inner["a"] * outer["c"]).sum()

    curvature = hessian(loss, Point.at(inner, {"c": torch.ones(2), "d": torch.ones(1)}))
    assert curvature.product(torch.ones(1, 3)).tolist() == [[0.0, 0.0, 0.0]]
    assert curvature.inner_gradient.tolist() == [[1.0, 1.0, 0.0]]
    mixed = curvature.mixed(torch.tensor([[2.0, 3.0, 4.0]]))
    assert mixed["c"].tolist() == [2.0, 3.0]
    assert mixed["d"].tolist() == [0.0]


def test_a_loss_that_uses_no_inner_parameter_has_none_either() -> None:
    point = Point.at({"a": torch.ones(2)}, {"c": torch.ones(2)})
    curvature = hessian(lambda inner, outer: torch.zeros(()), point)
    assert curvature.product(torch.ones(1, 2)).tolist() == [[0.0, 0.0]]
    assert curvature.mixed(torch.ones(1, 2))["c"].tolist() == [0.0, 0.0]


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
    matrix = matrix_of(gauss_newton(problem.composed, point), len(flat))[0]
    torch.testing.assert_close(matrix, jacobian.T @ middle @ jacobian)


def test_it_is_positive_semi_definite_where_the_hessian_is_not() -> None:
    problem = network()
    plain = ComposedLoss(
        lambda inner, outer: problem.composed.outputs(inner, outer)[0],
        lambda found, outer: ((found - problem.targets) ** 2).mean(),
    )
    point = Point.at(problem.inner, problem.outer)
    assert float(torch.linalg.eigvalsh(matrix_of(hessian(plain, point), 32)).min()) < -1e-3
    assert float(torch.linalg.eigvalsh(matrix_of(gauss_newton(plain, point), 32)).min()) > -1e-12


def test_cross_entropy_is_supported() -> None:
    problem = network()
    labels = torch.arange(30) % 2
    loss = ComposedLoss(
        lambda inner, outer: problem.composed.outputs(inner, outer)[0],
        lambda logits, outer: torch.nn.functional.cross_entropy(logits, labels),
    )
    matrix = matrix_of(gauss_newton(loss, Point.at(problem.inner, problem.outer)), 32)
    values = torch.linalg.eigvalsh(matrix)
    assert float(values.min()) > -1e-12
    assert float(values.max()) > 1e-2


def test_it_is_the_hessian_where_outputs_are_linear() -> None:
    problem = ridge(3)
    point = Point.at(problem.inner, problem.outer)
    for loss in (problem.composed, problem.composed_with_outer_outputs):
        matrix = matrix_of(gauss_newton(loss, point), 5)
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


def test_members_have_a_gauss_newton_matrix_each() -> None:
    problem = network(2)
    point = Point.at(problem.inner, problem.outer)
    together = matrix_of(gauss_newton(problem.composed, point), 32)
    for index in range(2):
        one = Point.at(member(problem.inner, index), member(problem.outer, index))
        alone = matrix_of(gauss_newton(network().composed, one), 32)
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


def test_the_names_mean_what_they_say() -> None:
    problem = network()
    point = Point.at(problem.inner, problem.outer)
    vector = torch.ones(1, 32, dtype=torch.float64)
    for name, kind in (("hessian", hessian), ("gauss-newton", gauss_newton)):
        found = curvature_of(name, problem.composed, point)  # type: ignore[arg-type]
        expected = kind(problem.composed, point).product(vector)
        assert torch.equal(found.product(vector), expected)


def test_outputs_that_cannot_be_differentiated_are_refused() -> None:
    point = Point.at({"a": torch.ones(2)}, {"b": torch.ones(1)})
    loss = ComposedLoss(
        lambda inner, outer: (inner["a"], inner["a"] > 0), lambda found, outer: found[0].sum()
    )
    with pytest.raises(DTypeError, match=r"outputs of a ComposedLoss must be floating .*bool"):
        gauss_newton(loss, point)
