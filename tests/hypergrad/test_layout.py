import torch
from hypothesis import given
from hypothesis import strategies as st

from dfl.hypergrad.layout import Layout

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
