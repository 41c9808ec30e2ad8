import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.hypergrad.curvature import check_curvature, curvature_of, gauss_newton, hessian
from dfl.hypergrad.point import Point
from tests.hypergrad.problems import network


def test_the_names_mean_what_they_say() -> None:
    problem = network()
    point = Point.at(problem.inner, problem.outer)
    vector = torch.ones(1, 32, dtype=torch.float64)
    for name, kind in (("hessian", hessian), ("gauss-newton", gauss_newton)):
        check_curvature(name)
        found = curvature_of(name, problem.composed, point)  # type: ignore[arg-type]
        expected = kind(problem.composed, point).product(vector)
        assert torch.equal(found.product(vector), expected)


def test_another_name_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="must be 'hessian' or 'gauss-newton', got 'k-fac'"):
        check_curvature("k-fac")
