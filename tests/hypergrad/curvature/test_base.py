import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfl.errors import InvalidValueError
from dfl.hypergrad.curvature.base import Layout, power_iteration
from tests.hypergrad.problems import network

SHAPES = st.lists(st.lists(st.integers(0, 3), max_size=3).map(tuple), min_size=1, max_size=4)


@given(SHAPES, st.one_of(st.none(), st.integers(1, 3)))
def test_there_and_back(shapes: list[tuple[int, ...]], members: int | None) -> None:
    lead = () if members is None else (members,)
    parameters = {str(i): torch.randn((*lead, *shape)) for i, shape in enumerate(shapes)}
    layout = Layout.of(parameters, members)
    flat = layout.flatten(parameters.values())
    assert flat.shape == (members or 1, sum(layout.sizes))
    for part, value in zip(layout.unflatten(flat), parameters.values(), strict=True):
        assert torch.equal(part, value)


def test_values_per_member_take_the_shape_of_the_loss() -> None:
    values = {"a": torch.ones(3, 2)}
    assert Layout.of(values, 3).per_member(torch.ones(3)).shape == (3,)
    assert Layout.of(values, None).per_member(torch.ones(1)).shape == ()


def test_order_members_and_dtype_change_nothing_but_the_layout() -> None:
    inner = network().inner

    def draw(parameters: dict[str, torch.Tensor], members: int | None) -> list[torch.Tensor]:
        layout = Layout.of(parameters, members)
        generator = torch.Generator().manual_seed(3)
        flat = layout.draw(generator, columns=2)
        parts = dict(zip(parameters, flat.split(layout.sizes), strict=True))
        return [parts[name].double() for name in sorted(parts)]

    plain = draw(inner, None)
    turned = draw(dict(reversed(inner.items())), None)
    stacked = draw({name: value.expand(3, *value.shape) for name, value in inner.items()}, 3)
    single = draw({name: value.float() for name, value in inner.items()}, None)
    for other in (turned, stacked, single):
        assert all(map(torch.equal, plain, other))
    assert 0.5 < float(torch.cat(plain).std()) < 1.5


def test_it_is_the_largest_absolute_eigenvalue_of_every_member() -> None:
    diagonal = torch.tensor([[1.0, 2.0, -4.0], [0.1, 3.0, 0.2]])
    found = power_iteration(lambda v: diagonal * v, torch.ones(2, 3), iterations=30)
    torch.testing.assert_close(found, torch.tensor([4.0, 3.0]))


@pytest.mark.parametrize("size", [1e-30, 1e-13, 1.0, 1e30])
def test_curvature_of_any_size_is_measured(size: float, dtype: torch.dtype) -> None:
    diagonal = size * torch.tensor([[1.0, 2.0, -4.0], [0.0, 0.0, 0.0]], dtype=dtype)
    found = power_iteration(lambda v: diagonal * v, torch.ones_like(diagonal), iterations=30)
    torch.testing.assert_close(found / size, torch.tensor([4.0, 0.0], dtype=dtype))


def test_no_iteration_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="iterations must be >= 1, got 0"):
        power_iteration(lambda v: v, torch.ones(1, 1), iterations=0)
