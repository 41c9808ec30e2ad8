import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfl.errors import InvalidValueError
from dfl.seeds import stream


@given(st.integers(-(2**70), 2**70))
def test_a_stream_depends_on_seed_and_purpose_alone(seed: int) -> None:
    first, second = stream(seed, "test"), stream(seed, "test")
    assert torch.equal(torch.rand(4, generator=first), torch.rand(4, generator=second))
    other = torch.rand(4, generator=stream(seed, "rct"))
    assert not torch.equal(torch.rand(4, generator=stream(seed, "test")), other)
    later = torch.rand(4, generator=stream(seed + 1, "test"))
    assert not torch.equal(torch.rand(4, generator=stream(seed, "test")), later)


def test_a_seed_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"seed must be a whole number, got 1\.0"):
        stream(1.0, "test")  # type: ignore[arg-type]
