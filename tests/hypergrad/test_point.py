import pytest
import torch

from dfl.errors import DflError, DTypeError, InvalidValueError, ShapeError
from dfl.hypergrad import Loss, Parameters
from dfl.hypergrad.point import Point, check_finite, gradient, members_of

ONE = {"a": torch.ones(3)}


def test_a_point_shares_memory_and_not_the_graph() -> None:
    inner = {"a": torch.ones(2, requires_grad=True)}
    point = Point.at(inner, ONE)
    assert point.inner["a"].data_ptr() == inner["a"].data_ptr()
    assert point.inner["a"].is_leaf
    assert point.inner["a"] is not inner["a"]
    assert not ONE["a"].requires_grad


@pytest.mark.parametrize(
    ("inner", "outer", "error", "match"),
    [
        ({}, ONE, InvalidValueError, "inner must hold at least one number, got none"),
        (ONE, {}, InvalidValueError, "outer must hold at least one number, got none"),
        ({"a": torch.ones(0)}, ONE, InvalidValueError, "inner must hold at least one number"),
        ({"a": torch.ones(2).long()}, ONE, DTypeError, r"inner\['a'\] must be floating point"),
        (ONE, {"b": torch.ones(2) > 0}, DTypeError, r"outer\['b'\] must be floating point"),
        (ONE | {"b": torch.ones(1).double()}, ONE, DTypeError, "inner tensors must share one"),
    ],
)
def test_bad_parameters_are_refused(
    inner: Parameters, outer: Parameters, error: type[DflError], match: str
) -> None:
    with pytest.raises(error, match=match):
        Point.at(inner, outer)


@pytest.mark.parametrize(
    ("loss", "error", "match"),
    [
        (lambda inner, outer: 1.0, InvalidValueError, "inner_loss must return a tensor, got float"),
        (
            lambda inner, outer: torch.ones(2, 3),
            ShapeError,
            r"inner_loss must return a scalar \(\) or one value per member .* got \(2, 3\)",
        ),
        (
            lambda inner, outer: torch.tensor(float("nan")),
            InvalidValueError,
            "the value of inner_loss must be finite, got NaN or infinity: look",
        ),
        (
            lambda inner, outer: torch.tensor([1.0, float("inf")]),
            InvalidValueError,
            r"the value of inner_loss must be finite, got NaN or infinity at index \[1\]",
        ),
    ],
)
def test_bad_values_are_refused(loss: Loss, error: type[DflError], match: str) -> None:
    with pytest.raises(error, match=match):
        Point.at(ONE, ONE).value(loss)


def test_members_must_be_an_axis_of_every_inner_tensor() -> None:
    assert members_of(torch.ones(()), ONE) is None
    assert members_of(torch.ones(3), ONE) == 3
    with pytest.raises(ShapeError, match=r"each of 2 members, so inner\['a'\] must be \(2, ...\)"):
        members_of(torch.ones(2), ONE)
    with pytest.raises(ShapeError, match=r"inner\['b'\] must be \(2, ...\), got \(\)"):
        members_of(torch.ones(2), {"b": torch.ones(())})


@pytest.mark.parametrize(("members", "came"), [(None, "a scalar"), (4, "4 values")])
def test_an_outer_loss_must_have_as_many_members(members: int | None, came: str) -> None:
    point = Point.at(ONE, ONE)
    assert point.outer_value(lambda inner, outer: inner["a"].sum(), members).shape == ()
    with pytest.raises(ShapeError, match=f"got 3 values where inner_loss returned {came}"):
        point.outer_value(lambda inner, outer: inner["a"], members)


def test_gradients_of_what_is_unrelated_are_zero() -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    found = gradient([(a * 2).sum(), torch.ones(())], [a, b])
    assert [value.tolist() for value in found] == [[2.0, 2.0], [0.0, 0.0, 0.0]]
    (none,) = gradient([torch.ones(2)], [b], [torch.ones(2)])
    assert none.tolist() == [0.0, 0.0, 0.0]


def test_a_finite_check_names_what_and_where() -> None:
    check_finite(torch.ones(2, 3), "it")
    with pytest.raises(InvalidValueError, match=r"^it must be finite, .* at index \[0, 2\] of"):
        check_finite(torch.tensor([[float("nan")], [1.0], [float("inf")]]), "it")
