import torch
from torch import Tensor

from dfl.hypergrad import Parameters
from dfl.hypergrad.curvature import Curvature, hessian
from dfl.hypergrad.point import Point
from tests.hypergrad.problems import Network, member, network


def dense(curvature: Curvature, n: int) -> Tensor:
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
    torch.testing.assert_close(dense(curvature, len(flat))[0], exact)
    torch.testing.assert_close(curvature.inner_gradient[0], slope(problem, flat, problem.outer))
    vector = torch.linspace(-1, 1, len(flat), dtype=torch.float64)
    cross = torch.func.jacrev(slope, argnums=2)(problem, flat, problem.outer)
    mixed = curvature.mixed(vector.unsqueeze(0))
    for name, value in cross.items():
        torch.testing.assert_close(mixed[name], vector @ value)


def test_members_have_a_matrix_each() -> None:
    problem = network(3)
    curvature = hessian(problem.composed, Point.at(problem.inner, problem.outer))
    together = dense(curvature, 32)
    for index in range(3):
        one = Point.at(member(problem.inner, index), member(problem.outer, index))
        alone = dense(hessian(network().composed, one), 32)
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
